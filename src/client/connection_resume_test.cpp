// A client whose connection is lost (connection_resume.cpp), before a node that goes on with its calls.

#include <future>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "client/connection.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"

namespace rh::client {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using rpc::FakePeer;

class Silent final : public Waiter {
public:
    void on_output(Channel, std::string_view) override {}
};

class ResumeTest : public ::testing::Test {
protected:
    ResumeTest() {
        auto connecting = std::async(std::launch::async, [&] { return Client::connect({node_.path(), "test"}, Clock::now() + 20s); });
        accept();
        client = *connecting.get();
    }

    rpc::Message accept(const std::string& node = "one") {
        peer = node_.accept();
        peer->take_request();
        peer->raw(rpc::upgrade_answer());
        rpc::Message hello = peer->next().message;
        peer->say_hello(true, node);
        return hello;
    }
    // The connection breaks, and there is another.
    rpc::Message lose() {
        peer = nullptr;
        return accept();
    }
    std::shared_ptr<Call> start(std::optional<std::uint32_t> prefetch = {}) {
        Request request;
        request.service = "svc";
        request.method = "m";
        request.prefetch = prefetch;
        Result<std::shared_ptr<Call>> started = client->start(request, nullptr);
        EXPECT_TRUE(started);
        stream = peer->next(wire::CALL).message.stream();
        return *started;
    }
    void item(std::string_view text) {
        rpc::Message message;
        message.set_kind(wire::ITEM);
        message.set_stream(stream);
        message.set_number(++items);
        peer->send_whole(message, Body::one(Encoding::json, as_byte_view(text)));
    }
    // Waits as a caller does.
    static Outcome outcome_of(Call& call) {
        Silent waiter;
        EXPECT_EQ(call.wait(Clock::now() + FakePeer::k_patience, waiter), WaitEnd::done);
        return call.done() ? call.take_outcome() : Outcome();
    }
    static void send(Call& call, std::string_view text) {
        Sent sent;
        sent.body = Body::one(Encoding::json, as_byte_view(text));
        EXPECT_TRUE(call.send_item(0, std::move(sent)));
    }

    rpc::FakeNode node_;
    std::unique_ptr<FakePeer> peer;
    std::shared_ptr<Client> client;
    std::uint64_t stream = 0;
    std::uint64_t items = 0;
};

TEST_F(ResumeTest, ACallIsNamedAndGoesOn) {
    const auto call = start();
    const rpc::Message hello = lose();
    EXPECT_TRUE(hello.hello().again());
    const rpc::Message resume = peer->next().message;
    EXPECT_EQ(resume.kind(), wire::RESUME);
    EXPECT_EQ(resume.stream(), stream);
    EXPECT_EQ(resume.sequence(), stream);
    EXPECT_EQ(peer->next().message.stream(), 0u);  // and that was all of them
    rpc::Message answer = wire::result_message(Outcome::returned({}));
    answer.set_stream(stream);
    peer->send_whole(answer, Body::one(Encoding::json, as_byte_view("42")));
    EXPECT_EQ(as_text(outcome_of(*call).body.bytes.view()), "42");
}

// Whatever that one would say of them: it has not seen these calls, and the one before may have run them.
TEST_F(ResumeTest, AnotherNodeInItsPlaceIsNotAskedForTheCalls) {
    const std::shared_ptr<Call> call = start();
    auto ended = std::async(std::launch::async, [&] { return outcome_of(*call); });
    peer = nullptr;
    accept("another");
    const Outcome outcome = ended.get();
    EXPECT_EQ(outcome.error.code, Code::node_lost);
    EXPECT_EQ(outcome.error.fact("started"), "unknown");
    EXPECT_FALSE(client->alive());
}

TEST_F(ResumeTest, WhatNeverBeganIsSentOnceMore) {
    const auto call = start();
    lose();
    rpc::Message answer = wire::result_message(Outcome::failed(Error(Code::node_lost, "it never began").with("never_began", "True")));
    answer.set_stream(stream);
    peer->send(answer);
    const rpc::Message again = peer->next(wire::CALL).message;
    EXPECT_EQ(again.stream(), stream);
    EXPECT_EQ(again.attempt(), 1u);
    EXPECT_FALSE(call->done());
}

// Nobody can tell whether the generator has it, and each would wait for the other for ever.
TEST_F(ResumeTest, AValueThatWasOnItsWayIntoAGeneratorFailsTheCall) {
    const auto call = start(0);
    send(*call, "lost?");
    peer->next(wire::ITEM);
    lose();
    const rpc::Message named = peer->next().message;
    EXPECT_EQ(named.kind(), wire::RESUME);
    EXPECT_EQ(named.stream(), 0u);  // not this one
    const Outcome outcome = outcome_of(*call);
    EXPECT_EQ(outcome.error.code, Code::node_lost);
    EXPECT_EQ(outcome.error.fact("started"), "yes");
}

TEST_F(ResumeTest, AValueThatTheGeneratorHasAnsweredDoesNot) {
    const auto call = start(0);
    send(*call, "taken");
    peer->next(wire::ITEM);
    item("answer");
    Silent waiter;
    EXPECT_EQ(call->wait_items(Clock::now() + FakePeer::k_patience, waiter), WaitEnd::done);
    lose();
    const rpc::Message resume = peer->next().message;
    EXPECT_EQ(resume.stream(), stream);
    EXPECT_EQ(resume.item_number(), 1u);
}

}  // namespace
}  // namespace rh::client
