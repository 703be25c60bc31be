#include "wire/frame.h"

#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include "base/limits.h"
#include "base/golden_test.h"

namespace rh::wire {
namespace {

struct Decoded {
    Message message;
    std::string body;
};

class Collector final : public FrameDecoder::Sink {
public:
    Result<void> on_message(Message& message, ByteView body) override {
        all.push_back({message, std::string(as_text(body))});
        return refuse_after != all.size() ? Result<void>{} : fail(Code::limit_exceeded, "the sink has had enough");
    }
    std::vector<Decoded> all;
    std::size_t refuse_after = 0;
};

std::string text_of(const std::vector<Decoded>& all) {
    std::string text;
    for (const Decoded& one : all) text += one.message.SerializeAsString() + "|" + one.body + "\n";
    return text;
}

const std::string k_session("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 16);

Message of(Kind kind, std::uint64_t stream) {
    Message message;
    message.set_kind(kind);
    message.set_stream(stream);
    return message;
}

Message hello(Role role, std::uint64_t pid) {
    Message message = of(HELLO, 0);
    message.mutable_hello()->set_role(role);
    message.mutable_hello()->set_pid(pid);
    message.mutable_hello()->set_software("roundhouse 0.1.0");
    message.mutable_hello()->add_features("frames-1");
    return message;
}

void set_error(Message& message, std::uint32_t code, const std::string& text) {
    message.mutable_error()->set_code(code);
    message.mutable_error()->set_message(text);
}

void add_fact(Message& message, const std::string& key, const std::string& value) {
    Fact& fact = *message.mutable_error()->add_facts();
    fact.set_key(key);
    fact.set_value(value);
}

Message text_message(std::uint64_t stream, Channel channel, std::uint64_t number) {
    Message message = of(OUTPUT, stream);
    message.set_channel(channel);
    message.set_number(number);
    return message;
}

struct Golden {
    std::string file;
    Message message;
    std::string body;
};

// Each file of tests/golden that holds one message, as the encoder is to make it.
std::vector<Golden> goldens() {
    std::vector<Golden> list;
    const auto add = [&](std::string file, Message message, std::string body = "") { list.push_back({std::move(file), std::move(message), std::move(body)}); };

    Message client = hello(CLIENT, 4711);
    client.mutable_hello()->set_session(k_session);
    add("hello_client", client);
    Message worker = hello(WORKER, 4712);
    worker.mutable_hello()->set_worker("w1");
    worker.mutable_hello()->set_language("python 3.11.2");
    worker.mutable_hello()->add_services("fit");
    add("hello_worker", worker);
    add("hello_node", hello(NODE, 4710));

    Message call = of(CALL, 7);
    call.set_encoding(JSON);
    call.add_parts(14);
    call.set_service("trainer");
    call.set_method("fit");
    call.set_session(k_session);
    call.set_sequence(7);
    call.set_acknowledged(5);
    call.set_attempt(1);
    call.set_deadline_ms(60000);
    call.set_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    call.set_principal("uid:1000");
    add("call", call, R"({"args":[1,2]})");
    Message begins = of(CALL, 9);
    begins.set_encoding(PICKLE);
    begins.add_parts(3);
    begins.add_parts(70000);
    begins.set_service("f");
    begins.set_session(k_session);
    begins.set_sequence(9);
    add("call_begins", begins, std::string("\x80\x05N\0\0\0\0\0", 8));

    Message returned = of(RESULT, 7);
    returned.set_encoding(MSGPACK);
    returned.add_parts(1);
    add("result_returned", returned, "*");
    Message raised = of(RESULT, 7);
    raised.set_outcome(RAISED);
    raised.mutable_raised()->set_type("builtins.ValueError");
    raised.mutable_raised()->set_message("no");
    raised.mutable_raised()->set_traceback("Traceback\n");
    add("result_raised", raised);
    Message failed = of(RESULT, 7);
    failed.set_outcome(FAILED);
    set_error(failed, 8, "it died");
    add_fact(failed, "signal", "9");
    add_fact(failed, "started", "yes");
    add("result_failed", failed);

    add("chunk", of(CHUNK, 9), "\xde\xad\xbe\xef");
    Message abort = of(ABORT, 9);
    set_error(abort, 10, "given up");
    add("abort", abort);
    add("cancel", of(CANCEL, 7));
    Message room = of(CREDIT, 9);
    room.set_number(262144);
    add("credit_body", room);
    Message taken = of(CREDIT, 7);
    taken.set_channel(STDOUT);
    taken.set_number(13);
    add("credit_output", taken);

    Message nested = of(CALL, 7);
    nested.set_service("f");
    nested.set_prefetch(1024);
    nested.add_parents("w1/7");
    nested.set_kill(true);
    add("call_nested", nested);
    Message items = of(ITEM, 7);
    items.set_encoding(MSGPACK);
    for (int i = 0; i < 3; ++i) items.add_parts(1);
    items.set_batch(true);
    add("item", items, "*+,");
    Message last = of(ITEM, 7);
    last.set_source(2);
    last.set_last(true);
    add("item_last", last);
    Message wanted = of(CREDIT, 7);
    wanted.set_channel(ITEMS);
    wanted.set_number(1048576);
    wanted.set_source(2);
    add("credit_items", wanted);
    Message kill = of(CANCEL, 7);
    kill.set_kill(true);
    add("cancel_kill", kill);
    Message ping = of(PING, 0);
    ping.set_number(1);
    add("ping", ping);
    Message pong = of(PONG, 7);
    pong.set_number(2);
    add("pong", pong);
    add("output", text_message(7, STDERR, 3), "hello\n");
    Message goodbye = of(GOODBYE, 0);
    set_error(goodbye, 14, "bad frame");
    add("goodbye", goodbye);

    Message back = hello(CLIENT, 4711);
    back.mutable_hello()->set_session(k_session);
    back.mutable_hello()->set_again(true);
    add("hello_again", back);
    Message resume = of(RESUME, 7);
    resume.set_session(k_session);
    resume.set_sequence(7);
    resume.set_number(1);
    resume.set_output_number(3);
    resume.set_output_pending(6);
    resume.set_item_number(2);
    resume.set_items_granted(262144);
    resume.set_stdout_offset(100);
    resume.set_stderr_offset(20);
    resume.set_followed_pending(5);
    add("resume", resume);
    Message resumed = of(RESUMED, 0);
    resumed.set_number(1);
    resumed.set_gone(true);
    add("resumed", resumed);
    Message running = of(RUNNING, 9);
    running.set_service("f");
    running.set_session(k_session);
    running.set_sequence(9);
    running.set_deadline_ms(60000);
    add("running", running);
    Message has = of(TAKEN, 9);
    has.set_session(k_session);
    has.set_sequence(9);
    add("taken", has);
    return list;
}

Bytes encode(Message message, std::string_view body = "") {
    Bytes bytes;
    append_message(bytes, message, as_byte_view(body));
    return bytes;
}

// A frame from its raw pieces, which need not fit each other.
Bytes frame(std::uint32_t header_bytes, std::uint32_t body_bytes, std::string_view rest) {
    Bytes bytes;
    for (const std::uint32_t value : {header_bytes, body_bytes}) {
        for (int i = 0; i < 4; ++i) {
            const auto byte = static_cast<std::byte>(value >> (8 * i));
            bytes.append({&byte, 1});
        }
    }
    bytes.append(as_byte_view(rest));
    return bytes;
}

Bytes frame(const Frame& header, std::string_view body) {
    const std::string text = header.SerializeAsString();
    return frame(static_cast<std::uint32_t>(text.size()), static_cast<std::uint32_t>(body.size()), text + std::string(body));
}

Error error_of(const Bytes& bytes) {
    FrameDecoder decoder;
    Collector sink;
    const Result<void> fed = decoder.feed(bytes.view(), sink);
    EXPECT_FALSE(fed.has_value());
    return fed ? Error() : fed.error();
}

TEST(Golden, EncoderMakesTheBytesOfEachFile) {
    for (Golden& one : goldens()) {
        Bytes bytes;
        append_message(bytes, one.message, as_byte_view(one.body));
        EXPECT_EQ(hex(bytes.view()), hex(golden(one.file).view())) << one.file;
    }
}

TEST(Golden, DecodingGivesTheFieldsBack) {
    for (Golden& one : goldens()) {
        FrameDecoder decoder;
        Collector sink;
        ASSERT_TRUE(decoder.feed(golden(one.file).view(), sink)) << one.file;
        ASSERT_EQ(sink.all.size(), 1u) << one.file;
        one.message.set_body_bytes(static_cast<std::uint32_t>(one.body.size()));
        EXPECT_EQ(sink.all[0].message.SerializeAsString(), one.message.SerializeAsString()) << one.file;
        EXPECT_EQ(sink.all[0].body, one.body) << one.file;
        EXPECT_TRUE(decoder.at_boundary());
    }
}

TEST(Golden, EachKindHasAFileAndEachFileIsTested) {
    std::set<int> kinds;
    std::set<std::string> files{"batch"};
    for (const Golden& one : goldens()) {
        kinds.insert(one.message.kind());
        files.insert(one.file);
    }
    for (int kind = Kind_MIN; kind <= Kind_MAX; ++kind) {
        if (!Kind_IsValid(kind) || kind == NONE) continue;
        EXPECT_EQ(kinds.count(kind), 1u) << "kind " << kind << " of messages.proto has no golden bytes: add tests/golden/<kind>.hex";
    }
    for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
        EXPECT_TRUE(entry.is_directory() || files.count(entry.path().stem().string()) == 1) << entry.path() << " is compared with nothing";
}

// protocol/wire.md shows one message in full; a reader may trust it.
TEST(Golden, TheExampleInTheSpecificationIsAFile) {
    const auto read = [](const std::filesystem::path& path) {
        std::ifstream file(path);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const std::string document = read(std::filesystem::path(ROUNDHOUSE_SOURCE_DIR) / "protocol" / "wire.md");
    const std::string example = read(golden_folder() / "call.hex");
    ASSERT_FALSE(example.empty());
    EXPECT_NE(document.find("```\n" + example + "```\n"), std::string::npos);
}

TEST(Frame, SeveralMessagesInOneFrame) {
    FrameDecoder decoder;
    Collector sink;
    ASSERT_TRUE(decoder.feed(golden("batch").view(), sink));
    ASSERT_EQ(sink.all.size(), 3u);
    EXPECT_EQ(sink.all[0].body, "a\n");
    EXPECT_EQ(sink.all[1].message.kind(), CANCEL);
    EXPECT_EQ(sink.all[1].message.stream(), 8u);
    EXPECT_EQ(sink.all[1].body, "");
    EXPECT_EQ(sink.all[2].message.stream(), 9u);
    EXPECT_EQ(sink.all[2].body, "bc\n");
}

TEST(Frame, EverySplitGivesTheSame) {
    Bytes bytes;
    for (const char* file : {"hello_client", "call", "batch", "chunk", "goodbye"}) bytes.append(golden(file).view());
    FrameDecoder whole;
    Collector expected;
    ASSERT_TRUE(whole.feed(bytes.view(), expected));
    ASSERT_EQ(expected.all.size(), 7u);
    for (std::size_t first = 0; first <= bytes.size(); ++first) {
        FrameDecoder decoder;
        Collector sink;
        ASSERT_TRUE(decoder.feed(bytes.view().first(first), sink));
        ASSERT_TRUE(decoder.feed(bytes.view().subspan(first), sink));
        ASSERT_EQ(text_of(sink.all), text_of(expected.all)) << "split at " << first;
        ASSERT_TRUE(decoder.at_boundary());
    }
    FrameDecoder decoder;
    Collector sink;
    for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_TRUE(decoder.feed(bytes.view().subspan(i, 1), sink));
    EXPECT_EQ(text_of(sink.all), text_of(expected.all));
}

TEST(Frame, TruncatedGivesNothingAndIsNoBoundary) {
    const Bytes bytes = golden("call");
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        FrameDecoder decoder;
        Collector sink;
        ASSERT_TRUE(decoder.feed(bytes.view().first(size), sink));
        ASSERT_TRUE(sink.all.empty());
        ASSERT_FALSE(decoder.at_boundary());
    }
}

TEST(Frame, RefusesWhatIsTooLarge) {
    const auto header_max = static_cast<std::uint32_t>(limits::k_frame_header_bytes_max);
    const auto body_max = static_cast<std::uint32_t>(limits::k_frame_body_bytes_max);
    // The prefix is enough to refuse: nothing is buffered for a length that is not allowed.
    EXPECT_EQ(error_of(frame(header_max + 1, 0, "")).code, Code::protocol);
    EXPECT_EQ(error_of(frame(0xffffffff, 0, "")).code, Code::protocol);
    EXPECT_EQ(error_of(frame(1, body_max + 1, "")).code, Code::protocol);
    EXPECT_EQ(error_of(frame(1, 0xffffffff, "")).code, Code::protocol);
    EXPECT_NE(error_of(frame(0, 0, "")).message.find("header of 0 bytes"), std::string::npos);
    FrameDecoder decoder;
    Collector sink;
    EXPECT_TRUE(decoder.feed(frame(header_max, body_max, "").view(), sink));
}

TEST(Frame, RefusesAPrefixThatIsTooLargeHoweverItIsSplit) {
    const Bytes bytes = frame(0xffffffff, 0, "");
    FrameDecoder decoder;
    Collector sink;
    for (std::size_t i = 0; i < 7; ++i) ASSERT_TRUE(decoder.feed(bytes.view().subspan(i, 1), sink));
    EXPECT_FALSE(decoder.feed(bytes.view().subspan(7), sink));
}

TEST(Frame, MessagesPerFrameAreBounded) {
    Frame header;
    for (std::size_t i = 0; i < limits::k_frame_messages_max; ++i) header.add_messages()->set_kind(PING);
    FrameDecoder decoder;
    Collector sink;
    ASSERT_TRUE(decoder.feed(frame(header, "").view(), sink));
    EXPECT_EQ(sink.all.size(), limits::k_frame_messages_max);
    header.add_messages()->set_kind(PING);
    EXPECT_NE(error_of(frame(header, "")).message.find("4097 messages"), std::string::npos);
}

TEST(Frame, ChunksAreBounded) {
    Frame header;
    header.add_messages()->set_body_bytes(limits::k_chunk_bytes);
    FrameDecoder decoder;
    Collector sink;
    EXPECT_TRUE(decoder.feed(frame(header, std::string(limits::k_chunk_bytes, 'x')).view(), sink));
    header.mutable_messages(0)->set_body_bytes(limits::k_chunk_bytes + 1);
    EXPECT_EQ(error_of(frame(header, std::string(limits::k_chunk_bytes + 1, 'x'))).code, Code::protocol);
}

TEST(Frame, BodiesMustAddUp) {
    Frame header;
    header.add_messages()->set_body_bytes(3);
    header.add_messages()->set_body_bytes(2);
    EXPECT_NE(error_of(frame(header, "abcd")).message.find("claims 2 body bytes"), std::string::npos);
    EXPECT_NE(error_of(frame(header, "abcdef")).message.find("1 body bytes that belong to no message"), std::string::npos);
    header.mutable_messages(1)->set_body_bytes(0xffffffff);
    EXPECT_EQ(error_of(frame(header, "abcde")).code, Code::protocol);
}

TEST(Frame, RefusesAHeaderThatIsNoMessage) {
    EXPECT_NE(error_of(frame(3, 0, "\x0a\x05x")).message.find("not a valid message"), std::string::npos);
    EXPECT_EQ(error_of(frame(1, 0, "\xff")).code, Code::protocol);
    // A string that is not UTF-8: proto3 refuses it.
    EXPECT_EQ(error_of(frame(5, 0, "\x0a\x03\x32\x01\xff")).code, Code::protocol);
}

TEST(Frame, SkipsFieldsOfANewerPeer) {
    // Field 100 of Message: varint 1.
    FrameDecoder decoder;
    Collector sink;
    ASSERT_TRUE(decoder.feed(frame(7, 0, std::string("\x0a\x05\x08\x08\xa0\x06\x01", 7)).view(), sink));
    ASSERT_EQ(sink.all.size(), 1u);
    EXPECT_EQ(sink.all[0].message.kind(), PING);
}

TEST(Frame, TheSinksErrorEndsTheFeed) {
    FrameDecoder decoder;
    Collector sink;
    sink.refuse_after = 2;
    const Result<void> fed = decoder.feed(golden("batch").view(), sink);
    ASSERT_FALSE(fed);
    EXPECT_EQ(fed.error().code, Code::limit_exceeded);
    EXPECT_EQ(sink.all.size(), 2u);
}

TEST(Frame, RandomBytesNeverPassForMessages) {
    std::mt19937 random(20261123);
    for (int round = 0; round < 2000; ++round) {
        std::string noise(random() % 200, '\0');
        for (char& c : noise) c = static_cast<char>(random());
        // Half of them with a plausible prefix, so that the header is looked at.
        const Bytes bytes = round % 2 == 0 ? Bytes(as_byte_view(noise)) : frame(static_cast<std::uint32_t>(noise.size()), 0, noise);
        FrameDecoder decoder;
        Collector sink;
        if (const Result<void> fed = decoder.feed(bytes.view(), sink); !fed) {
            ASSERT_EQ(fed.error().code, Code::protocol);
        }
        for (const Decoded& one : sink.all) ASSERT_LE(one.body.size(), limits::k_chunk_bytes);
    }
}

TEST(Frame, MutatedGoldenBytesNeverCrash) {
    std::mt19937 random(42);
    for (const Golden& one : goldens()) {
        for (int round = 0; round < 200; ++round) {
            Bytes bytes = encode(one.message, one.body);
            for (int change = 0; change < 3; ++change) bytes.data()[random() % bytes.size()] = static_cast<std::byte>(random());
            FrameDecoder decoder;
            Collector sink;
            if (const Result<void> fed = decoder.feed(bytes.view(), sink); !fed) {
                ASSERT_EQ(fed.error().code, Code::protocol);
            }
        }
    }
}

}  // namespace
}  // namespace rh::wire
