#include "rpc/inbound.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/limits.h"

namespace rh::rpc {
namespace {

class Recorder final : public Inbound::Handler {
public:
    bool relay(Message& message, ByteView body) override {
        if (message.stream() != relayed_stream) return false;
        relayed.emplace_back(as_text(body));
        return true;
    }
    Result<void> on_message(Message& message, Body body) override {
        if (message.stream() == refused_stream) return fail(Code::not_allowed, "refused");
        heads.push_back(message);
        bodies.push_back(std::move(body));
        return {};
    }
    void on_room(std::uint64_t, std::uint64_t bytes) override { granted += bytes; }

    std::vector<Message> heads;
    std::vector<Body> bodies;
    std::vector<std::string> relayed;
    std::uint64_t granted = 0;
    std::uint64_t relayed_stream = ~std::uint64_t{0};
    std::uint64_t refused_stream = ~std::uint64_t{0};
};

class InboundTest : public ::testing::Test {
protected:
    Result<void> come(wire::Kind kind, std::uint64_t stream, const std::vector<std::uint64_t>& parts, std::string_view body) {
        Message message;
        message.set_kind(kind);
        message.set_stream(stream);
        for (const std::uint64_t part : parts) message.add_parts(part);
        Bytes bytes;
        wire::append_message(bytes, message, as_byte_view(body));
        return inbound.feed(bytes.view());
    }
    std::string text(std::size_t index) { return std::string(as_text(recorder.bodies.at(index).bytes.view())); }

    Recorder recorder;
    Inbound inbound{recorder};
};

TEST_F(InboundTest, PutsABodyTogether) {
    ASSERT_TRUE(come(wire::RESULT, 5, {2, 4}, "ab"));
    EXPECT_FALSE(inbound.at_boundary());
    ASSERT_TRUE(come(wire::OUTPUT, 5, {}, "between"));
    ASSERT_TRUE(come(wire::CHUNK, 5, {}, "cd"));
    ASSERT_TRUE(come(wire::CHUNK, 5, {}, "ef"));
    EXPECT_TRUE(inbound.at_boundary());
    ASSERT_EQ(recorder.heads.size(), 2u);
    EXPECT_EQ(recorder.heads[0].kind(), wire::OUTPUT);
    EXPECT_EQ(text(0), "between");
    EXPECT_EQ(recorder.heads[1].kind(), wire::RESULT);
    EXPECT_EQ(text(1), "abcdef");
    ASSERT_EQ(recorder.bodies[1].parts().size(), 2u);
    EXPECT_EQ(as_text(recorder.bodies[1].parts()[1]), "cdef");
}

TEST_F(InboundTest, ABodyMayBeginWithNothing) {
    ASSERT_TRUE(come(wire::CALL, 1, {3}, ""));
    EXPECT_TRUE(recorder.heads.empty());
    ASSERT_TRUE(come(wire::CHUNK, 1, {}, "abc"));
    EXPECT_EQ(text(0), "abc");
    ASSERT_TRUE(come(wire::CALL, 2, {0, 0}, ""));
    EXPECT_EQ(recorder.bodies.at(1).part_bytes.size(), 2u);
}

TEST_F(InboundTest, GrantsRoomAsBytesAreTaken) {
    const std::string chunk(limits::k_chunk_bytes, 'x');
    ASSERT_TRUE(come(wire::CALL, 1, {10 * limits::k_body_window_bytes}, chunk));
    std::uint64_t sent = chunk.size();
    while (sent < 8 * limits::k_body_window_bytes) {
        ASSERT_TRUE(come(wire::CHUNK, 1, {}, chunk));
        sent += chunk.size();
        // A sender that keeps to the window is never stuck, and never ahead of it.
        ASSERT_LT(sent - recorder.granted, limits::k_body_window_bytes);
        ASSERT_LE(recorder.granted, sent);
    }
}

TEST_F(InboundTest, RefusesMoreThanWasAnnounced) {
    EXPECT_EQ(come(wire::CALL, 1, {2}, "abc").error().code, Code::protocol);
}

TEST_F(InboundTest, RefusesAChunkThatDoesNotFit) {
    ASSERT_TRUE(come(wire::CALL, 1, {4}, "ab"));
    EXPECT_EQ(come(wire::CHUNK, 1, {}, "cde").error().code, Code::protocol);
}

TEST_F(InboundTest, RefusesAnEmptyChunk) {
    // Chunks of nothing would go on for ever.
    ASSERT_TRUE(come(wire::CALL, 1, {4}, "ab"));
    EXPECT_EQ(come(wire::CHUNK, 1, {}, "").error().code, Code::protocol);
}

TEST_F(InboundTest, RefusesASecondBodyOnAStream) {
    ASSERT_TRUE(come(wire::CALL, 1, {4}, "ab"));
    EXPECT_EQ(come(wire::CALL, 1, {4}, "ab").error().code, Code::protocol);
}

TEST_F(InboundTest, RefusesAWholeBodyBeforeTheLastOneIsWhole) {
    ASSERT_TRUE(come(wire::ITEM, 1, {4}, "ab"));
    ASSERT_TRUE(come(wire::ITEM, 2, {2}, "cd"));  // of another stream
    ASSERT_TRUE(come(wire::CREDIT, 1, {}, ""));
    EXPECT_EQ(come(wire::RESULT, 1, {}, "").error().code, Code::protocol);
}

TEST_F(InboundTest, ItemsArePutTogetherLikeResults) {
    ASSERT_TRUE(come(wire::ITEM, 1, {2, 2}, "ab"));
    ASSERT_TRUE(come(wire::CHUNK, 1, {}, "cd"));
    ASSERT_TRUE(come(wire::ITEM, 1, {1}, "e"));
    ASSERT_TRUE(come(wire::ITEM, 1, {9}, "half"));
    ASSERT_TRUE(come(wire::ABORT, 1, {}, ""));
    ASSERT_TRUE(come(wire::RESULT, 1, {}, ""));
    ASSERT_EQ(recorder.heads.size(), 4u);
    EXPECT_EQ(text(0), "abcd");
    EXPECT_EQ(text(1), "e");
    EXPECT_EQ(recorder.heads[3].kind(), wire::RESULT);
}

TEST_F(InboundTest, RefusesImpossibleSizes) {
    EXPECT_EQ(come(wire::CALL, 1, {limits::k_body_bytes_max + 1}, "").error().code, Code::protocol);
    EXPECT_EQ(come(wire::CALL, 2, std::vector<std::uint64_t>(limits::k_body_parts_max + 1, 1), "").error().code, Code::protocol);
}

TEST_F(InboundTest, UnfinishedBodiesAreBounded) {
    for (std::uint64_t stream = 1; stream <= limits::k_calls_per_connection_max; ++stream) ASSERT_TRUE(come(wire::CALL, stream, {2}, "a"));
    EXPECT_EQ(come(wire::CALL, limits::k_calls_per_connection_max + 1, {2}, "a").error().code, Code::protocol);
}

TEST_F(InboundTest, ChunksOfUnknownStreamsAreIgnored) {
    EXPECT_TRUE(come(wire::CHUNK, 99, {}, "late"));
    EXPECT_TRUE(recorder.heads.empty());
    EXPECT_EQ(recorder.granted, 0u);
}

TEST_F(InboundTest, AbortEndsABody) {
    ASSERT_TRUE(come(wire::CALL, 1, {4}, "ab"));
    ASSERT_TRUE(come(wire::ABORT, 1, {}, ""));
    EXPECT_TRUE(inbound.at_boundary());
    ASSERT_EQ(recorder.heads.size(), 1u);
    EXPECT_EQ(recorder.heads[0].kind(), wire::ABORT);
    ASSERT_TRUE(come(wire::CHUNK, 1, {}, "cd"));
    EXPECT_EQ(recorder.heads.size(), 1u);
    ASSERT_TRUE(come(wire::CALL, 1, {2}, "ef"));
    EXPECT_EQ(text(1), "ef");
}

TEST_F(InboundTest, ForgottenBodiesAreThrownAway) {
    ASSERT_TRUE(come(wire::CALL, 1, {4}, "ab"));
    inbound.forget(1);
    ASSERT_TRUE(come(wire::CHUNK, 1, {}, "cd"));
    EXPECT_TRUE(recorder.heads.empty());
    EXPECT_TRUE(inbound.at_boundary());
}

TEST_F(InboundTest, WhatIsRelayedIsNotPutTogether) {
    recorder.relayed_stream = 3;
    ASSERT_TRUE(come(wire::CALL, 3, {4}, "ab"));
    ASSERT_TRUE(come(wire::CHUNK, 3, {}, "cd"));
    EXPECT_EQ(recorder.relayed, (std::vector<std::string>{"ab", "cd"}));
    EXPECT_TRUE(recorder.heads.empty());
    EXPECT_TRUE(inbound.at_boundary());
}

TEST_F(InboundTest, TheHandlersErrorIsPassedOn) {
    recorder.refused_stream = 2;
    EXPECT_EQ(come(wire::CALL, 2, {}, "").error().code, Code::not_allowed);
}

}  // namespace
}  // namespace rh::rpc
