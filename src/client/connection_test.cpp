#include "client/connection.h"

#include <atomic>
#include <csignal>
#include <functional>
#include <future>
#include <gtest/gtest.h>
#include <set>
#include <sys/wait.h>
#include <thread>

#include "base/limits.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"

namespace rh::client {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using rpc::FakePeer;

// So much output that the worker hears at once that it was taken.
const std::string k_much(limits::k_output_window_bytes / 4, 'm');

class TextWaiter final : public Waiter {
public:
    void on_output(Channel, std::string_view text) override { all += text; }
    bool interrupted() override {
        ++asked;
        return stops;
    }
    std::string all;
    std::atomic<int> asked = 0;
    bool stops = false;
};

class TextObserver final : public Observer {
public:
    void on_output(Channel, std::string_view text) override {
        const std::scoped_lock lock(mutex_);
        all_ += text;
        changed_.notify_all();
    }
    void on_done() override {
        const std::scoped_lock lock(mutex_);
        ++done_;
        changed_.notify_all();
    }
    bool wait_done() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, FakePeer::k_patience, [&] { return done_ == 1; });
    }
    bool wait_text(std::string_view text) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, FakePeer::k_patience, [&] { return all_ == text; });
    }
    int done() {
        const std::scoped_lock lock(mutex_);
        return done_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string all_;
    int done_ = 0;
};

std::string text_of(const Outcome& outcome) { return std::string(as_text(outcome.body.bytes.view())); }

class ConnectionTest : public ::testing::Test {
protected:
    ConnectionTest() {
        auto connecting = std::async(std::launch::async, [&] { return Client::connect({node_.path(), "test"}, Clock::now() + 20s); });
        peer = node_.accept();
        hello = peer->greet();
        Result<std::shared_ptr<Client>> connected = connecting.get();
        EXPECT_TRUE(connected);
        client = *connected;
    }
    ~ConnectionTest() override {
        client.reset();
        if (server.joinable()) server.join();
    }

    std::shared_ptr<Call> start(std::string_view method, std::string_view content = "", std::shared_ptr<Observer> observer = nullptr) {
        const ByteView part = as_byte_view(content);
        Result<std::shared_ptr<Call>> started = client->start({"svc", method, Encoding::json, {&part, 1}, 0}, std::move(observer));
        EXPECT_TRUE(started) << (started ? "" : started.error().message);
        return *started;
    }
    void answer(std::uint64_t stream, std::string_view text) {
        rpc::Message message = wire::result_message(Outcome::returned({}));
        message.set_stream(stream);
        peer->send_whole(message, Body::one(Encoding::json, as_byte_view(text)));
    }
    // Hands every message to `handle` until the client has closed, on a thread of its own.
    void serve(std::function<void(FakePeer::Received&)> handle) {
        server = std::thread([this, handle = std::move(handle)] {
            while (auto received = peer->receive()) handle(*received);
        });
    }
    void serve_echo() {
        serve([this](FakePeer::Received& received) {
            if (received.message.kind() == wire::CALL) answer(received.message.stream(), as_text(received.body.bytes.view()));
        });
    }

private:
    rpc::FakeNode node_;

protected:
    std::unique_ptr<FakePeer> peer;
    rpc::Message hello;
    std::shared_ptr<Client> client;
    std::thread server;
};

TEST_F(ConnectionTest, SaysWhoItIs) {
    EXPECT_EQ(hello.hello().role(), wire::CLIENT);
    EXPECT_EQ(hello.hello().session().size(), 16u);
    EXPECT_EQ(client->session().size(), 32u);
    EXPECT_TRUE(client->alive());
}

TEST_F(ConnectionTest, ACallCarriesItsIds) {
    const std::string first = "a";
    const std::string second = "bc";
    const std::vector<ByteView> parts{as_byte_view(first), as_byte_view(second)};
    const auto started = client->start({"svc", "method", Encoding::pickle, parts, 1234}, nullptr);
    ASSERT_TRUE(started);
    const FakePeer::Received call = peer->next(wire::CALL);
    EXPECT_EQ(call.message.service(), "svc");
    EXPECT_EQ(call.message.method(), "method");
    EXPECT_EQ(call.message.session(), hello.hello().session());
    EXPECT_EQ(call.message.sequence(), 1u);
    EXPECT_EQ(call.message.deadline_ms(), 1234u);
    EXPECT_EQ(call.message.encoding(), wire::PICKLE);
    EXPECT_EQ(call.message.parts_size(), 2);
    EXPECT_EQ(as_text(call.body.bytes.view()), "abc");
    EXPECT_FALSE((*started)->done());
    answer(call.message.stream(), "42");
    TextWaiter waiter;
    EXPECT_EQ((*started)->wait({}, waiter), WaitEnd::done);
    EXPECT_TRUE((*started)->done());
    EXPECT_EQ(text_of((*started)->take_outcome()), "42");
}

TEST_F(ConnectionTest, ManyThreadsAtOnce) {
    serve_echo();
    std::vector<std::thread> threads;
    std::atomic<int> right = 0;
    for (int t = 0; t < 12; ++t) {
        threads.emplace_back([&, t] {
            TextWaiter waiter;
            for (int i = 0; i < 100; ++i) {
                const std::string content = std::to_string(t) + "/" + std::to_string(i);
                const auto call = start("echo", content);
                call->wait({}, waiter);
                right += text_of(call->take_outcome()) == content ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(right, 1200);
}

TEST_F(ConnectionTest, BigBodiesComeAndGo) {
    serve_echo();
    std::vector<std::thread> threads;
    for (char c = 'a'; c < 'd'; ++c) {
        threads.emplace_back([&, c] {
            const std::string big(3 * limits::k_body_window_bytes + 5, c);
            TextWaiter waiter;
            const auto call = start("echo", big);
            call->wait({}, waiter);
            EXPECT_TRUE(text_of(call->take_outcome()) == big);
        });
    }
    for (std::thread& thread : threads) thread.join();
}

// The one whose answer comes first hands the reading over; without that each round would last a follower's slice (100 ms).
TEST_F(ConnectionTest, TheLeaderHandsOver) {
    constexpr int k_rounds = 60;
    const auto begun = Clock::now();
    for (int round = 0; round < k_rounds; ++round) {
        const auto first = start("first");
        const auto second = start("second");
        const std::uint64_t first_stream = peer->next(wire::CALL).message.stream();
        const std::uint64_t second_stream = peer->next(wire::CALL).message.stream();
        const auto wait = [](const std::shared_ptr<Call>& call) {
            TextWaiter waiter;
            return call->wait({}, waiter);
        };
        auto one = std::async(std::launch::async, wait, first);
        auto other = std::async(std::launch::async, wait, second);
        // Who takes a call's output waits for it: from here on one reads and the other follows.
        for (const std::uint64_t stream : {first_stream, second_stream}) {
            peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, k_much);
            EXPECT_EQ(peer->next(wire::CREDIT).message.stream(), stream);
        }
        answer(first_stream, "1");
        EXPECT_EQ(one.get(), WaitEnd::done);
        answer(second_stream, "2");
        EXPECT_EQ(other.get(), WaitEnd::done);
    }
    EXPECT_LT(Clock::now() - begun, k_rounds * 30ms);
}

TEST_F(ConnectionTest, SeveralThreadsMayWaitForOneCall) {
    const auto call = start("m");
    std::vector<std::future<WaitEnd>> waiting;
    for (int i = 0; i < 4; ++i) {
        waiting.push_back(std::async(std::launch::async, [&] {
            TextWaiter waiter;
            return call->wait({}, waiter);
        }));
    }
    answer(peer->next(wire::CALL).message.stream(), "x");
    for (auto& one : waiting) EXPECT_EQ(one.get(), WaitEnd::done);
}

TEST_F(ConnectionTest, ADeadlineEndsAWaitAndNotTheCall) {
    const auto call = start("slow");
    TextWaiter waiter;
    const auto deadline = Clock::now() + 20ms;
    EXPECT_EQ(call->wait(deadline, waiter), WaitEnd::deadline);
    EXPECT_GE(Clock::now(), deadline);
    EXPECT_FALSE(call->done());
    answer(peer->next(wire::CALL).message.stream(), "late");
    EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(text_of(call->take_outcome()), "late");
}

TEST_F(ConnectionTest, AFollowersDeadlineIsItsOwn) {
    const auto first = start("first");
    const auto second = start("second");
    auto leader = std::async(std::launch::async, [&] {
        TextWaiter waiter;
        return first->wait({}, waiter);
    });
    TextWaiter waiter;
    EXPECT_EQ(second->wait(Clock::now() + 20ms, waiter), WaitEnd::deadline);
    answer(peer->next(wire::CALL).message.stream(), "x");
    EXPECT_EQ(leader.get(), WaitEnd::done);
}

TEST_F(ConnectionTest, AnObserverIsToldWhileNobodyWaits) {
    const auto observer = std::make_shared<TextObserver>();
    const auto call = start("m", "", observer);
    const std::uint64_t stream = peer->next(wire::CALL).message.stream();
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "hello ");
    peer->send(wire::OUTPUT, stream, 2, wire::STDERR, "there");
    EXPECT_TRUE(observer->wait_text("hello there"));
    peer->send(wire::OUTPUT, stream, 3, wire::STDOUT, k_much);
    EXPECT_TRUE(observer->wait_text("hello there" + k_much));
    const rpc::Message credit = peer->next(wire::CREDIT).message;
    EXPECT_EQ(credit.stream(), stream);
    EXPECT_NE(credit.channel(), wire::BODY);
    EXPECT_EQ(credit.number(), 11u + k_much.size());
    EXPECT_EQ(observer->done(), 0);
    answer(stream, "7");
    EXPECT_TRUE(observer->wait_done());
    EXPECT_EQ(text_of(call->take_outcome()), "7");
}

TEST_F(ConnectionTest, OutputReachesTheWaiterAndIsGranted) {
    const auto call = start("m");
    auto waiting = std::async(std::launch::async, [&] {
        TextWaiter waiter;
        EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
        return waiter.all;
    });
    const std::uint64_t stream = peer->next(wire::CALL).message.stream();
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "step 1\n");
    peer->send(wire::OUTPUT, stream, 2, wire::STDOUT, k_much);
    EXPECT_EQ(peer->next(wire::CREDIT).message.number(), 7u + k_much.size());
    answer(stream, "");
    EXPECT_EQ(waiting.get(), "step 1\n" + k_much);
}

// A waiter that hands text on lets another thread read; what that one takes in stands before the result all the same.
TEST_F(ConnectionTest, TheLastLinesStandBeforeTheResult) {
    serve([this](FakePeer::Received& received) {
        const std::uint64_t stream = received.message.stream();
        if (received.message.kind() == wire::CALL && received.message.method() == "m")
            peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, k_much);
        if (received.message.kind() == wire::CREDIT && received.message.number() == k_much.size()) {
            peer->send(wire::OUTPUT, stream, 2, wire::STDOUT, "last");
            answer(stream, "");
        }
        if (received.message.kind() == wire::CANCEL) answer(stream, "");
    });
    const auto background = start("block");
    auto other = std::async(std::launch::async, [&] {
        TextWaiter waiter;
        return background->wait({}, waiter);
    });
    for (int round = 0; round < 300; ++round) {
        TextWaiter waiter;
        const auto call = start("m");
        ASSERT_EQ(call->wait({}, waiter), WaitEnd::done);
        ASSERT_EQ(waiter.all, k_much + "last");
    }
    background->cancel(false);
    EXPECT_EQ(other.get(), WaitEnd::done);
}

TEST_F(ConnectionTest, ALostNodeEndsEveryCall) {
    const auto observer = std::make_shared<TextObserver>();
    const auto observed = start("m", "", observer);
    const auto waited = start("m");
    const auto left_alone = start("m");
    auto waiting = std::async(std::launch::async, [&] {
        TextWaiter waiter;
        return waited->wait({}, waiter);
    });
    for (int i = 0; i < 3; ++i) peer->next(wire::CALL);
    peer.reset();
    EXPECT_EQ(waiting.get(), WaitEnd::done);
    EXPECT_TRUE(observer->wait_done());
    for (const auto& call : {observed, waited, left_alone}) {
        TextWaiter waiter;
        EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
        const Outcome outcome = call->take_outcome();
        EXPECT_EQ(outcome.kind, Outcome::Kind::failed);
        EXPECT_EQ(outcome.error.code, Code::node_lost);
        EXPECT_EQ(outcome.error.fact("started"), "unknown");
    }
    EXPECT_FALSE(client->alive());
    const auto late = client->start({"svc", "m", Encoding::empty, {}, 0}, nullptr);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().fact("started"), "no");
    EXPECT_FALSE(client->ping(Clock::now() + 20s));
}

TEST_F(ConnectionTest, ALostNodeIsNoticedWhileNobodyAsks) {
    peer.reset();
    const auto deadline = Clock::now() + 20s;
    while (client->alive()) {
        ASSERT_LT(Clock::now(), deadline);
        std::this_thread::yield();
    }
}

TEST_F(ConnectionTest, CloseEndsEveryCallOnce) {
    const auto observer = std::make_shared<TextObserver>();
    const auto call = start("m", "", observer);
    client->close();
    client->close();
    EXPECT_EQ(observer->done(), 1);
    EXPECT_TRUE(call->done());
    EXPECT_FALSE(client->alive());
}

TEST_F(ConnectionTest, ACallOutlivesTheClientThatMadeIt) {
    const auto call = start("m");
    client.reset();
    TextWaiter waiter;
    EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(call->take_outcome().error.code, Code::node_lost);
}

TEST_F(ConnectionTest, AnAbandonedCallEndsAtOnceAndItsLateResultIsIgnored) {
    const auto observer = std::make_shared<TextObserver>();
    const auto call = start("m", "", observer);
    const std::uint64_t stream = peer->next(wire::CALL).message.stream();
    call->abandon(Error(Code::timeout, "no patience"));
    EXPECT_TRUE(call->done());
    EXPECT_EQ(observer->done(), 1);
    EXPECT_EQ(peer->next(wire::CANCEL).message.stream(), stream);
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "late");
    answer(stream, std::string(2 * limits::k_body_window_bytes, 'l'));
    call->abandon(Error(Code::timeout, "again"));
    EXPECT_EQ(call->take_outcome().error.message, "no patience");
    serve_echo();
    TextWaiter waiter;
    const auto next = start("echo", "alive");
    EXPECT_EQ(next->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(text_of(next->take_outcome()), "alive");
    EXPECT_EQ(observer->done(), 1);
}

// Giving up on results while another thread is putting them together.
TEST_F(ConnectionTest, AbandonWhileTheResultIsOnItsWay) {
    serve([this](FakePeer::Received& received) {
        if (received.message.kind() == wire::CALL) answer(received.message.stream(), std::string(limits::k_body_window_bytes / 2, 'r'));
    });
    std::atomic<bool> over = false;
    std::thread reader([&] {
        while (!over) {
            TextWaiter waiter;
            const auto call = start("m");
            EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
        }
    });
    for (int round = 0; round < 100; ++round) start("m")->abandon(Error(Code::timeout, "enough"));
    over = true;
    reader.join();
    EXPECT_TRUE(client->alive());
}

TEST_F(ConnectionTest, AnAbortedResultFailsTheCall) {
    const auto call = start("m");
    rpc::Message head;
    head.set_kind(wire::RESULT);
    head.set_stream(peer->next(wire::CALL).message.stream());
    head.add_parts(100);
    peer->send(head, "some of it");
    rpc::Message abort;
    abort.set_kind(wire::ABORT);
    abort.set_stream(head.stream());
    wire::set_error(abort, Error(Code::worker_died, "it died"));
    peer->send(abort);
    TextWaiter waiter;
    EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(call->take_outcome().error.code, Code::worker_died);
}

TEST_F(ConnectionTest, PingsTheNodeAndTheCallsWorker) {
    serve([this](FakePeer::Received& received) {
        if (received.message.kind() == wire::PING)
            peer->send(wire::PONG, received.message.stream(), received.message.number());
    });
    EXPECT_TRUE(client->ping(Clock::now() + 20s));
    const auto call = start("m");
    EXPECT_TRUE(call->ping(Clock::now() + 20s));
    // While another thread waits for the call and reads for both.
    auto waiting = std::async(std::launch::async, [&] {
        TextWaiter waiter;
        return call->wait({}, waiter);
    });
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(call->ping(Clock::now() + 20s));
    call->abandon(Error(Code::cancelled, "enough"));
    EXPECT_EQ(waiting.get(), WaitEnd::done);
}

// The worker says nothing, but the one who waits for the call, and reads for everybody, is to hear of its end.
TEST_F(ConnectionTest, AbandonReachesTheOneWhoReads) {
    serve([this](FakePeer::Received& received) {
        if (received.message.kind() == wire::PING) peer->send(wire::PONG, received.message.stream(), received.message.number());
    });
    for (int round = 0; round < 50; ++round) {
        const auto call = start("m");
        auto waiting = std::async(std::launch::async, [&] {
            TextWaiter waiter;
            return call->wait(Clock::now() + 20s, waiter);
        });
        if (round % 2 == 0) std::this_thread::yield();
        call->abandon(Error(Code::timeout, "enough"));
        ASSERT_EQ(waiting.get(), WaitEnd::done);
    }
}

TEST_F(ConnectionTest, APingThatIsNotAnsweredIsATimeout) { EXPECT_EQ(client->ping(Clock::now() + 20ms).error().code, Code::timeout); }

TEST_F(ConnectionTest, ASignalAsksTheWaiter) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    struct sigaction before {};
    ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
    const auto call = start("m");
    TextWaiter waiter;
    waiter.stops = true;
    std::atomic<pthread_t> thread{};
    std::atomic<bool> ended = false;
    auto waiting = std::async(std::launch::async, [&] {
        thread = ::pthread_self();
        const WaitEnd end = call->wait({}, waiter);
        ended = true;
        return end;
    });
    while (thread == pthread_t{}) std::this_thread::yield();
    // The signal may come before the thread blocks; then another one has to.
    while (!ended) {
        ::pthread_kill(thread, SIGUSR1);
        std::this_thread::yield();
    }
    EXPECT_EQ(waiting.get(), WaitEnd::interrupted);
    EXPECT_GE(waiter.asked, 1);
    ::sigaction(SIGUSR1, &before, nullptr);
}

// A call that no peer would take is refused here, and nobody else on the connection notices.
TEST_F(ConnectionTest, ACallThatCannotBeSentHarmsNoOther) {
    serve_echo();
    const auto other = start("echo", "other");
    const std::vector<ByteView> parts(limits::k_body_parts_max + 1, as_byte_view("x"));
    const auto observer = std::make_shared<TextObserver>();
    const auto split = client->start({"svc", "m", Encoding::pickle, parts, 0}, observer);
    ASSERT_FALSE(split);
    EXPECT_EQ(split.error().code, Code::limit_exceeded);
    EXPECT_EQ(split.error().fact("started"), "no");
    EXPECT_EQ(client->start({"\xff", "m", Encoding::empty, {}, 0}, nullptr).error().code, Code::invalid_name);
    const std::string endless(limits::k_frame_header_bytes_max, 'n');
    EXPECT_EQ(client->start({endless, "m", Encoding::empty, {}, 0}, nullptr).error().code, Code::limit_exceeded);
    EXPECT_EQ(observer->done(), 0);
    TextWaiter waiter;
    EXPECT_EQ(other->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(text_of(other->take_outcome()), "other");
    EXPECT_TRUE(client->alive());
}

TEST_F(ConnectionTest, OutstandingCallsAreBounded) {
    serve([](FakePeer::Received&) {});
    std::vector<std::shared_ptr<Call>> calls;
    for (std::size_t i = 0; i < limits::k_calls_per_connection_max; ++i) calls.push_back(start("m"));
    const auto refused = client->start({"svc", "m", Encoding::empty, {}, 0}, nullptr);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::limit_exceeded);
    calls.front()->abandon(Error(Code::cancelled, "room"));
    EXPECT_TRUE(client->start({"svc", "m", Encoding::empty, {}, 0}, nullptr));
}

TEST_F(ConnectionTest, AForkedChildsCopyIsDead) {
    const auto call = start("m");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto started = client->start({"svc", "m", Encoding::empty, {}, 0}, nullptr);
        const bool dead = !client->alive() && !started && started.error().code == Code::node_lost && !client->ping(Clock::now());
        client->close();
        ::_exit(dead ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    answer(peer->next(wire::CALL).message.stream(), "parent");
    TextWaiter waiter;
    EXPECT_EQ(call->wait({}, waiter), WaitEnd::done);
    EXPECT_EQ(text_of(call->take_outcome()), "parent");
}

TEST(Client, ConnectSaysWhatIsWrong) {
    const auto connected = Client::connect({"/tmp/rh-test-nobody/socket", "test"}, Clock::now() + 1s);
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, Code::node_lost);
    EXPECT_NE(connected.error().message.find("/tmp/rh-test-nobody/socket"), std::string::npos);
}

}  // namespace
}  // namespace rh::client
