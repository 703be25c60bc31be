#include "worker/host.h"

#include <future>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"
#include "worker/fake_runner.h"

namespace rh::worker {
namespace {

using namespace std::chrono_literals;
using rpc::FakePeer;

// Methods: "echo" returns its body; "block" returns once released or cancelled; "print" prints its body's text; "shatter"
// returns more parts than may be sent.
void add_methods(FakeRunner& runner) {
    runner.methods["echo"] = [](Incoming& call) { return Outcome::returned(std::move(call.body)); };
    runner.methods["print"] = [&runner](Incoming& call) {
        const bool taken = runner.host->output(call.id, Channel::out, as_text(call.body.bytes.view()));
        return Outcome::returned(Body::one(Encoding::json, as_byte_view(taken ? "true" : "false")));
    };
    runner.methods["shatter"] = [](Incoming&) {
        Body body;
        for (std::size_t i = 0; i <= limits::k_body_parts_max; ++i) body.add(as_byte_view("x"));
        return Outcome::returned(std::move(body));
    };
}

class HostTest : public ::testing::Test {
protected:
    HostTest() {
        add_methods(runner);
        auto connecting = std::async(std::launch::async, [&] { return Host::connect({node_.path(), "w7", "test 1", 0ms}, runner); });
        peer = node_.accept();
        hello = peer->greet();
        Result<std::unique_ptr<Host>> connected = connecting.get();
        EXPECT_TRUE(connected);
        host = std::move(*connected);
        runner.host = host.get();
        serving = std::async(std::launch::async, [this] { return host->serve(); });
    }
    ~HostTest() override {
        peer.reset();
        runner.release_all();
        if (serving.valid()) serving.wait();
        runner.join();
    }

    void call(std::uint64_t stream, const std::string& method, const std::string& content = "") {
        rpc::Message message;
        message.set_kind(wire::CALL);
        message.set_stream(stream);
        message.set_service("test");
        message.set_method(method);
        peer->send_whole(message, Body::one(Encoding::json, as_byte_view(content)));
    }
    struct Answered {
        std::uint64_t stream;
        Outcome outcome;
        std::string text;
    };
    Answered result() {
        FakePeer::Received received = peer->next(wire::RESULT);
        const std::uint64_t stream = received.message.stream();
        std::string text(as_text(received.body.bytes.view()));
        return {stream, wire::outcome_of(received.message, std::move(received.body)), std::move(text)};
    }
    // The host answers this behind everything that it has read before.
    void ping(std::uint64_t stream, std::uint64_t number) {
        peer->send(wire::PING, stream, number);
        const rpc::Message pong = peer->next(wire::PONG).message;
        EXPECT_EQ(pong.stream(), stream);
        EXPECT_EQ(pong.number(), number);
    }

private:
    rpc::FakeNode node_;

protected:
    std::unique_ptr<FakePeer> peer;
    rpc::Message hello;
    FakeRunner runner;
    std::unique_ptr<Host> host;
    std::future<Result<void>> serving;
};

TEST_F(HostTest, SaysWhoItIs) {
    EXPECT_EQ(hello.hello().role(), wire::WORKER);
    EXPECT_EQ(hello.hello().worker(), "w7");
    EXPECT_EQ(hello.hello().language(), "test 1");
    EXPECT_EQ(hello.hello().pid(), static_cast<std::uint64_t>(::getpid()));
    ASSERT_EQ(hello.hello().services_size(), 1);
    EXPECT_EQ(hello.hello().services(0), "test");
}

TEST_F(HostTest, RunsCallsOneAfterTheOther) {
    for (std::uint64_t stream = 1; stream <= 500; ++stream) {
        call(stream, "echo", std::to_string(stream));
        const Answered got = result();
        ASSERT_EQ(got.stream, stream);
        ASSERT_EQ(got.text, std::to_string(stream));
    }
    EXPECT_LE(runner.thread_count(), 2u);
}

TEST_F(HostTest, RunsCallsThatComeTogether) {
    std::set<std::uint64_t> missing;
    for (std::uint64_t stream = 1; stream <= 300; ++stream) {
        call(stream, "echo", std::to_string(stream));
        missing.insert(stream);
    }
    while (!missing.empty()) {
        const Answered got = result();
        EXPECT_EQ(got.text, std::to_string(got.stream));
        ASSERT_EQ(missing.erase(got.stream), 1u);
    }
}

TEST_F(HostTest, BigBodiesComeAndGo) {
    const std::string big(5 * limits::k_body_window_bytes + 77, 'b');
    auto sending = std::async(std::launch::async, [&] { call(1, "echo", big); });
    sending.wait();
    const Answered got = result();
    EXPECT_TRUE(got.text == big);
}

TEST_F(HostTest, ASecondCallDoesNotWaitForTheFirst) {
    call(1, "block");
    ASSERT_TRUE(runner.wait_running(1));
    for (std::uint64_t stream = 2; stream < 20; ++stream) {
        call(stream, "echo", "x");
        EXPECT_EQ(result().stream, stream);
    }
    runner.release(1);
    EXPECT_EQ(result().stream, 1u);
}

TEST_F(HostTest, PingsAreAnsweredBesideUserCode) {
    call(1, "block");
    ASSERT_TRUE(runner.wait_running(1));
    for (std::uint64_t number = 1; number <= 20; ++number) ping(1, number);
    ping(0, 99);
    runner.release(1);
    EXPECT_EQ(result().stream, 1u);
}

TEST_F(HostTest, CancelReachesACallThatRuns) {
    call(1, "block");
    call(2, "block");
    ASSERT_TRUE(runner.wait_running(2));
    peer->send(wire::CANCEL, 1);
    const Answered got = result();
    EXPECT_EQ(got.stream, 1u);
    EXPECT_EQ(got.outcome.error.code, Code::cancelled);
    EXPECT_EQ(got.outcome.error.message, "interrupted");
    runner.release(2);
    EXPECT_EQ(result().stream, 2u);
}

TEST_F(HostTest, CancelOfACallThatIsNotThereDoesNothing) {
    peer->send(wire::CANCEL, 77);
    call(1, "echo", "x");
    EXPECT_EQ(result().stream, 1u);
}

TEST_F(HostTest, ThreadsAreBoundedAndOneAlwaysReads) {
    constexpr std::uint64_t k_most = limits::k_worker_threads_max - 1;  // the last one reads
    for (std::uint64_t stream = 1; stream <= k_most + 10; ++stream) call(stream, "block");
    ASSERT_TRUE(runner.wait_running(k_most));
    ping(1, 5);
    // A call that waits for its turn is cancelled without having begun.
    peer->send(wire::CANCEL, k_most + 5);
    const Answered cancelled = result();
    EXPECT_EQ(cancelled.stream, k_most + 5);
    EXPECT_EQ(cancelled.outcome.error.code, Code::cancelled);
    EXPECT_EQ(cancelled.outcome.error.fact("started"), "no");
    runner.release(3);
    EXPECT_EQ(result().stream, 3u);
    ASSERT_TRUE(runner.wait_running(k_most));
    EXPECT_EQ(runner.most_at_once(), k_most);
    EXPECT_EQ(runner.thread_count(), limits::k_worker_threads_max - 1);  // and the one in serve()
    runner.release_all();
    for (std::uint64_t left = k_most + 10 - 2; left > 0; --left) EXPECT_NE(result().stream, k_most + 5);
    EXPECT_FALSE(runner.has_begun(k_most + 5));
}

TEST_F(HostTest, OutputIsNumberedAndWaitsForCredit) {
    const std::string text(limits::k_output_window_bytes + 3 * limits::k_chunk_bytes, 'p');
    call(1, "print", text);
    std::string got;
    std::uint64_t number = 0;
    const auto take = [&] {
        const FakePeer::Received received = peer->next(wire::OUTPUT);
        EXPECT_EQ(received.message.stream(), 1u);
        EXPECT_EQ(received.message.channel(), wire::STDOUT);
        EXPECT_EQ(received.message.number(), ++number);
        got += as_text(received.body.bytes.view());
    };
    while (got.size() < limits::k_output_window_bytes) take();
    // The window is used up: the call waits, and the worker goes on with everything else.
    call(2, "echo", "meanwhile");
    const FakePeer::Received meanwhile = peer->next();
    EXPECT_EQ(meanwhile.message.kind(), wire::RESULT);
    EXPECT_EQ(meanwhile.message.stream(), 2u);
    EXPECT_EQ(got.size(), limits::k_output_window_bytes);
    peer->send(wire::CREDIT, 1, limits::k_chunk_bytes, wire::STDOUT);
    take();
    EXPECT_EQ(got.size(), limits::k_output_window_bytes + limits::k_chunk_bytes);
    // Without end is not beyond the window, and never less than before.
    peer->send(wire::CREDIT, 1, ~std::uint64_t{0}, wire::STDOUT);
    while (got.size() < text.size()) take();
    EXPECT_TRUE(got == text);
    EXPECT_EQ(result().text, "true");
}

TEST_F(HostTest, CancelReleasesACallThatWaitsToPrint) {
    call(1, "print", std::string(4 * limits::k_output_window_bytes, 'p'));
    std::size_t got = 0;
    while (got < limits::k_output_window_bytes) got += peer->next(wire::OUTPUT).body.bytes.size();
    peer->send(wire::CANCEL, 1);
    EXPECT_EQ(result().stream, 1u);
}

TEST_F(HostTest, ALostNodeReleasesACallThatWaitsToPrint) {
    call(1, "print", std::string(4 * limits::k_output_window_bytes, 'p'));
    std::size_t got = 0;
    while (got < limits::k_output_window_bytes) got += peer->next(wire::OUTPUT).body.bytes.size();
    peer.reset();
    EXPECT_TRUE(serving.get());
    EXPECT_TRUE(runner.wait_running(0));
}

TEST_F(HostTest, OutputOfACallThatIsOverGoesNowhere) {
    EXPECT_FALSE(host->output(77, Channel::err, "late"));
    call(1, "echo", "x");
    EXPECT_EQ(peer->next().message.kind(), wire::RESULT);
}

TEST_F(HostTest, CancelEndsAResultThatIsOnItsWay) {
    auto sending = std::async(std::launch::async, [&] { call(1, "echo", std::string(4 * limits::k_body_window_bytes, 'r')); });
    sending.wait();
    peer->keep_credit(false);
    // What is received meanwhile is the credit for the call's own body.
    const auto deadline = std::chrono::steady_clock::now() + FakePeer::k_patience;
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) {
        ASSERT_LT(std::chrono::steady_clock::now(), deadline);
        static_cast<void>(peer->receive(1ms));
    }
    peer->send(wire::CANCEL, 1);
    const FakePeer::Received abort = peer->next(wire::ABORT);
    EXPECT_EQ(abort.message.stream(), 1u);
    EXPECT_EQ(abort.message.error().code(), static_cast<std::uint32_t>(Code::cancelled));
}

TEST_F(HostTest, AResultThatCannotBeSentFailsItsCallOnly) {
    call(1, "shatter");
    const Answered got = result();
    EXPECT_EQ(got.stream, 1u);
    EXPECT_EQ(got.outcome.kind, Outcome::Kind::failed);
    EXPECT_EQ(got.outcome.error.code, Code::limit_exceeded);
    EXPECT_EQ(got.outcome.error.fact("started"), "yes");
    call(2, "echo", "alive");
    EXPECT_EQ(result().text, "alive");
}

TEST_F(HostTest, StopEndsServe) {
    call(1, "echo", "x");
    result();
    host->stop();
    EXPECT_TRUE(serving.get());
    EXPECT_FALSE(peer->receive());
    EXPECT_TRUE(peer->closed());
}

TEST_F(HostTest, ANodeThatBreaksTheProtocolIsLeft) {
    peer->raw("GET / HTTP/1.1\r\n\r\n");
    const Result<void> served = serving.get();
    ASSERT_FALSE(served);
    EXPECT_EQ(served.error().code, Code::protocol);
}

TEST(Host, NobodyToConnectTo) {
    FakeRunner runner;
    const auto connected = Host::connect({"/tmp/rh-test-nobody/socket", "w1", "test"}, runner);
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, Code::node_lost);
}

}  // namespace
}  // namespace rh::worker
