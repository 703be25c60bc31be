// What a caller that comes back is told (exchange.h), over a link whose connection was really lost and made anew.

#include <gtest/gtest.h>
#include <thread>

#include "rpc/fake_peer.h"
#include "wire/convert.h"
#include "worker/exchange.h"

namespace rh::worker {
namespace {

using namespace std::chrono_literals;
using rpc::FakePeer;

const std::string k_session(16, 's');

Body json(std::string_view text) { return Body::one(Encoding::json, as_byte_view(text)); }

class ExchangeResumeTest : public ::testing::Test, private rpc::BlockingLink::Receiver {
protected:
    ExchangeResumeTest() {
        rpc::Message hello;
        auto opened = rpc::BlockingLink::open(connect(), hello, std::chrono::steady_clock::now() + 20s, *this);
        EXPECT_TRUE(opened);
        link = std::move(*opened);
        greet_peer();
        exchange.attach(*link);
        read();
    }
    ~ExchangeResumeTest() override {
        link->shutdown();
        exchange.close();
        reader.join();
    }

    Fd connect() {
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        peer = std::make_unique<FakePeer>(Fd(pair[1]));
        peer->raw(rpc::upgrade_answer());
        peer->say_hello();
        return Fd(pair[0]);
    }
    void greet_peer() {
        peer->take_request();
        EXPECT_EQ(peer->next().message.kind(), wire::HELLO);
    }
    void read() {
        reader = std::thread([this] {
            while (link->read_some({}, false)) {
            }
        });
    }
    // The connection breaks, and there is another.
    void lose() {
        peer = nullptr;
        reader.join();
        rpc::Message hello;
        EXPECT_TRUE(link->reopen(connect(), hello, std::chrono::steady_clock::now() + 20s));
        greet_peer();
        read();
    }
    void begin(std::uint64_t id, std::uint32_t prefetch = limits::k_prefetch_default) { exchange.begin(id, prefetch, {k_session, id * 10, "test"}); }
    void conclude(std::uint64_t id, Body body) {
        EXPECT_TRUE(exchange.conclude(id, Outcome::returned(std::move(body)), false));
    }
    static rpc::Message resume(std::uint64_t sequence) {
        rpc::Message message;
        message.set_kind(wire::RESUME);
        message.set_number(7);
        message.set_session(k_session);
        message.set_sequence(sequence);
        return message;
    }
    rpc::Message ask(rpc::Message message) {
        peer->send(message);
        return peer->next(wire::RESUMED).message;
    }

    Result<void> on_message(rpc::Message& message, Body) override {
        if (message.kind() == wire::RESUME) exchange.resume(message);
        if (message.kind() == wire::CREDIT) exchange.on_credit(message);
        if (message.kind() == wire::TAKEN) exchange.forget(message.session(), message.sequence());
        return {};
    }
    void on_sent(std::uint64_t stream) override { exchange.on_sent(stream); }

    std::unique_ptr<FakePeer> peer;
    std::unique_ptr<rpc::BlockingLink> link;
    Exchange exchange{[](std::uint64_t) {}};
    std::thread reader;
};

TEST_F(ExchangeResumeTest, LinesThatDidNotArriveAreSaidAgain) {
    begin(1);
    for (const std::string_view line : {"one", "two", "three"}) EXPECT_TRUE(exchange.output(1, Channel::out, line));
    EXPECT_EQ(as_text(peer->next(wire::OUTPUT).body.bytes.view()), "one");
    lose();
    // Meanwhile the call goes on.
    EXPECT_TRUE(exchange.output(1, Channel::err, "four"));
    rpc::Message asked = resume(10);
    asked.set_output_number(1);
    const rpc::Message answer = ask(asked);
    EXPECT_EQ(answer.stream(), 1u);
    EXPECT_EQ(answer.number(), 7u);
    for (std::uint64_t number = 2; number <= 4; ++number) {
        const FakePeer::Received line = peer->next(wire::OUTPUT);
        EXPECT_EQ(line.message.number(), number);
        EXPECT_EQ(line.message.channel(), number == 4 ? wire::STDERR : wire::STDOUT);
    }
    EXPECT_TRUE(exchange.output(1, Channel::out, "five"));
    EXPECT_EQ(peer->next(wire::OUTPUT).message.number(), 5u);
}

TEST_F(ExchangeResumeTest, TheWindowIsWhatFollowsFromWhatTheCallerHas) {
    begin(1);
    const std::string quarter(limits::k_output_window_bytes / 4, 'x');
    for (int i = 0; i < 4; ++i) {
        EXPECT_TRUE(exchange.output(1, Channel::out, quarter));
        peer->next(wire::OUTPUT);
    }
    lose();
    // It has all of it, and has shown half.
    rpc::Message asked = resume(10);
    asked.set_output_number(1'000'000);
    asked.set_output_pending(limits::k_output_window_bytes / 2);
    EXPECT_EQ(ask(asked).stream(), 1u);
    std::atomic<int> printed{0};
    std::thread printing([&] {
        for (int i = 0; i < 3; ++i) {
            exchange.output(1, Channel::out, quarter);
            ++printed;
        }
    });
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(peer->next(wire::OUTPUT).body.bytes.empty());
    peer->send(wire::PING, 0, 1);
    peer->next(wire::PONG);
    EXPECT_LE(printed, 2);
    rpc::Message credit;
    credit.set_kind(wire::CREDIT);
    credit.set_stream(1);
    credit.set_channel(wire::STDOUT);
    credit.set_number(quarter.size());
    peer->send(credit);
    printing.join();
    EXPECT_EQ(printed, 3);
}

TEST_F(ExchangeResumeTest, ItemsComeOnceAndInOrder) {
    begin(1);
    for (const char* item : {"1", "2", "3"}) EXPECT_EQ(exchange.item(1, json(item), false), Room::open);
    const FakePeer::Received first = peer->next(wire::ITEM);
    EXPECT_EQ(first.message.number(), 1u);
    lose();
    rpc::Message asked = resume(10);
    asked.set_item_number(1);
    EXPECT_EQ(ask(asked).stream(), 1u);
    EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), "2");
    EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), "3");
}

TEST_F(ExchangeResumeTest, AResultIsKeptUntilItsCallerHasIt) {
    begin(1);
    conclude(1, json("42"));
    lose();
    EXPECT_EQ(ask(resume(10)).stream(), 1u);
    EXPECT_EQ(as_text(peer->next(wire::RESULT).body.bytes.view()), "42");
    exchange.begin(2, 1, {k_session, 20, "test"}, 10);
    const rpc::Message answer = ask(resume(10));
    EXPECT_EQ(answer.stream(), 0u);
    EXPECT_FALSE(answer.gone());
}

TEST_F(ExchangeResumeTest, ALargeResultBeginsAnew) {
    begin(1);
    const std::string large(3 * limits::k_body_window_bytes, 'l');
    std::thread concluding([&] {
        static_cast<void>(exchange.conclude(1, Outcome::returned(Body::one(Encoding::pickle, as_byte_view(large))), false));
    });
    char part[4096];
    EXPECT_GT(::recv(peer->fd(), part, sizeof part, 0), 0);
    peer = nullptr;
    concluding.join();
    lose();
    EXPECT_EQ(ask(resume(10)).stream(), 1u);
    EXPECT_TRUE(as_text(peer->next(wire::RESULT).body.bytes.view()) == large);
    rpc::Message taken = resume(10);
    taken.set_kind(wire::TAKEN);
    peer->send(taken);
    EXPECT_EQ(ask(resume(10)).stream(), 0u);
}

TEST_F(ExchangeResumeTest, WhatWasLetGoIsNotSaidToHaveNeverBegun) {
    for (std::uint64_t id = 1; id <= limits::k_kept_results_max + 1; ++id) {
        begin(id);
        conclude(id, {});
        peer->next(wire::RESULT);
    }
    lose();
    const rpc::Message first = ask(resume(10));
    EXPECT_EQ(first.stream(), 0u);
    EXPECT_TRUE(first.gone());
    EXPECT_EQ(ask(resume(20)).stream(), 2u);
    const rpc::Message never = ask(resume(10 * (limits::k_kept_results_max + 2)));
    EXPECT_EQ(never.stream(), 0u);
    EXPECT_FALSE(never.gone());
}

TEST_F(ExchangeResumeTest, ANewDaemonHearsOfWhatRuns) {
    begin(3);
    begin(5);
    conclude(3, {});
    lose();
    exchange.announce();
    const FakePeer::Received running = peer->next(wire::RUNNING);
    EXPECT_EQ(running.message.stream(), 5u);
    EXPECT_EQ(running.message.sequence(), 50u);
    EXPECT_EQ(running.message.service(), "test");
    const FakePeer::Received end = peer->next(wire::RUNNING);
    EXPECT_EQ(end.message.stream(), 0u);
    EXPECT_EQ(end.message.number(), 5u);
}

}  // namespace
}  // namespace rh::worker
