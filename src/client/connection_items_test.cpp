#include <atomic>
#include <future>
#include <gtest/gtest.h>
#include <thread>

#include "base/limits.h"
#include "client/connection.h"
#include "rpc/fake_peer.h"
#include "wire/convert.h"

namespace rh::client {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using rpc::FakePeer;

constexpr std::uint64_t k_window = limits::k_items_window_bytes;

Body json(std::string_view text) { return Body::one(Encoding::json, as_byte_view(text)); }

Sent value(std::string_view text) {
    Sent sent;
    sent.body = json(text);
    return sent;
}

class Silent final : public Waiter {
public:
    void on_output(Channel, std::string_view) override {}
};

// Notes what it is told, in order: text as it is, "+" for items, "." for the end.
class Notes final : public Observer {
public:
    void on_output(Channel, std::string_view text) override { note(text); }
    void on_done() override { note("."); }
    void on_items() override { note("+"); }
    bool wait_for(std::string_view all) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, FakePeer::k_patience, [&] { return all_ == all; });
    }
    std::string all() {
        const std::scoped_lock lock(mutex_);
        return all_;
    }

private:
    void note(std::string_view text) {
        const std::scoped_lock lock(mutex_);
        all_ += text;
        changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::string all_;
};

class ItemsTest : public ::testing::Test {
protected:
    ItemsTest() {
        auto connecting = std::async(std::launch::async, [&] { return Client::connect({node_.path(), "test"}, Clock::now() + 20s); });
        peer = node_.accept();
        peer->greet();
        client = *connecting.get();
    }

    // Starts a call and takes it in at the other end.
    std::shared_ptr<Call> start(std::optional<std::uint32_t> prefetch, std::shared_ptr<Observer> observer = nullptr) {
        Request request;
        request.service = "svc";
        request.method = "m";
        request.prefetch = prefetch;
        Result<std::shared_ptr<Call>> started = client->start(request, std::move(observer));
        EXPECT_TRUE(started);
        called = peer->next(wire::CALL).message;
        stream = called.stream();
        return *started;
    }
    static rpc::Message of(wire::Kind kind, std::uint64_t stream, std::uint32_t source = 0) {
        rpc::Message message;
        message.set_kind(kind);
        message.set_stream(stream);
        message.set_source(source);
        return message;
    }
    void item(std::string_view text) {
        rpc::Message message = of(wire::ITEM, stream);
        peer->send_whole(message, json(text));
    }
    void answer() {
        rpc::Message message = wire::result_message(Outcome::returned({}));
        message.set_stream(stream);
        peer->send(message);
    }
    void want(std::uint32_t source, std::uint64_t bytes) {
        rpc::Message credit = of(wire::CREDIT, stream, source);
        credit.set_channel(wire::ITEMS);
        credit.set_number(bytes);
        peer->send(credit);
    }
    // Items that have come, as texts, once there are `count`; waits as a caller does.
    std::vector<std::string> take(Call& call, std::size_t count) {
        Silent waiter;
        std::vector<std::string> texts;
        while (texts.size() < count && call.wait_items(Clock::now() + FakePeer::k_patience, waiter) == WaitEnd::done) {
            const std::vector<Items> taken = call.take_items();
            if (taken.empty()) break;
            for (const Items& items : taken) append(texts, items);
        }
        return texts;
    }
    static void append(std::vector<std::string>& texts, const Items& items) {
        if (!items.batch) return texts.push_back(std::string(as_text(items.body.bytes.view())));
        for (const ByteView part : items.body.parts()) texts.emplace_back(as_text(part));
    }
    // The next credit for items that the client grants.
    std::uint64_t granted() {
        for (;;) {
            const rpc::Message credit = peer->next(wire::CREDIT).message;
            if (credit.channel() == wire::ITEMS) return credit.number();
        }
    }
    Outcome outcome(Call& call) {
        Silent waiter;
        EXPECT_EQ(call.wait(Clock::now() + FakePeer::k_patience, waiter), WaitEnd::done);
        return call.take_outcome();
    }

private:
    rpc::FakeNode node_;

protected:
    std::unique_ptr<FakePeer> peer;
    std::shared_ptr<Client> client;
    rpc::Message called;
    std::uint64_t stream = 0;
};

// --- what comes ----------------------------------------------------------------------------------------------------

TEST_F(ItemsTest, ItemsComeInOrderAndBeforeTheResult) {
    const auto call = start(1024);
    EXPECT_EQ(called.prefetch(), 1024u);
    item("a");
    rpc::Message batch = of(wire::ITEM, stream);
    batch.set_batch(true);
    Body three = json("b");
    three.add(as_byte_view(""));
    three.add(as_byte_view("c"));
    peer->send_whole(batch, std::move(three));
    item("d");
    answer();
    EXPECT_EQ(take(*call, 5), (std::vector<std::string>{"a", "b", "", "c", "d"}));
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
    EXPECT_TRUE(call->take_items().empty());
}

TEST_F(ItemsTest, ItemsStayWhenTheCallIsDone) {
    const auto call = start(1024);
    item("a");
    item("b");
    answer();
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
    EXPECT_EQ(take(*call, 2), (std::vector<std::string>{"a", "b"}));
}

TEST_F(ItemsTest, WhatWasTakenIsGrantedByTheQuarter) {
    const auto call = start(16);  // each costs a sixteenth at least
    for (int i = 0; i < 3; ++i) item("x");
    EXPECT_EQ(take(*call, 3).size(), 3u);
    item("x");
    EXPECT_EQ(take(*call, 1).size(), 1u);
    EXPECT_EQ(granted(), k_window / 4);
    const std::string large(k_window + 5, 'l');
    auto taking = std::async(std::launch::async, [&] { return take(*call, 1); });
    item(large);
    EXPECT_EQ(granted(), large.size());
    EXPECT_EQ(taking.get(), std::vector<std::string>{large});
}

TEST_F(ItemsTest, WithoutPrefetchEachIsAskedFor) {
    const auto call = start(0);
    EXPECT_EQ(called.prefetch(), 0u);
    call->ask();
    EXPECT_EQ(granted(), k_window);
    call->ask();  // has been
    item("small");
    EXPECT_EQ(take(*call, 1).size(), 1u);
    call->ask();
    EXPECT_EQ(granted(), k_window);
    const std::string large(3 * k_window, 'l');
    auto taking = std::async(std::launch::async, [&] { return take(*call, 1); });
    item(large);
    const auto is_credit = [](const FakePeer::Received& got) { return got.message.kind() == wire::CREDIT && got.message.channel() == wire::BODY; };
    while (taking.wait_for(0s) != std::future_status::ready) {
        const std::optional<FakePeer::Received> got = peer->receive(1ms);
        EXPECT_TRUE(!got || is_credit(*got));
    }
    EXPECT_EQ(taking.get(), std::vector<std::string>{large});
    // Taken, and granted no more until it is asked for.
    peer->send(wire::PING, 0, 5);
    FakePeer::Received next = peer->next();
    while (is_credit(next)) next = peer->next();
    EXPECT_EQ(next.message.kind(), wire::PONG);
    call->ask();
    EXPECT_EQ(granted(), large.size());
    answer();
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
    call->ask();
}

TEST_F(ItemsTest, ItemsThatNobodyExpectsFailTheCall) {
    const auto call = start(std::nullopt);
    item("surprise");
    const Outcome got = outcome(*call);
    EXPECT_EQ(got.error.code, Code::unsupported);
    EXPECT_EQ(got.error.fact("started"), "yes");
    EXPECT_EQ(peer->next().message.kind(), wire::CANCEL);
    item("another");
    answer();
    EXPECT_TRUE(client->alive());
}

TEST_F(ItemsTest, AnAbortedItemIsLeftOutAndTheCallGoesOn) {
    const auto call = start(1024);
    rpc::Message half = of(wire::ITEM, stream);
    half.add_parts(100);
    peer->send(half, "some of it");
    rpc::Message abort = of(wire::ABORT, stream);
    abort.set_channel(wire::ITEMS);
    peer->send(abort);
    item("next");
    answer();
    EXPECT_EQ(take(*call, 1), std::vector<std::string>{"next"});
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
}

TEST_F(ItemsTest, AFloodBreaksTheConnection) {
    const auto call = start(1024);
    const std::string much(limits::k_chunk_bytes, 'x');
    // More than it could have been granted, and nobody takes any of it.
    auto waiting = std::async(std::launch::async, [&] {
        Silent waiter;
        return call->wait({}, waiter);
    });
    try {
        for (std::uint64_t sent = 0; sent < 8 * k_window; sent += much.size()) item(much);
    } catch (const std::runtime_error&) {
        // It may have closed already.
    }
    EXPECT_EQ(waiting.get(), WaitEnd::done);
    EXPECT_EQ(call->take_outcome().error.code, Code::protocol);
    EXPECT_FALSE(client->alive());
    std::uint64_t kept = 0;
    for (const Items& items : call->take_items()) kept += items.body.bytes.size();
    EXPECT_LE(kept, 5 * k_window);
}

TEST_F(ItemsTest, BatchesOfNothingTakeNothing) {
    const auto call = start(1024);
    rpc::Message none = of(wire::ITEM, stream);
    none.set_batch(true);
    for (int i = 0; i < 1000; ++i) peer->send(none);
    item("a");
    answer();
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
    EXPECT_EQ(call->take_items().size(), 1u);
}

TEST_F(ItemsTest, ALostConnectionEndsEveryWait) {
    const auto call = start(1024);
    Silent waiter;
    auto items = std::async(std::launch::async, [&] {
        Silent one;
        return call->wait_items({}, one);
    });
    auto room = std::async(std::launch::async, [&] { return call->wait_room(1); });
    auto send = std::async(std::launch::async, [&] {
        // The second waits behind the first, which has no credit.
        bool all = true;
        while (all) all = call->send_item(2, value(std::string(2 * limits::k_body_window_bytes, 'x')));
        return all;
    });
    peer->keep_credit(false);
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) ASSERT_FALSE(peer->receive(1ms));
    peer.reset();
    EXPECT_EQ(items.get(), WaitEnd::done);
    EXPECT_FALSE(room.get());
    EXPECT_FALSE(send.get());
    EXPECT_EQ(call->take_outcome().error.code, Code::node_lost);
    EXPECT_FALSE(call->send_item(0, value("x")));
    EXPECT_FALSE(call->wait_room(1));
}

// --- observers -----------------------------------------------------------------------------------------------------

TEST_F(ItemsTest, AnObserverIsToldOfTheFirstItemOnly) {
    const auto notes = std::make_shared<Notes>();
    const auto call = start(1024, notes);
    for (int i = 0; i < 10; ++i) item("x");
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "text");
    EXPECT_TRUE(notes->wait_for("+text"));
    EXPECT_EQ(call->take_items().size(), 10u);
    item("y");
    EXPECT_TRUE(notes->wait_for("+text+"));
    answer();
    EXPECT_TRUE(notes->wait_for("+text+."));
}

// What came while nobody was told is told first, and the rest behind it.
TEST_F(ItemsTest, AnObserverMayComeLate) {
    const auto other = start(1024);
    const std::uint64_t other_stream = stream;
    const auto call = start(1024);
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "one ");
    const std::string much(limits::k_output_window_bytes / 4, 'm');  // the worker hears that it was taken
    peer->send(wire::OUTPUT, stream, 2, wire::STDOUT, much);
    item("x");
    // Whoever waits for another call reads all that for this one.
    rpc::Message result = wire::result_message(Outcome::returned({}));
    result.set_stream(other_stream);
    peer->send(result);
    outcome(*other);
    const auto notes = std::make_shared<Notes>();
    call->observe(notes);
    EXPECT_EQ(notes->all(), "one " + much + "+");
    EXPECT_EQ(peer->next(wire::CREDIT).message.number(), 4u + much.size());
    peer->send(wire::OUTPUT, stream, 3, wire::STDOUT, "three ");
    item("y");
    answer();
    EXPECT_TRUE(notes->wait_for("one " + much + "+three ."));
    EXPECT_EQ(call->take_items().size(), 2u);
}

TEST_F(ItemsTest, AnObserverMayComeAfterTheEnd) {
    const auto other = start(1024);
    const std::uint64_t other_stream = stream;
    const auto call = start(1024);
    peer->send(wire::OUTPUT, stream, 1, wire::STDOUT, "text");
    item("x");
    answer();
    rpc::Message result = wire::result_message(Outcome::returned({}));
    result.set_stream(other_stream);
    peer->send(result);
    outcome(*other);
    const auto notes = std::make_shared<Notes>();
    call->observe(notes);
    EXPECT_EQ(notes->all(), "text+.");
    EXPECT_EQ(call->take_items().size(), 1u);
}

// --- what goes -----------------------------------------------------------------------------------------------------

TEST_F(ItemsTest, WhatIsSentIntoTheGeneratorIsMarked) {
    const auto call = start(1024);
    EXPECT_TRUE(call->send_item(0, value("in")));
    FakePeer::Received got = peer->next();
    EXPECT_EQ(got.message.kind(), wire::ITEM);
    EXPECT_EQ(got.message.stream(), stream);
    EXPECT_EQ(got.message.source(), 0u);
    EXPECT_EQ(as_text(got.body.bytes.view()), "in");
    Sent raised;
    raised.kind = Sent::Kind::raised;
    raised.raised = {"ValueError", "no", "here"};
    EXPECT_TRUE(call->send_item(0, std::move(raised)));
    got = peer->next();
    EXPECT_EQ(got.message.outcome(), wire::RAISED);
    EXPECT_EQ(got.message.raised().type(), "ValueError");
    Sent end;
    end.kind = Sent::Kind::end;
    EXPECT_TRUE(call->send_item(3, std::move(end)));
    got = peer->next();
    EXPECT_EQ(got.message.source(), 3u);
    EXPECT_TRUE(got.message.last());
}

TEST_F(ItemsTest, AnArgumentWaitsUntilItIsWanted) {
    const auto call = start(1024);
    auto pumping = std::async(std::launch::async, [&] {
        int sent = 0;
        while (sent < 20 && call->wait_room(1) && call->send_item(1, value(std::to_string(sent)))) ++sent;
        return sent;
    });
    peer->send(wire::PING, 0, 1);
    EXPECT_EQ(peer->next().message.kind(), wire::PONG);  // nothing before it
    want(1, k_window);
    for (std::uint32_t i = 0; i < limits::k_input_prefetch; ++i) EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), std::to_string(i));
    peer->send(wire::PING, 0, 2);
    EXPECT_EQ(peer->next().message.kind(), wire::PONG);  // the window is used up
    want(1, k_window / 4);
    for (std::uint32_t i = 16; i < 20; ++i) EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), std::to_string(i));
    EXPECT_EQ(pumping.get(), 20);
}

TEST_F(ItemsTest, ADroppedArgumentEndsItsPumpOnly) {
    const auto call = start(1024);
    auto dropped = std::async(std::launch::async, [&] { return call->wait_room(1); });
    auto other = std::async(std::launch::async, [&] { return call->wait_room(2); });
    rpc::Message cancel = of(wire::CANCEL, stream, 1);
    peer->send(cancel);
    EXPECT_FALSE(dropped.get());
    EXPECT_FALSE(call->send_item(1, value("late")));
    want(2, k_window);
    EXPECT_TRUE(other.get());
    EXPECT_TRUE(call->send_item(2, value("x")));
    EXPECT_EQ(peer->next(wire::ITEM).message.source(), 2u);
}

// Bodies of one stream never mix: the other end takes a message between a body and its chunks for a broken protocol.
TEST_F(ItemsTest, ArgumentsPumpedByThreadsDoNotMix) {
    const auto call = start(1024);
    constexpr int k_items = 200;
    constexpr std::uint32_t k_pumps = 6;
    std::vector<std::thread> pumps;
    for (std::uint32_t source = 1; source <= k_pumps; ++source) {
        want(source, k_window);
        pumps.emplace_back([&, source] {
            for (int i = 0; i < k_items; ++i) {
                ASSERT_TRUE(call->wait_room(source));
                // Large ones beyond the window, so that they wait for credit in their midst.
                const std::size_t bytes = source <= 2 && i % 20 == 0 ? limits::k_body_window_bytes + limits::k_chunk_bytes : 10;
                ASSERT_TRUE(call->send_item(source, value(std::to_string(i) + "." + std::string(bytes, 'x'))));
            }
        });
    }
    std::vector<int> next(k_pumps + 1);
    for (int left = k_pumps * k_items; left > 0; --left) {
        const FakePeer::Received received = peer->next(wire::ITEM);
        const std::string_view text = as_text(received.body.bytes.view());
        const std::uint32_t source = received.message.source();
        EXPECT_EQ(text.substr(0, text.find('.')), std::to_string(next[source]++));
        want(source, std::max<std::uint64_t>(text.size(), k_window / limits::k_input_prefetch));
    }
    for (std::thread& pump : pumps) pump.join();
}

TEST_F(ItemsTest, AnItemWaitsForTheCallsOwnLargeBody) {
    const std::string big(3 * limits::k_body_window_bytes, 'b');
    const ByteView part = as_byte_view(big);
    Request request;
    request.service = "svc";
    request.method = "m";
    request.encoding = Encoding::json;
    request.parts = {&part, 1};
    request.prefetch = 1024;
    auto sending = std::async(std::launch::async, [&] {
        const auto started = client->start(request, nullptr);
        return started && (*started)->send_item(0, value("behind"));
    });
    EXPECT_EQ(peer->next(wire::CALL).body.bytes.size(), big.size());
    EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), "behind");
    EXPECT_TRUE(sending.get());
}

TEST_F(ItemsTest, CancelAbortsALargeItemOnItsWay) {
    peer->keep_credit(false);
    const auto call = start(1024);
    auto sending = std::async(std::launch::async, [&] { return call->send_item(0, value(std::string(2 * limits::k_body_window_bytes, 'x'))); });
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) ASSERT_FALSE(peer->receive(1ms));
    auto cancelling = std::async(std::launch::async, [&] { call->cancel(false); });
    const rpc::Message abort = peer->next().message;
    EXPECT_EQ(abort.kind(), wire::ABORT);
    EXPECT_EQ(abort.channel(), wire::ITEMS);
    EXPECT_EQ(peer->next().message.kind(), wire::CANCEL);
    EXPECT_TRUE(sending.get());
    cancelling.get();
    answer();
    EXPECT_EQ(outcome(*call).kind, Outcome::Kind::returned);
}

TEST_F(ItemsTest, AnItemThatCannotBeSentIsRaisedInItsPlace) {
    const auto call = start(1024);
    Sent shattered;
    shattered.body.encoding = Encoding::pickle;
    for (std::size_t i = 0; i <= limits::k_body_parts_max; ++i) shattered.body.add(as_byte_view("x"));
    EXPECT_TRUE(call->send_item(1, std::move(shattered)));
    const FakePeer::Received got = peer->next(wire::ITEM);
    EXPECT_EQ(got.message.outcome(), wire::RAISED);
    EXPECT_EQ(got.message.source(), 1u);
    EXPECT_EQ(got.message.raised().type(), "limit_exceeded");
    EXPECT_TRUE(call->send_item(1, value("next")));
    EXPECT_EQ(as_text(peer->next(wire::ITEM).body.bytes.view()), "next");
}

// The result comes just before, while or after a large item begins: nothing of that may stay behind and be sent after all.
TEST_F(ItemsTest, TheEndOfACallAndALargeItemMayMeet) {
    peer->keep_credit(false);
    for (int round = 0; round < 100; ++round) {
        const auto call = start(1024);
        auto waiting = std::async(std::launch::async, [&] { return outcome(*call).kind; });
        std::atomic<bool> ready = false;
        auto sending = std::async(std::launch::async, [&] {
            Sent large = value(std::string(limits::k_body_window_bytes + limits::k_chunk_bytes, 'l'));
            ready = true;
            return call->send_item(0, std::move(large));
        });
        while (!ready) {
        }
        answer();
        while (sending.wait_for(0s) != std::future_status::ready) static_cast<void>(peer->receive(1ms));
        EXPECT_EQ(waiting.get(), Outcome::Kind::returned);
        // The last of the window is free: what were left would come now, and whole.
        peer->send(wire::CREDIT, stream, limits::k_body_window_bytes);
    }
    peer->send(wire::PING, 0, 9);
    for (;;) {
        const rpc::Message got = peer->next().message;
        if (got.kind() == wire::PONG) break;
        EXPECT_NE(got.kind(), wire::ITEM);
    }
}

TEST_F(ItemsTest, TheEndOfTheCallReleasesItsPumps) {
    const auto call = start(1024);
    auto room = std::async(std::launch::async, [&] { return call->wait_room(1); });
    answer();
    EXPECT_FALSE(room.get());
    EXPECT_FALSE(call->send_item(1, value("late")));
    const auto given_up = start(1024);
    auto other = std::async(std::launch::async, [&] { return given_up->wait_room(1); });
    given_up->abandon(Error(Code::cancelled, "enough"));
    EXPECT_FALSE(other.get());
}

}  // namespace
}  // namespace rh::client
