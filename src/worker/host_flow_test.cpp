// Calls that have items, end later than their thread, or wait for their service's turn.

#include <atomic>
#include <future>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"
#include "worker/fake_runner.h"
#include "worker/host.h"

namespace rh::worker {
namespace {

using namespace std::chrono_literals;
using rpc::FakePeer;

constexpr std::uint64_t k_window = limits::k_items_window_bytes;

Body json(std::string_view text) { return Body::one(Encoding::json, as_byte_view(text)); }

class HostFlowTest : public ::testing::Test {
protected:
    HostFlowTest() {
        auto connecting = std::async(std::launch::async, [&] { return Host::connect({node_.path(), "w7", "test 1", 0ms}, runner); });
        peer = node_.accept();
        peer->greet();
        Result<std::unique_ptr<Host>> connected = connecting.get();
        EXPECT_TRUE(connected);
        host = std::move(*connected);
        runner.host = host.get();
        // Ended by the test, in any thread, with finish().
        runner.methods["later"] = [](Incoming&) { return std::nullopt; };
        runner.methods["echo"] = [](Incoming& call) { return Outcome::returned(std::move(call.body)); };
    }
    ~HostFlowTest() override {
        peer.reset();
        runner.release_all();
        if (serving.valid()) serving.wait();
        runner.join();
    }
    void serve() {
        serving = std::async(std::launch::async, [this] { return host->serve(); });
    }

    static rpc::Message call_message(std::uint64_t stream, const std::string& service, const std::string& method) {
        rpc::Message message;
        message.set_kind(wire::CALL);
        message.set_stream(stream);
        message.set_service(service);
        message.set_method(method);
        message.set_prefetch(1024);
        return message;
    }
    void call(std::uint64_t stream, const std::string& service, const std::string& method, const std::string& parent = "", std::uint32_t prefetch = 1024) {
        rpc::Message message = call_message(stream, service, method);
        message.set_prefetch(prefetch);
        if (!parent.empty()) message.add_parents(parent);
        peer->send_whole(message, json("x"));
    }
    struct Answered {
        std::uint64_t stream;
        Outcome outcome;
    };
    Answered result() {
        FakePeer::Received received = peer->next(wire::RESULT);
        const std::uint64_t stream = received.message.stream();
        return {stream, wire::outcome_of(received.message, std::move(received.body))};
    }
    // Everything that was sent before has been read.
    void sync() {
        peer->send(wire::PING, 0, ++pings_);
        while (peer->next(wire::PONG).message.number() != pings_) {
        }
    }
    void grant(std::uint64_t stream, std::uint64_t bytes) {
        peer->send(wire::CREDIT, stream, bytes, wire::ITEMS);
    }
    Room put(std::uint64_t id, std::string_view text, bool wait = true) {
        if (const std::optional<Room> room = host->exchange().gather(id, json(text))) return *room;
        return host->exchange().item(id, json(text), wait);
    }

private:
    rpc::FakeNode node_;
    std::uint64_t pings_ = 0;

protected:
    std::unique_ptr<FakePeer> peer;
    FakeRunner runner;
    std::unique_ptr<Host> host;
    std::future<Result<void>> serving;
};

// --- items ---------------------------------------------------------------------------------------------------------

TEST_F(HostFlowTest, ItemsComeBeforeTheResult) {
    runner.methods["count"] = [&](Incoming& call) {
        for (int i = 0; i < 20; ++i) EXPECT_EQ(put(call.id, std::to_string(i)), Room::open);
        return Outcome::returned({});
    };
    serve();
    for (std::uint64_t stream = 1; stream <= 200; ++stream) {
        call(stream, "test", "count");
        int next = 0;
        for (;;) {
            const FakePeer::Received received = peer->next();
            ASSERT_EQ(received.message.stream(), stream);
            if (received.message.kind() == wire::RESULT) break;
            ASSERT_EQ(received.message.kind(), wire::ITEM);
            for (const ByteView part : received.body.parts()) ASSERT_EQ(as_text(part), std::to_string(next++));
        }
        ASSERT_EQ(next, 20);
    }
}

TEST_F(HostFlowTest, ALargeItemThenASmallOneThenTheResult) {
    const std::string large(10 * k_window + 17, 'l');
    runner.methods["large"] = [&](Incoming& call) {
        EXPECT_EQ(put(call.id, large), Room::open);  // waits until it is taken
        EXPECT_EQ(put(call.id, "small"), Room::open);
        EXPECT_EQ(put(call.id, large, false), Room::none);  // goes before the result all the same
        return Outcome::returned(json("end"));
    };
    serve();
    call(1, "test", "large");
    FakePeer::Received received = peer->next();
    EXPECT_EQ(received.message.kind(), wire::ITEM);
    EXPECT_TRUE(as_text(received.body.bytes.view()) == large);
    grant(1, large.size());
    received = peer->next();
    EXPECT_EQ(as_text(received.body.bytes.view()), "small");
    received = peer->next();
    EXPECT_EQ(received.message.kind(), wire::ITEM);
    EXPECT_TRUE(as_text(received.body.bytes.view()) == large);
    received = peer->next();
    EXPECT_EQ(received.message.kind(), wire::RESULT);
    EXPECT_EQ(as_text(received.body.bytes.view()), "end");
}

TEST_F(HostFlowTest, CancelOfALargeItemIsAnAbortAndThenTheResult) {
    peer->keep_credit(false);
    runner.methods["large"] = [&](Incoming& call) -> Outcome {
        if (put(call.id, std::string(4 * limits::k_body_window_bytes, 'l')) != Room::gone) return Outcome::returned({});
        return Outcome::failed(Error(Code::cancelled, "nobody listens"));
    };
    serve();
    call(1, "test", "large");
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) ASSERT_FALSE(peer->receive(1ms));
    peer->send(wire::CANCEL, 1);
    const rpc::Message abort = peer->next().message;
    EXPECT_EQ(abort.kind(), wire::ABORT);
    EXPECT_EQ(abort.channel(), wire::ITEMS);
    const Answered got = result();
    EXPECT_EQ(got.stream, 1u);
    EXPECT_EQ(got.outcome.error.message, "nobody listens");
}

// What a caller asks for at once arrives with its call, before that runs.
TEST_F(HostFlowTest, WhatFollowsACallAtOnceIsNotLost) {
    runner.methods["asked"] = [&](Incoming& call) {
        EXPECT_EQ(host->exchange().room(call.id, true), Room::open);
        const std::optional<Input> sent = host->exchange().input(call.id, 0, true);
        EXPECT_TRUE(sent);
        return Outcome::returned(sent ? json(as_text(sent->body.bytes.view())) : Body());
    };
    serve();
    for (std::uint64_t stream = 1; stream <= 100; ++stream) {
        rpc::Message message = call_message(stream, "test", "asked");
        message.set_prefetch(0);
        Bytes together;
        wire::append_message(together, message, {});
        rpc::Message credit;
        credit.set_kind(wire::CREDIT);
        credit.set_stream(stream);
        credit.set_channel(wire::ITEMS);
        credit.set_number(k_window);
        wire::append_message(together, credit, {});
        rpc::Message item;
        item.set_kind(wire::ITEM);
        item.set_stream(stream);
        item.set_encoding(wire::JSON);
        item.add_parts(2);
        wire::append_message(together, item, as_byte_view("in"));
        peer->raw(as_text(together.view()));
        const Answered got = result();
        ASSERT_EQ(got.stream, stream);
        ASSERT_EQ(as_text(got.outcome.body.bytes.view()), "in");
    }
}

TEST_F(HostFlowTest, AnItemThatCannotBeSentFailsItsCall) {
    runner.methods["shatter"] = [&](Incoming& call) {
        Body body;
        for (std::size_t i = 0; i <= limits::k_body_parts_max; ++i) body.add(as_byte_view("x"));
        EXPECT_EQ(host->exchange().item(call.id, std::move(body), true), Room::gone);
        return Outcome::returned({});
    };
    serve();
    call(1, "test", "shatter");
    const Answered got = result();
    EXPECT_EQ(got.outcome.kind, Outcome::Kind::failed);
    EXPECT_EQ(got.outcome.error.code, Code::limit_exceeded);
    EXPECT_EQ(got.outcome.error.fact("started"), "yes");
    call(2, "test", "echo");
    EXPECT_EQ(result().stream, 2u);
}

// A caller that gives up sending an item does not give up the result.
TEST_F(HostFlowTest, AnAbortedInputDoesNotAbortTheResult) {
    peer->keep_credit(false);
    runner.methods["large"] = [](Incoming&) { return Outcome::returned(json(std::string(2 * limits::k_body_window_bytes, 'r'))); };
    serve();
    call(1, "test", "large");
    while (peer->ungranted_bytes() < limits::k_body_window_bytes) ASSERT_FALSE(peer->receive(1ms));
    rpc::Message abort;
    abort.set_kind(wire::ABORT);
    abort.set_stream(1);
    abort.set_channel(wire::ITEMS);
    peer->send(abort);
    peer->send(wire::CREDIT, 1, limits::k_body_window_bytes);
    const FakePeer::Received received = peer->next();
    EXPECT_EQ(received.message.kind(), wire::RESULT);
    EXPECT_EQ(received.body.bytes.size(), 2 * limits::k_body_window_bytes);
}

TEST_F(HostFlowTest, ALostNodeReleasesWhoeverWaits) {
    runner.methods["wait"] = [&](Incoming& call) {
        if (call.id == 1) {
            EXPECT_EQ(put(1, "x"), Room::gone);
        } else {
            EXPECT_FALSE(host->exchange().input(2, 1, true));
        }
        return Outcome::returned({});
    };
    serve();
    for (const std::uint64_t stream : {1, 2, 3}) call(stream, "test", stream == 3 ? "later" : "wait", "", 1);
    for (const std::uint64_t stream : {1, 2, 3}) ASSERT_TRUE(runner.wait_begun(stream));
    ASSERT_TRUE(runner.wait_returned(3));
    EXPECT_EQ(put(3, "x", false), Room::none);
    peer.reset();
    EXPECT_TRUE(serving.get());
    EXPECT_TRUE(runner.wait_returned(1));
    EXPECT_TRUE(runner.wait_returned(2));
    EXPECT_TRUE(runner.wait_room(3));  // by the thread that found out, which need not be the one in serve()
    EXPECT_EQ(host->exchange().room(3, false), Room::gone);
    EXPECT_EQ(runner.rooms(3), 1);
}

// --- calls that end later ------------------------------------------------------------------------------------------

TEST_F(HostFlowTest, ManyCallsMayBePendingOnFewThreads) {
    serve();
    constexpr std::uint64_t k_calls = 300;
    for (std::uint64_t stream = 1; stream <= k_calls; ++stream) call(stream, "test", "later");
    for (std::uint64_t stream = 1; stream <= k_calls; ++stream) ASSERT_TRUE(runner.wait_returned(stream));
    EXPECT_LE(runner.thread_count(), 4u);
    call(k_calls + 1, "test", "echo");
    EXPECT_EQ(result().stream, k_calls + 1);
    for (std::uint64_t stream = k_calls; stream > 0; --stream) {
        host->finish(stream, Outcome::returned(json("late")));
        ASSERT_EQ(result().stream, stream);
    }
}

TEST_F(HostFlowTest, ACallMayBeFinishedBeforeItsRunReturns) {
    runner.methods["early"] = [&](Incoming& call) -> std::optional<Outcome> {
        const std::uint64_t id = call.id;
        std::async(std::launch::async, [&] { host->finish(id, Outcome::returned(json("early"))); }).wait();
        return std::nullopt;
    };
    host->limit("test", 1, 0);
    serve();
    for (std::uint64_t stream = 1; stream <= 100; ++stream) {
        call(stream, "test", "early");
        ASSERT_EQ(result().stream, stream);
    }
}

TEST_F(HostFlowTest, CancelReachesACallThatEndsLater) {
    serve();
    call(1, "test", "later", "", 1);
    ASSERT_TRUE(runner.wait_returned(1));
    EXPECT_EQ(put(1, "x", false), Room::none);
    peer->next(wire::ITEM);
    peer->send(wire::CANCEL, 1);
    sync();
    EXPECT_EQ(runner.block(1).error.message, "interrupted");
    EXPECT_EQ(host->exchange().room(1, false), Room::gone);
    EXPECT_EQ(runner.rooms(1), 1);
    host->finish(1, Outcome::failed(Error(Code::cancelled, "stopped")));
    EXPECT_EQ(result().outcome.error.message, "stopped");
}

TEST_F(HostFlowTest, ACancelThatComesBeforeTheRunnerLooksIsNotLost) {
    std::promise<void> look;
    runner.methods["look"] = [&](Incoming& call) {
        look.get_future().wait();
        return Outcome::returned(json(call.was_cancelled() ? "cancelled" : "wanted"));
    };
    runner.methods["see"] = [](Incoming& call) { return Outcome::returned(json(call.was_cancelled() ? "cancelled" : "wanted")); };
    serve();
    call(1, "test", "look");
    ASSERT_TRUE(runner.wait_begun(1));
    peer->send(wire::CANCEL, 1);
    ASSERT_TRUE(runner.wait_cancelled(1));
    look.set_value();
    EXPECT_EQ(as_text(result().outcome.body.bytes.view()), "cancelled");
    call(2, "test", "see");
    EXPECT_EQ(as_text(result().outcome.body.bytes.view()), "wanted");
}

// Nobody grants room for it, and it would wait for ever.
TEST_F(HostFlowTest, ALargeResultOfACancelledCallIsThrownAway) {
    serve();
    peer->keep_credit(false);
    call(1, "test", "later");
    ASSERT_TRUE(runner.wait_returned(1));
    peer->send(wire::CANCEL, 1);
    ASSERT_TRUE(runner.wait_cancelled(1));
    host->finish(1, Outcome::returned(json(std::string(limits::k_body_window_bytes + 1, 'l'))));
    const Answered thrown_away = result();
    EXPECT_EQ(thrown_away.stream, 1u);
    EXPECT_EQ(thrown_away.outcome.error.code, Code::cancelled);
    // What needs no credit arrives: its caller may still take it.
    call(2, "test", "later");
    ASSERT_TRUE(runner.wait_returned(2));
    peer->send(wire::CANCEL, 2);
    ASSERT_TRUE(runner.wait_cancelled(2));
    host->finish(2, Outcome::returned(json("small")));
    EXPECT_EQ(result().outcome.kind, Outcome::Kind::returned);
}

TEST_F(HostFlowTest, ACancelAndALargeResultMayMeet) {
    serve();
    peer->keep_credit(false);
    for (std::uint64_t id = 1; id <= 100; ++id) {
        call(id, "test", "later");
        ASSERT_TRUE(runner.wait_returned(id));
        std::atomic<bool> ready = false;
        auto finishing = std::async(std::launch::async, [&] {
            Outcome outcome = Outcome::returned(json(std::string(limits::k_body_window_bytes + limits::k_chunk_bytes, 'l')));
            ready = true;
            host->finish(id, std::move(outcome));
        });
        while (!ready) {
        }
        peer->send(wire::CANCEL, id);
        // Without credit it never arrives whole.
        for (;;) {
            FakePeer::Received received = peer->next();
            if (received.message.stream() != id) continue;
            if (received.message.kind() == wire::ABORT) break;
            ASSERT_EQ(received.message.kind(), wire::RESULT);
            ASSERT_EQ(wire::outcome_of(received.message, {}).error.code, Code::cancelled);
            break;
        }
        finishing.get();
    }
}

// Results that wait for company leave although the call behind them lasts.
TEST_F(HostFlowTest, AResultNeverWaitsForTheNextCall) {
    serve();
    for (std::uint64_t stream = 1; stream <= 600; stream += 3) {
        Bytes together;
        for (std::uint64_t i = 0; i < 3; ++i) {
            rpc::Message message = call_message(stream + i, "test", i < 2 ? "echo" : "block");
            wire::append_message(together, message, {});
        }
        peer->raw(as_text(together.view()));
        ASSERT_NE(result().stream, stream + 2);
        ASSERT_NE(result().stream, stream + 2);
        runner.release(stream + 2);
        ASSERT_EQ(result().stream, stream + 2);
    }
}

// --- limits --------------------------------------------------------------------------------------------------------

TEST_F(HostFlowTest, CallsBeyondTheQueueAreRefused) {
    host->limit("one", 1, 1);
    serve();
    call(1, "one", "block");
    ASSERT_TRUE(runner.wait_begun(1));
    call(2, "one", "echo");
    call(3, "one", "echo");
    const Answered refused = result();
    EXPECT_EQ(refused.stream, 3u);
    EXPECT_EQ(refused.outcome.error.code, Code::limit_exceeded);
    EXPECT_EQ(refused.outcome.error.fact("started"), "no");
    EXPECT_NE(refused.outcome.error.message.find("\"one\""), std::string::npos);
    // Others are not concerned.
    call(4, "other", "echo");
    EXPECT_EQ(result().stream, 4u);
    EXPECT_FALSE(runner.has_begun(2));
    runner.release(1);
    EXPECT_EQ(result().stream + result().stream, 3u);  // the second may be the first to be answered
}

// Read at once, none of them runs yet when the last is looked at.
TEST_F(HostFlowTest, CallsBeyondTheQueueAreRefusedWhenTheyComeTogether) {
    host->limit("one", 1, 1);
    serve();
    Bytes together;
    for (std::uint64_t stream = 1; stream <= 5; ++stream) {
        rpc::Message message = call_message(stream, "one", "block");
        wire::append_message(together, message, {});
    }
    peer->raw(as_text(together.view()));
    for (std::uint64_t stream = 3; stream <= 5; ++stream) {
        const Answered refused = result();
        EXPECT_EQ(refused.stream, stream);
        EXPECT_EQ(refused.outcome.error.code, Code::limit_exceeded);
    }
    runner.release_all();
    EXPECT_EQ(result().stream + result().stream, 3u);
}

// Whoever has a call's result may call again: its place is free by then.
TEST_F(HostFlowTest, TheNextCallTakesThePlaceOfTheOneThatEnded) {
    host->limit("one", 1, 1);
    serve();
    call(1, "one", "echo");
    for (std::uint64_t stream = 2; stream <= 1000; ++stream) {
        call(stream, "one", "echo");  // one runs and one waits, at most
        const Answered got = result();
        ASSERT_EQ(got.outcome.kind, Outcome::Kind::returned) << got.outcome.error.message;
    }
}

TEST_F(HostFlowTest, AQueuedCallCanBeCancelled) {
    host->limit("one", 1, 1);
    serve();
    call(1, "one", "block");
    ASSERT_TRUE(runner.wait_begun(1));
    for (std::uint64_t stream = 2; stream < 10; ++stream) {
        call(stream, "one", "block");
        peer->send(wire::CANCEL, stream);
        const Answered cancelled = result();
        EXPECT_EQ(cancelled.stream, stream);
        EXPECT_EQ(cancelled.outcome.error.code, Code::cancelled);
        EXPECT_EQ(cancelled.outcome.error.fact("started"), "no");
        EXPECT_EQ(host->exchange().room(stream, false), Room::gone);
    }
    call(10, "one", "echo");
    runner.release(1);
    EXPECT_EQ(result().stream + result().stream, 11u);
    EXPECT_FALSE(runner.has_begun(2));
}

TEST_F(HostFlowTest, ACallThatARunningOneWaitsForIsLetIn) {
    host->limit("one", 1, 1);
    serve();
    call(1, "one", "block");
    ASSERT_TRUE(runner.wait_begun(1));
    call(2, "one", "block");
    call(3, "one", "echo", "w7/1");
    Answered got = result();
    EXPECT_EQ(got.stream, 3u);
    EXPECT_EQ(got.outcome.kind, Outcome::Kind::returned);
    // Not so: another worker's call, one that does not run, one of another service, and what is no name of a call.
    call(4, "other", "block");
    ASSERT_TRUE(runner.wait_begun(4));
    std::uint64_t stream = 5;
    for (const char* parent : {"w8/1", "w7/2", "w7/4", "w7", "/1", "w7/x"}) {
        call(stream, "one", "echo", parent);
        got = result();
        EXPECT_EQ(got.stream, stream++) << parent;
        EXPECT_EQ(got.outcome.error.code, Code::limit_exceeded) << parent;
    }
    EXPECT_FALSE(runner.has_begun(2));
    runner.release_all();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(result().outcome.kind, Outcome::Kind::returned);
}

TEST_F(HostFlowTest, FinishWakesTheQueuedCall) {
    host->limit("one", 1, 2);
    serve();
    // The only idle thread is the watcher.
    for (std::uint64_t stream = 1; stream <= 200; stream += 2) {
        call(stream, "one", "later");
        ASSERT_TRUE(runner.wait_returned(stream));
        call(stream + 1, "one", "echo");
        sync();
        std::async(std::launch::async, [&] { host->finish(stream, Outcome::returned({})); }).wait();
        ASSERT_EQ(result().stream + result().stream, 2 * stream + 1);
    }
    EXPECT_LE(runner.thread_count(), 4u);
}

TEST_F(HostFlowTest, FinishWakesTheQueuedCallWhenNoThreadIsIdle) {
    host->limit("one", 1, 2);
    serve();
    call(1, "one", "later");
    ASSERT_TRUE(runner.wait_returned(1));
    // Of the threads that there are one reads and the others are busy.
    std::uint64_t stream = 2;
    for (; stream <= 5; ++stream) {
        call(stream, "other", "block");
        ASSERT_TRUE(runner.wait_begun(stream));
        sync();
    }
    call(stream, "one", "echo");
    sync();
    EXPECT_FALSE(runner.has_begun(stream));
    host->finish(1, Outcome::returned({}));
    EXPECT_EQ(result().stream + result().stream, stream + 1);
}

// Several places become free at once, and each of the calls that take them lasts.
TEST_F(HostFlowTest, EveryQueuedCallIsWoken) {
    constexpr std::uint64_t k_width = 8;
    host->limit("few", k_width, 100);
    serve();
    for (std::uint64_t round = 0; round < 30; ++round) {
        const std::uint64_t first = round * 2 * k_width + 1;
        for (std::uint64_t i = 0; i < k_width; ++i) call(first + i, "few", "later");
        for (std::uint64_t i = 0; i < k_width; ++i) ASSERT_TRUE(runner.wait_returned(first + i));
        for (std::uint64_t i = k_width; i < 2 * k_width; ++i) call(first + i, "few", "block");
        sync();
        for (std::uint64_t i = 0; i < k_width; ++i) host->finish(first + i, Outcome::returned({}));
        for (std::uint64_t i = k_width; i < 2 * k_width; ++i) ASSERT_TRUE(runner.wait_begun(first + i)) << "round " << round << ", call " << i;
        for (std::uint64_t i = k_width; i < 2 * k_width; ++i) runner.release(first + i);
        for (std::uint64_t i = 0; i < 2 * k_width; ++i) result();
    }
}

TEST_F(HostFlowTest, AWiderLimitLetsTheQueuedIn) {
    host->limit("one", 1, 10);
    serve();
    for (std::uint64_t stream = 1; stream <= 4; ++stream) call(stream, "one", "block");
    ASSERT_TRUE(runner.wait_begun(1));
    sync();
    EXPECT_FALSE(runner.has_begun(2));
    host->limit("one", 2, 10);
    ASSERT_TRUE(runner.wait_begun(2));
    sync();
    EXPECT_FALSE(runner.has_begun(3));
    host->limit("one", 0, 0);
    ASSERT_TRUE(runner.wait_begun(3));
    ASSERT_TRUE(runner.wait_begun(4));
    // Those that run count again once there is a limit again, if it was one that let them in.
    host->limit("one", 2, 10);
    call(5, "one", "block");
    sync();
    EXPECT_FALSE(runner.has_begun(5));
    runner.release(1);
    EXPECT_EQ(result().stream, 1u);
    ASSERT_TRUE(runner.wait_begun(5));
    call(6, "one", "block");
    sync();
    EXPECT_FALSE(runner.has_begun(6));
    runner.release_all();
    for (int i = 0; i < 5; ++i) result();
}

TEST_F(HostFlowTest, WithoutMoreThreadsCallsStillRun) {
    runner.refuses_threads = true;
    host->limit("one", 1, 1);
    serve();
    for (std::uint64_t stream = 1; stream <= 50; ++stream) {
        call(stream, stream % 2 == 0 ? "one" : "other", "echo");
        ASSERT_EQ(result().stream, stream);
    }
}

}  // namespace
}  // namespace rh::worker
