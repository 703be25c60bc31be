#include "rpc/outbound.h"

#include <gtest/gtest.h>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "rpc/inbound.h"

namespace rh::rpc {
namespace {

constexpr std::uint64_t k_window = limits::k_body_window_bytes;

// What was sent, message by message.
class Taker final : public wire::FrameDecoder::Sink {
public:
    struct One {
        wire::Kind kind;
        std::uint64_t stream;
        std::size_t bytes;
    };
    Result<void> on_message(Message& message, ByteView body) override {
        all.push_back({message.kind(), message.stream(), body.size()});
        body_bytes[message.stream()] += body.size();
        return {};
    }
    std::vector<One> all;
    std::unordered_map<std::uint64_t, std::uint64_t> body_bytes;
};

Body body_of(std::size_t bytes, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::string content(bytes, '\0');
    for (char& c : content) c = static_cast<char>(random());
    return Body::one(Encoding::pickle, as_byte_view(content));
}

Message call(std::uint64_t stream) {
    Message message;
    message.set_kind(wire::CALL);
    message.set_stream(stream);
    return message;
}

void begin(Outbound& outbound, std::uint64_t stream, std::size_t bytes) {
    Message message = call(stream);
    outbound.send_whole(message, body_of(bytes));
}

class OutboundTest : public ::testing::Test {
protected:
    // Writes everything that may be written now.
    void drain() {
        for (ByteView rest = outbound.pending(); !rest.empty(); rest = outbound.pending()) {
            ASSERT_TRUE(decoder.feed(rest, taker));
            outbound.consume(rest.size());
        }
    }
    Outbound outbound;
    wire::FrameDecoder decoder;
    Taker taker;
};

TEST_F(OutboundTest, ASmallBodyIsOneMessage) {
    begin(outbound, 1, limits::k_chunk_bytes);
    drain();
    ASSERT_EQ(taker.all.size(), 1u);
    EXPECT_EQ(taker.all[0].bytes, limits::k_chunk_bytes);
    EXPECT_EQ(outbound.pending_bytes(), 0u);
}

TEST_F(OutboundTest, ALargerBodyGoesInChunks) {
    begin(outbound, 1, 2 * limits::k_chunk_bytes + 1);
    drain();
    ASSERT_EQ(taker.all.size(), 3u);
    EXPECT_EQ(taker.all[0].kind, wire::CALL);
    EXPECT_EQ(taker.all[1].kind, wire::CHUNK);
    EXPECT_EQ(taker.all[2].bytes, 1u);
}

TEST_F(OutboundTest, CreditBoundsWhatIsOnItsWay) {
    begin(outbound, 1, 3 * k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window);
    outbound.grant(1, 1000);
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window + 1000);
    outbound.grant(1, 0);
    outbound.grant(77, 1000);  // of a stream that has nothing to send
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window + 1000);
    outbound.grant(1, k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], 2 * k_window + 1000);
}

TEST_F(OutboundTest, GrantsBeyondTheWindowAreCut) {
    begin(outbound, 1, 4 * k_window);
    drain();
    for (int i = 0; i < 3; ++i) outbound.grant(1, ~std::uint64_t{0});
    drain();
    EXPECT_EQ(taker.body_bytes[1], 2 * k_window);
}

TEST_F(OutboundTest, TwoBodiesTakeTurns) {
    begin(outbound, 1, k_window);
    begin(outbound, 2, k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window);
    EXPECT_EQ(taker.body_bytes[2], k_window);
    std::unordered_map<std::uint64_t, std::int64_t> sent;
    for (const Taker::One& one : taker.all) {
        sent[one.stream] += static_cast<std::int64_t>(one.bytes);
        EXPECT_LE(std::abs(sent[1] - sent[2]), static_cast<std::int64_t>(limits::k_chunk_bytes));
    }
}

TEST_F(OutboundTest, AStalledBodyHoldsUpNoOther) {
    begin(outbound, 1, 3 * k_window);
    drain();
    begin(outbound, 2, k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window);
    EXPECT_EQ(taker.body_bytes[2], k_window);
}

TEST_F(OutboundTest, ControlOvertakesBodies) {
    begin(outbound, 1, k_window);
    static_cast<void>(outbound.pending());
    Message cancel;
    cancel.set_kind(wire::CANCEL);
    cancel.set_stream(9);
    outbound.send(cancel);
    drain();
    std::size_t before = 0;
    for (const Taker::One& one : taker.all) {
        if (one.kind == wire::CANCEL) break;
        before += one.bytes;
    }
    EXPECT_LE(before, limits::k_write_batch_bytes + limits::k_chunk_bytes);
    EXPECT_EQ(taker.body_bytes[1], k_window);
}

TEST_F(OutboundTest, DroppedBodiesEnd) {
    begin(outbound, 1, 3 * k_window);
    drain();
    EXPECT_TRUE(outbound.drop(1));
    EXPECT_FALSE(outbound.drop(1));
    outbound.grant(1, k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window);
    // The number may be used again, and the old turn does no harm.
    begin(outbound, 1, k_window);
    outbound.drop(1);
    begin(outbound, 1, k_window);
    drain();
    EXPECT_EQ(taker.body_bytes[1], 2 * k_window + limits::k_chunk_bytes);
}

TEST_F(OutboundTest, AReaderThatIsAlwaysBehindDoesNotMakeTheBufferGrow) {
    std::uint64_t written = 0;
    for (int round = 0; round < 4000; ++round) {
        Message output;
        output.set_kind(wire::OUTPUT);
        output.set_stream(1);
        const std::string text(16 * 1024, 'x');
        outbound.send(output, as_byte_view(text));
        const ByteView rest = outbound.pending();
        const std::size_t count = rest.size() > 8000 ? rest.size() - 8000 : 0;
        ASSERT_TRUE(decoder.feed(rest.first(count), taker));
        outbound.consume(count);
        written += count;
        ASSERT_LE(outbound.held_bytes(), 3 * limits::k_write_batch_bytes);
    }
    EXPECT_GT(written, 60'000'000u);
    drain();
    EXPECT_EQ(taker.all.size(), 4000u);
}

TEST_F(OutboundTest, TellsWhichBodiesThatWaitedHaveGone) {
    begin(outbound, 1, 3 * k_window);
    begin(outbound, 2, 10);
    drain();
    outbound.grant(1, k_window);
    drain();
    EXPECT_FALSE(outbound.has_finished());
    outbound.report_finished();
    outbound.grant(1, k_window);
    drain();
    EXPECT_EQ(outbound.take_finished(), std::vector<std::uint64_t>{1});
    EXPECT_FALSE(outbound.has_finished());
}

// The stream's next body takes the place of one that was dropped, and its credit is its own.
TEST_F(OutboundTest, ABodyMayFollowADroppedOne) {
    outbound.report_finished();
    Message item = call(1);
    item.set_kind(wire::ITEM);
    outbound.send_whole(item, body_of(3 * k_window));
    EXPECT_EQ(outbound.drop(1), wire::ITEM);  // its turn had come, and is still waiting
    item.set_kind(wire::RESULT);
    outbound.send_whole(item, body_of(3 * k_window));
    drain();
    EXPECT_EQ(taker.body_bytes[1], k_window + limits::k_chunk_bytes);  // with the first chunk of the dropped one
    for (int i = 0; i < 2; ++i) {
        outbound.grant(1, k_window);
        drain();
    }
    EXPECT_EQ(taker.body_bytes[1], 3 * k_window + limits::k_chunk_bytes);
    EXPECT_EQ(outbound.take_finished(), std::vector<std::uint64_t>{1});
    EXPECT_FALSE(outbound.drop(1));
}

// --- from end to end -----------------------------------------------------------------------------------------------

class Assembler final : public Inbound::Handler {
public:
    explicit Assembler(Outbound& sender) : sender_(sender) {}
    Result<void> on_message(Message& message, Body body) override {
        whole[message.stream()] = std::move(body);
        return {};
    }
    void on_room(std::uint64_t stream, std::uint64_t bytes) override { sender_.grant(stream, bytes); }
    std::unordered_map<std::uint64_t, Body> whole;

private:
    Outbound& sender_;
};

TEST(OutboundToInbound, BodiesArriveWholeWhateverTheSplits) {
    std::mt19937 random(7);
    for (int round = 0; round < 8; ++round) {
        Outbound outbound;
        Assembler assembler(outbound);
        Inbound inbound(assembler);
        std::unordered_map<std::uint64_t, std::string> expected;
        const std::size_t count = 1 + random() % 6;
        for (std::uint64_t stream = 1; stream <= count; ++stream) {
            Body body;
            body.encoding = Encoding::pickle;
            for (std::size_t part = 0, parts = random() % 4; part < parts; ++part) {
                const std::size_t bytes = random() % 3 == 0 ? random() % (3 * k_window) : random() % 1000;
                body.add(body_of(bytes, static_cast<unsigned>(random())).bytes.view());
            }
            expected[stream] = as_text(body.bytes.view());
            Message message = call(stream);
            outbound.send_whole(message, std::move(body));
        }
        const std::size_t largest = round % 2 == 0 ? 2000 : 300'000;
        for (ByteView rest = outbound.pending(); !rest.empty(); rest = outbound.pending()) {
            const Bytes piece(rest.first(std::min<std::size_t>(1 + random() % largest, rest.size())));
            outbound.consume(piece.size());
            ASSERT_TRUE(inbound.feed(piece.view()));
        }
        EXPECT_TRUE(inbound.at_boundary());
        ASSERT_EQ(assembler.whole.size(), count);
        for (const auto& [stream, content] : expected) EXPECT_TRUE(as_text(assembler.whole[stream].bytes.view()) == content) << stream;
    }
}

}  // namespace
}  // namespace rh::rpc
