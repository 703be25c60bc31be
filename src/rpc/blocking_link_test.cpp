#include "rpc/blocking_link.h"

#include <future>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>

#include "base/limits.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"

namespace rh::rpc {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Read = BlockingLink::Read;

class Recorder final : public BlockingLink::Receiver {
public:
    Result<void> on_message(Message& message, Body body) override {
        heads.push_back(message);
        bodies.push_back(std::move(body));
        return {};
    }
    void on_sent(std::uint64_t stream) override { sent.push_back(stream); }
    std::vector<Message> heads;
    std::vector<Body> bodies;
    std::vector<std::uint64_t> sent;
};

Message hello() {
    Message message;
    message.mutable_hello()->set_software("test");
    return message;
}

class BlockingLinkTest : public ::testing::Test {
protected:
    BlockingLinkTest() {
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ours_ = Fd(pair[0]);
        peer = std::make_unique<FakePeer>(Fd(pair[1]));
    }
    Result<std::unique_ptr<BlockingLink>> open(Deadline deadline = Clock::now() + 20s) {
        Message greeting = hello();
        return BlockingLink::open(std::move(ours_), greeting, deadline, recorder);
    }
    // Writes the node's part of the handshake beforehand: the sockets keep it.
    void open_greeted() {
        peer->raw(upgrade_answer());
        peer->say_hello();
        Result<std::unique_ptr<BlockingLink>> opened = open();
        ASSERT_TRUE(opened) << opened.error().message;
        link = std::move(*opened);
        peer->take_request();
        EXPECT_EQ(peer->next().message.kind(), wire::HELLO);
    }
    // Reads until `count` messages have been handed over.
    void read_messages(std::size_t count) {
        while (recorder.heads.size() < count) {
            const Result<Read> read = link->read_some(Clock::now() + 20s, false);
            ASSERT_TRUE(read) << read.error().message;
            ASSERT_EQ(*read, Read::progress);
        }
    }
    Error read_error() {
        for (;;) {
            const Result<Read> read = link->read_some(Clock::now() + 20s, false);
            if (!read) return read.error();
            if (*read != Read::progress) return Error(Code::unknown, "nothing came");
        }
    }

    std::unique_ptr<FakePeer> peer;
    Recorder recorder;
    std::unique_ptr<BlockingLink> link;

private:
    Fd ours_;
};

TEST_F(BlockingLinkTest, UpgradesAndShakesHands) {
    auto opening = std::async(std::launch::async, [&] { return open(); });
    const std::string request = peer->take_request();
    EXPECT_EQ(request.rfind("GET / HTTP/1.1\r\n", 0), 0u);
    EXPECT_NE(request.find("Upgrade: roundhouse\r\n"), std::string::npos);
    const Message theirs = peer->next().message;
    EXPECT_EQ(theirs.kind(), wire::HELLO);
    EXPECT_EQ(theirs.hello().features(0), "frames-1");
    // The answer comes a byte at a time.
    for (const char c : upgrade_answer()) peer->raw({&c, 1});
    peer->say_hello();
    const auto opened = opening.get();
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_TRUE((*opened)->usable());
}

TEST_F(BlockingLinkTest, ARefusalIsToldInTheServersWords) {
    peer->raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 28\r\n\r\nthis node belongs to alice\r\n");
    const Error error = open().error();
    EXPECT_EQ(error.code, Code::protocol);
    EXPECT_NE(error.message.find("HTTP/1.1 403 Forbidden"), std::string::npos) << error.message;
    EXPECT_NE(error.message.find("this node belongs to alice"), std::string::npos) << error.message;
}

TEST_F(BlockingLinkTest, WhatIsNoDaemonIsRefused) {
    peer->raw("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    const Error error = open().error();
    EXPECT_NE(error.message.find("SSH-2.0-OpenSSH_9.2"), std::string::npos) << error.message;
}

TEST_F(BlockingLinkTest, AnEndlessHeadIsRefused) {
    peer->raw("HTTP/1.1 101 Switching Protocols\r\nX: " + std::string(limits::k_http_head_bytes_max, 'x'));
    EXPECT_NE(open().error().message.find("has no end"), std::string::npos);
}

TEST_F(BlockingLinkTest, ASilentNodeIsATimeout) {
    const auto start = Clock::now();
    EXPECT_EQ(open(start + 30ms).error().code, Code::timeout);
    EXPECT_GE(Clock::now() - start, 30ms);
}

TEST_F(BlockingLinkTest, APeerThatClosesDuringTheHandshakeIsLost) {
    peer->raw("HTTP/1.1 101 Swi");
    peer.reset();
    EXPECT_EQ(open().error().code, Code::node_lost);
}

TEST_F(BlockingLinkTest, HelloStandsFirst) {
    peer->raw(upgrade_answer());
    peer->send(wire::CALL, 1);
    EXPECT_EQ(open().error().code, Code::protocol);
    EXPECT_TRUE(recorder.heads.empty());
}

TEST_F(BlockingLinkTest, APeerWithoutFramesOneIsRefused) {
    peer->raw(upgrade_answer());
    Message old;
    old.set_kind(wire::HELLO);
    old.mutable_hello()->set_software("roundhouse 9");
    peer->send(old);
    const Error error = open().error();
    EXPECT_EQ(error.code, Code::protocol);
    EXPECT_NE(error.message.find("roundhouse 9"), std::string::npos) << error.message;
}

TEST_F(BlockingLinkTest, GoodbyeInsteadOfHelloSaysWhy) {
    peer->raw(upgrade_answer());
    Message goodbye;
    goodbye.set_kind(wire::GOODBYE);
    goodbye.mutable_error()->set_code(static_cast<std::uint32_t>(Code::not_allowed));
    goodbye.mutable_error()->set_message("no worker of that id");
    peer->send(goodbye);
    const Error error = open().error();
    EXPECT_EQ(error.code, Code::not_allowed);
    EXPECT_EQ(error.message, "no worker of that id");
}

// The owner has no link yet while open() runs: what came with the HELLO is handed over by the first read.
TEST_F(BlockingLinkTest, WhatFollowsTheHelloAtOnceWaitsForTheFirstRead) {
    peer->raw(upgrade_answer());
    peer->say_hello();
    peer->send(wire::CALL, 1);
    peer->send(wire::CANCEL, 1);
    Result<std::unique_ptr<BlockingLink>> opened = open();
    ASSERT_TRUE(opened);
    link = std::move(*opened);
    EXPECT_TRUE(recorder.heads.empty());
    read_messages(2);
    EXPECT_EQ(recorder.heads[0].kind(), wire::CALL);
    EXPECT_EQ(recorder.heads[1].kind(), wire::CANCEL);
}

TEST_F(BlockingLinkTest, HandsMessagesOverAndAnswersPings) {
    open_greeted();
    peer->send(wire::PING, 0, 17);
    peer->send(wire::OUTPUT, 3, 1, wire::STDOUT, "hi");
    peer->send(wire::PING, 3, 18);  // of a call: the receiver's
    read_messages(2);
    EXPECT_EQ(as_text(recorder.bodies[0].bytes.view()), "hi");
    EXPECT_EQ(recorder.heads[1].kind(), wire::PING);
    const Message pong = peer->next().message;
    EXPECT_EQ(pong.kind(), wire::PONG);
    EXPECT_EQ(pong.number(), 17u);
}

TEST_F(BlockingLinkTest, ADeadlineEndsARead) {
    open_greeted();
    const auto deadline = Clock::now() + 20ms;
    const Result<Read> read = link->read_some(deadline, true);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, Read::deadline);
    EXPECT_GE(Clock::now(), deadline);
}

TEST_F(BlockingLinkTest, APeerThatClosesIsLost) {
    open_greeted();
    peer.reset();
    const Error error = read_error();
    EXPECT_EQ(error.code, Code::node_lost);
    EXPECT_EQ(error.message.find("in the middle"), std::string::npos) << error.message;
}

TEST_F(BlockingLinkTest, APeerThatClosesInAFrameSaysSo) {
    open_greeted();
    peer->raw(std::string("\x10\0\0\0\0\0\0\0half", 12));
    peer.reset();
    EXPECT_NE(read_error().message.find("in the middle of a message"), std::string::npos);
}

TEST_F(BlockingLinkTest, APeerThatClosesInABodySaysSo) {
    open_greeted();
    Message result;
    result.set_kind(wire::RESULT);
    result.set_stream(1);
    result.add_parts(100);
    peer->send(result, "only these");
    peer.reset();
    EXPECT_NE(read_error().message.find("in the middle of a message"), std::string::npos);
    EXPECT_TRUE(recorder.heads.empty());
}

TEST_F(BlockingLinkTest, GarbageIsAProtocolError) {
    open_greeted();
    peer->raw("GET / HTTP/1.1\r\n\r\n");
    EXPECT_EQ(read_error().code, Code::protocol);
}

TEST_F(BlockingLinkTest, GoodbyeSaysWhy) {
    open_greeted();
    Message goodbye;
    goodbye.set_kind(wire::GOODBYE);
    goodbye.mutable_error()->set_code(static_cast<std::uint32_t>(Code::limit_exceeded));
    goodbye.mutable_error()->set_message("too much");
    peer->send(goodbye);
    EXPECT_EQ(read_error().code, Code::limit_exceeded);
}

TEST_F(BlockingLinkTest, ShutdownEndsAReadInAnotherThread) {
    open_greeted();
    auto reading = std::async(std::launch::async, [&] { return read_error(); });
    link->shutdown();
    EXPECT_EQ(reading.get().code, Code::node_lost);
    Message message;
    message.set_kind(wire::PING);
    EXPECT_FALSE(link->send(message));
}

TEST_F(BlockingLinkTest, BigBodiesGoBothWaysOnCredit) {
    open_greeted();
    const std::string big(5 * limits::k_body_window_bytes + 12345, 'b');
    auto peers = std::async(std::launch::async, [&] {
        const FakePeer::Received call = peer->next(wire::CALL);
        Message result;
        result.set_kind(wire::RESULT);
        result.set_stream(1);
        peer->send_whole(result, Body::one(Encoding::pickle, call.body.bytes.view()));
        while (peer->receive()) {
        }
    });
    Message call;
    call.set_kind(wire::CALL);
    call.set_stream(1);
    ASSERT_TRUE(link->send_whole(call, Body::one(Encoding::pickle, as_byte_view(big))));
    read_messages(1);
    EXPECT_EQ(recorder.heads[0].kind(), wire::RESULT);
    EXPECT_TRUE(as_text(recorder.bodies[0].bytes.view()) == big);
    link->shutdown();
    peers.get();
}

// A node may answer before it has seen the whole call; the rest of the call's body must not stay behind for ever.
TEST_F(BlockingLinkTest, AnEarlyResultEndsTheCallsOwnBody) {
    open_greeted();
    peer->keep_credit(false);
    auto sending = std::async(std::launch::async, [&] {
        Message call;
        call.set_kind(wire::CALL);
        call.set_stream(1);
        return link->send_whole(call, Body::one(Encoding::pickle, as_byte_view(std::string(4 * limits::k_body_window_bytes, 'b')))).has_value();
    });
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) ASSERT_FALSE(peer->receive(1ms));
    peer->send(wire::RESULT, 1);
    while (sending.wait_for(0s) != std::future_status::ready) ASSERT_FALSE(peer->receive(1ms));
    ASSERT_TRUE(sending.get());
    read_messages(1);
    EXPECT_EQ(peer->next().message.kind(), wire::ABORT);
    peer->send(wire::CREDIT, 1, limits::k_body_window_bytes);
    peer->send(wire::OUTPUT, 2, 1, wire::STDOUT, "after");
    read_messages(2);
    link->shutdown();
    EXPECT_FALSE(peer->receive());  // nothing more of the body
    EXPECT_TRUE(peer->closed());
}

// An item that its sender gave up is no reason to give up what this side sends on that stream.
TEST_F(BlockingLinkTest, AnAbortedItemEndsNoOtherBody) {
    open_greeted();
    Message item;
    item.set_kind(wire::ITEM);
    item.set_stream(1);
    const std::string big(2 * limits::k_body_window_bytes, 'b');
    auto sending = std::async(std::launch::async, [&] { return link->send_whole(item, Body::one(Encoding::pickle, as_byte_view(big))).has_value(); });
    peer->keep_credit(false);
    while (peer->ungranted_bytes() < limits::k_body_window_bytes) ASSERT_FALSE(peer->receive(1ms));
    ASSERT_TRUE(sending.get());
    peer->send(wire::ABORT, 1, 0, wire::ITEMS);
    read_messages(1);
    EXPECT_TRUE(recorder.sent.empty());
    peer->send(wire::CREDIT, 1, limits::k_body_window_bytes);
    auto reading = std::async(std::launch::async, [&] { return link->read_some(Clock::now() + 20s, false).has_value(); });
    const FakePeer::Received received = peer->next();
    EXPECT_EQ(received.message.kind(), wire::ITEM);
    EXPECT_TRUE(as_text(received.body.bytes.view()) == big);
    EXPECT_TRUE(reading.get());
    EXPECT_EQ(recorder.sent, std::vector<std::uint64_t>{1});
}

TEST_F(BlockingLinkTest, AbortOutgoingTellsThePeerOnlyOfWhatIsUnsent) {
    open_greeted();
    link->abort_outgoing(5);
    Message ping;
    ping.set_kind(wire::PING);
    ASSERT_TRUE(link->send(ping));
    EXPECT_EQ(peer->next().message.kind(), wire::PING);
}

TEST_F(BlockingLinkTest, AForkedChildMayNotUseIt) {
    open_greeted();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        Message message;
        message.set_kind(wire::CANCEL);
        const bool refused = !link->usable() && !link->send(message) && !link->read_some(Clock::now(), false);
        link->shutdown();  // must not end the parent's connection
        ::_exit(refused ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    Message message;
    message.set_kind(wire::PING);
    message.set_number(1);
    ASSERT_TRUE(link->send(message));
    EXPECT_EQ(peer->next().message.kind(), wire::PING);
}

// Whether it has company or not, and whatever else is sent meanwhile.
TEST_F(BlockingLinkTest, WhatIsQueuedLeavesInOrder) {
    open_greeted();
    constexpr std::uint64_t k_count = 2000;
    auto queueing = std::async(std::launch::async, [&] {
        const ByteView part = as_byte_view("text");
        for (std::uint64_t i = 1; i <= k_count; ++i) {
            Message message;
            message.set_kind(wire::CALL);
            message.set_stream(i);
            if (i % 100 == 0) {
                ASSERT_TRUE(link->send_whole(message, Body::one(Encoding::json, part)));
                continue;
            }
            const auto body = std::make_shared<const Body>(Body::one(Encoding::json, part));
            Bytes frame;
            if (i % 2 == 0) {
                Message framed = message;
                wire::describe_body(framed, *body);
                wire::append_message(frame, framed, part);
            }
            const Result<bool> now = i % 2 == 0 ? link->queue_frame(frame.view()) : link->queue_whole(message, body);
            ASSERT_TRUE(now);
            if (*now) link->flush_queued();
        }
    });
    for (std::uint64_t i = 1; i <= k_count; ++i) {
        const FakePeer::Received received = peer->next();
        ASSERT_EQ(received.message.stream(), i);
        ASSERT_EQ(as_text(received.body.bytes.view()), "text");
    }
    queueing.get();
}

// Nobody is told of what left while the Receiver goes.
TEST_F(BlockingLinkTest, StopEndsItsOwnThread) {
    open_greeted();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        Message message;
        message.set_kind(wire::CALL);
        message.set_stream(i);
        ASSERT_TRUE(link->queue_whole(message, std::make_shared<const Body>(Body::one(Encoding::json, as_byte_view("x")))));
    }
    link->stop();
    link->stop();
    Message last;
    last.set_kind(wire::PING);
    ASSERT_TRUE(link->send(last));
    for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_EQ(peer->next().message.stream(), i);
}

TEST_F(BlockingLinkTest, ManyThreadsMaySend) {
    open_greeted();
    constexpr int k_threads = 8;
    constexpr std::uint64_t k_each = 200;
    std::vector<std::thread> threads;
    for (int t = 0; t < k_threads; ++t) {
        threads.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < k_each; ++i) {
                Message message;
                message.set_kind(wire::OUTPUT);
                message.set_stream(static_cast<std::uint64_t>(t));
                message.set_number(i);
                EXPECT_TRUE(link->send(message, as_byte_view("text")));
            }
        });
    }
    std::vector<std::uint64_t> next(k_threads);
    for (std::uint64_t i = 0; i < k_threads * k_each; ++i) {
        const Message message = peer->next().message;
        EXPECT_EQ(message.number(), next[message.stream()]++);
    }
    for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace rh::rpc
