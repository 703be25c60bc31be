#include "worker/exchange.h"

#include <atomic>
#include <future>
#include <gtest/gtest.h>
#include <random>
#include <sys/wait.h>

#include "rpc/fake_peer.h"

namespace rh::worker {
namespace {

using namespace std::chrono_literals;
using rpc::FakePeer;

constexpr std::uint64_t k_window = limits::k_items_window_bytes;
constexpr std::uint64_t k_input_cost = k_window / limits::k_input_prefetch;

Body json(std::string_view text) { return Body::one(Encoding::json, as_byte_view(text)); }

// An Exchange on one end of a connection, with a thread that reads for it; the test is the other end.
class ExchangeTest : public ::testing::Test {
protected:
    ExchangeTest() {
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        peer = std::make_unique<FakePeer>(Fd(pair[1]));
        peer->raw(rpc::upgrade_answer());
        peer->say_hello();
        rpc::Message hello;
        auto opened = rpc::BlockingLink::open(Fd(pair[0]), hello, std::chrono::steady_clock::now() + 20s, receiver);
        EXPECT_TRUE(opened);
        link = std::move(*opened);
        peer->take_request();
        EXPECT_EQ(peer->next().message.kind(), wire::HELLO);
        exchange = std::make_unique<Exchange>([this](std::uint64_t) { ++told; });
        exchange->attach(*link);
        reader = std::thread([this] {
            while (link->read_some({}, false)) {
            }
        });
    }
    ~ExchangeTest() override {
        link->shutdown();
        exchange->close();
        reader.join();
    }

    // As the binding does it.
    Room put(std::uint64_t id, Body body, bool wait = true) {
        if (const std::optional<Room> room = exchange->gather(id, body)) return *room;
        return exchange->item(id, std::move(body), wait);
    }
    // The next `count` items of the call, in whatever company they travel.
    std::vector<std::string> take(std::uint64_t id, std::size_t count) {
        std::vector<std::string> items;
        while (items.size() < count) {
            const FakePeer::Received received = peer->next(wire::ITEM);
            EXPECT_EQ(received.message.stream(), id);
            ++messages;
            append(items, received);
        }
        EXPECT_EQ(items.size(), count);
        return items;
    }
    static void append(std::vector<std::string>& items, const FakePeer::Received& received) {
        const std::vector<ByteView> parts = received.body.parts();
        EXPECT_EQ(received.message.batch(), parts.size() > 1);
        for (const ByteView part : parts) items.emplace_back(as_text(part));
    }
    void grant(std::uint64_t id, std::uint64_t bytes, std::uint32_t source = 0) {
        rpc::Message credit;
        credit.set_kind(wire::CREDIT);
        credit.set_stream(id);
        credit.set_channel(wire::ITEMS);
        credit.set_number(bytes);
        credit.set_source(source);
        peer->send(credit);
    }
    static rpc::Message item_for(std::uint64_t id, std::uint32_t source) {
        rpc::Message item;
        item.set_kind(wire::ITEM);
        item.set_stream(id);
        item.set_source(source);
        return item;
    }
    void send_in(std::uint64_t id, std::uint32_t source, std::string_view text) {
        rpc::Message item = item_for(id, source);
        peer->send_whole(item, json(text));
    }
    // Returns once everything that was sent to the Exchange has been taken in; drops what came from it meanwhile.
    void settle_peer() {
        peer->send(wire::PING, 0, ++pings);
        while (peer->next(wire::PONG).message.number() != pings) {
        }
    }

    // Takes what comes as the Host does.
    struct Receiver final : rpc::BlockingLink::Receiver {
        explicit Receiver(ExchangeTest& test_in) : test(test_in) {}
        Result<void> on_message(rpc::Message& message, Body body) override {
            if (message.kind() == wire::CREDIT) test.exchange->on_credit(message);
            if (message.kind() == wire::ITEM) test.exchange->on_item(message, std::move(body));
            if (message.kind() == wire::CANCEL && test.exchange->silence(message.stream())) test.link->abort_outgoing(message.stream());
            return {};
        }
        void on_sent(std::uint64_t stream) override { test.exchange->on_sent(stream); }
        ExchangeTest& test;
    };

    Receiver receiver{*this};
    std::unique_ptr<FakePeer> peer;
    std::unique_ptr<rpc::BlockingLink> link;
    std::unique_ptr<Exchange> exchange;
    std::thread reader;
    std::atomic<int> told = 0;
    std::size_t messages = 0;
    std::uint64_t pings = 0;
};

// --- gathering -----------------------------------------------------------------------------------------------------

TEST_F(ExchangeTest, AnItemAfterAPauseGoesAtOnce) {
    exchange->begin(1, 1024);
    EXPECT_FALSE(exchange->gather(1, json("a")));  // it is not to be gathered: item() sends it
    EXPECT_EQ(exchange->item(1, json("a"), true), Room::open);
    EXPECT_EQ(take(1, 1), std::vector<std::string>{"a"});
    EXPECT_EQ(messages, 1u);
}

TEST_F(ExchangeTest, FastItemsLeaveTogetherAndTheLastOnesByThemselves) {
    exchange->begin(1, 1024);
    std::vector<std::string> sent;
    for (int i = 0; i < 1000; ++i) {
        sent.push_back(std::to_string(i));
        ASSERT_EQ(put(1, json(sent.back())), Room::open);
    }
    EXPECT_EQ(take(1, sent.size()), sent);
    EXPECT_LT(messages, sent.size());
}

TEST_F(ExchangeTest, WhatGoesTogetherHasOneEncoding) {
    exchange->begin(1, 1024);
    std::vector<std::string> sent;
    for (int i = 0; i < 100; ++i) {
        sent.push_back(std::to_string(i));
        ASSERT_EQ(put(1, Body::one(i % 3 == 0 ? Encoding::pickle : Encoding::json, as_byte_view(sent.back()))), Room::open);
    }
    std::vector<std::string> got;
    while (got.size() < sent.size()) {
        const std::size_t before = got.size();
        const FakePeer::Received received = peer->next(wire::ITEM);
        append(got, received);
        for (std::size_t i = before; i < got.size(); ++i) EXPECT_EQ(received.message.encoding(), i % 3 == 0 ? wire::PICKLE : wire::JSON);
    }
    EXPECT_EQ(got, sent);
}

// Sizes that go alone, in chunks and together, from several calls at once, with pauses in which the flusher comes.
TEST_F(ExchangeTest, ItemsStayInOrder) {
    constexpr std::uint64_t k_calls = 3;
    constexpr int k_items = 400;
    std::vector<std::thread> producers;
    for (std::uint64_t id = 1; id <= k_calls; ++id) {
        exchange->begin(id, 1024);
        producers.emplace_back([this, id] {
            std::mt19937 random(static_cast<unsigned>(id));
            for (int i = 0; i < k_items; ++i) {
                const std::size_t bytes = random() % 50 == 0 ? 300'000 : random() % 20 == 0 ? 40'000 : random() % 200;
                Body body = json(std::to_string(i) + "." + std::string(bytes, 'x'));
                if (random() % 10 == 0) body.add(as_byte_view("!"));  // two parts are one item, which goes alone
                ASSERT_EQ(put(id, std::move(body)), Room::open);
                for (int spin = random() % 20 == 0 ? 300 : 0; spin > 0; --spin) std::this_thread::yield();
            }
            EXPECT_TRUE(exchange->settle(id));
        });
    }
    std::vector<int> next(k_calls + 1);
    for (int left = k_calls * k_items; left > 0;) {
        const FakePeer::Received received = peer->next(wire::ITEM);
        const std::uint64_t id = received.message.stream();
        std::uint64_t cost = 0;
        const auto check = [&](std::string_view item) {
            ASSERT_EQ(item.substr(0, item.find('.')), std::to_string(next[id]++));
            --left;
        };
        if (received.message.batch()) {
            for (const ByteView part : received.body.parts()) {
                check(as_text(part));
                cost += std::max<std::uint64_t>(part.size(), k_window / 1024);
            }
        } else {
            check(as_text(received.body.bytes.view()));
            cost = std::max<std::uint64_t>(received.body.bytes.size(), k_window / 1024);
        }
        grant(id, cost);
    }
    for (std::thread& producer : producers) producer.join();
}

TEST_F(ExchangeTest, ALargeItemOnItsWayHoldsUpItsOwnCallOnly) {
    peer->keep_credit(false);
    exchange->begin(1, 1024);
    exchange->begin(2, 1024);
    auto behind = std::async(std::launch::async, [&] {
        EXPECT_EQ(exchange->item(1, json(std::string(2 * limits::k_body_window_bytes, 'l')), false), Room::none);
        return exchange->item(1, json("behind"), false);
    });
    // Until all is sent that may be without credit.
    while (peer->ungranted_bytes() < limits::k_body_window_bytes) ASSERT_FALSE(peer->receive(1ms));
    std::vector<std::string> sent;
    for (int i = 0; i < 200; ++i) {
        sent.push_back(std::to_string(i));
        ASSERT_EQ(put(2, json(sent.back())), Room::open);
    }
    EXPECT_EQ(take(2, sent.size()), sent);
    peer->send(wire::CANCEL, 1);
    EXPECT_EQ(behind.get(), Room::gone);
}

// --- the window ----------------------------------------------------------------------------------------------------

TEST_F(ExchangeTest, PrefetchSaysHowManySmallItemsGoAhead) {
    exchange->begin(1, 1024);
    for (int i = 0; i < 1023; ++i) ASSERT_EQ(put(1, json("x"), false), Room::open) << i;
    EXPECT_EQ(put(1, json("x"), false), Room::none);
    take(1, 1024);
    grant(1, 3 * (k_window / 1024));
    settle_peer();
    EXPECT_EQ(told, 1);
    EXPECT_EQ(put(1, json("x"), false), Room::open);
    EXPECT_EQ(put(1, json("x"), false), Room::open);
    EXPECT_EQ(put(1, json("x"), false), Room::none);
}

TEST_F(ExchangeTest, OneItemMayGoAhead) {
    exchange->begin(1, 1);
    EXPECT_EQ(exchange->room(1, false), Room::open);
    EXPECT_EQ(put(1, json("x"), false), Room::none);
    EXPECT_EQ(put(1, json("ahead of what was asked"), false), Room::none);
    grant(1, k_window);
    settle_peer();
    EXPECT_EQ(exchange->room(1, false), Room::none);
    grant(1, 1);
    settle_peer();
    EXPECT_EQ(exchange->room(1, false), Room::open);
}

TEST_F(ExchangeTest, WithoutPrefetchEachItemIsAskedFor) {
    exchange->begin(1, 0);
    EXPECT_EQ(exchange->room(1, false), Room::none);
    settle_peer();
    EXPECT_EQ(told, 0);
    for (int i = 1; i <= 3; ++i) {
        grant(1, k_window);
        settle_peer();
        EXPECT_EQ(told, i);
        EXPECT_EQ(exchange->room(1, false), Room::open);
        EXPECT_EQ(put(1, json("x"), false), Room::none);
        EXPECT_EQ(take(1, 1), std::vector<std::string>{"x"});
    }
}

TEST_F(ExchangeTest, ALargeItemOverdrawsTheWindow) {
    constexpr std::uint64_t k_large = 10 * k_window;
    exchange->begin(1, 1024);
    auto large = std::async(std::launch::async, [&] { return exchange->item(1, json(std::string(k_large, 'l')), false); });
    EXPECT_EQ(take(1, 1).front().size(), k_large);
    EXPECT_EQ(large.get(), Room::none);
    grant(1, k_large - k_window);
    settle_peer();
    EXPECT_EQ(exchange->room(1, false), Room::none);
    grant(1, 1);
    settle_peer();
    EXPECT_EQ(exchange->room(1, false), Room::open);
}

TEST_F(ExchangeTest, GrantsBeyondTheWindowAreCut) {
    exchange->begin(1, 2);
    grant(1, ~std::uint64_t{0});
    grant(1, ~std::uint64_t{0});
    grant(1, k_window, 3);  // of an argument: not this window
    settle_peer();
    EXPECT_EQ(put(1, json("x"), false), Room::open);
    EXPECT_EQ(put(1, json("x"), false), Room::none);
    grant(1, k_window, 3);
    settle_peer();
    EXPECT_EQ(exchange->room(1, false), Room::none);
}

TEST_F(ExchangeTest, AProducerWithoutRoomGoesOnWithCredit) {
    exchange->begin(1, 1);
    auto producing = std::async(std::launch::async, [&] {
        int sent = 0;
        while (sent < 5 && put(1, json(std::to_string(sent))) == Room::open) ++sent;
        return sent;
    });
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(take(1, 1), std::vector<std::string>{std::to_string(i)});
        // Nothing more comes by itself.
        peer->send(wire::PING, 0, 7);
        EXPECT_EQ(peer->next().message.kind(), wire::PONG);
        grant(1, k_window);
    }
    EXPECT_EQ(producing.get(), 5);
}

TEST_F(ExchangeTest, WhoWasRefusedRoomIsToldOnce) {
    exchange->begin(1, 1);
    EXPECT_EQ(put(1, json("x"), false), Room::none);
    EXPECT_EQ(exchange->room(1, false), Room::none);
    for (int i = 0; i < 3; ++i) grant(1, k_window);
    settle_peer();
    EXPECT_EQ(told, 1);
    EXPECT_EQ(exchange->room(1, false), Room::open);
    grant(1, k_window);
    settle_peer();
    EXPECT_EQ(told, 1);
}

// A large item that has gone is room as well, where the window has some.
TEST_F(ExchangeTest, WhoWasRefusedRoomIsToldWhenTheLargeOneHasGone) {
    exchange->begin(1, 1024);
    peer->keep_credit(false);
    auto large = std::async(std::launch::async, [&] { return exchange->item(1, json(std::string(2 * limits::k_body_window_bytes, 'l')), false); });
    while (peer->ungranted_bytes() < limits::k_body_window_bytes) ASSERT_FALSE(peer->receive(1ms));
    EXPECT_EQ(large.get(), Room::none);
    grant(1, 3 * k_window);
    settle_peer();
    EXPECT_EQ(told, 0);
    peer->send(wire::CREDIT, 1, limits::k_body_window_bytes);
    take(1, 1);
    settle_peer();
    EXPECT_EQ(told, 1);
    EXPECT_EQ(exchange->room(1, false), Room::open);
}

// --- ends ----------------------------------------------------------------------------------------------------------

TEST_F(ExchangeTest, CancelReleasesAProducerThatWaitsForRoom) {
    exchange->begin(1, 1);
    auto producing = std::async(std::launch::async, [&] { return put(1, json("x")); });
    take(1, 1);
    peer->send(wire::CANCEL, 1);
    EXPECT_EQ(producing.get(), Room::gone);
    EXPECT_EQ(exchange->gather(1, json("y")), Room::gone);
    EXPECT_TRUE(exchange->settle(1));
}

TEST_F(ExchangeTest, CancelTellsWhoWasRefusedRoom) {
    exchange->begin(1, 1);
    EXPECT_EQ(put(1, json("x"), false), Room::none);
    for (int i = 0; i < 2; ++i) peer->send(wire::CANCEL, 1);
    settle_peer();
    EXPECT_EQ(told, 1);
    EXPECT_EQ(exchange->room(1, false), Room::gone);
}

TEST_F(ExchangeTest, CancelAbortsALargeItemOnItsWay) {
    peer->keep_credit(false);
    exchange->begin(1, 1024);
    auto producing = std::async(std::launch::async, [&] {
        const Room room = exchange->item(1, json(std::string(4 * limits::k_body_window_bytes, 'l')), true);
        EXPECT_TRUE(exchange->settle(1));
        return room;
    });
    while (peer->ungranted_bytes() < limits::k_body_window_bytes / 2) ASSERT_FALSE(peer->receive(1ms));
    peer->send(wire::CANCEL, 1);
    const rpc::Message abort = peer->next().message;
    EXPECT_EQ(abort.kind(), wire::ABORT);
    EXPECT_EQ(abort.channel(), wire::ITEMS);
    EXPECT_EQ(producing.get(), Room::gone);
}

// The cancel comes just before, while or after the large item begins: without credit only an abort can end it.
TEST_F(ExchangeTest, ACancelAndALargeItemMayMeet) {
    peer->keep_credit(false);
    for (std::uint64_t id = 1; id <= 200; ++id) {
        exchange->begin(id, 1024);
        std::atomic<bool> ready = false;
        auto producing = std::async(std::launch::async, [&] {
            Body body = json(std::string(limits::k_body_window_bytes + limits::k_chunk_bytes, 'l'));
            ready = true;
            exchange->item(id, std::move(body), false);
            return exchange->settle(id).has_value();
        });
        while (!ready) {
        }
        peer->send(wire::CANCEL, id);
        const auto deadline = std::chrono::steady_clock::now() + FakePeer::k_patience;
        while (producing.wait_for(0s) != std::future_status::ready) {
            static_cast<void>(peer->receive(1ms));
            if (std::chrono::steady_clock::now() < deadline) continue;
            exchange->hang_up();  // so that the test fails instead of hanging
            FAIL() << "the call does not end";
        }
        EXPECT_TRUE(producing.get());
        static_cast<void>(exchange->conclude(id, Outcome::returned({}), false));
    }
}

TEST_F(ExchangeTest, HangUpEndsEveryWait) {
    peer->keep_credit(false);
    for (std::uint64_t id = 1; id <= 5; ++id) exchange->begin(id, 1);
    EXPECT_EQ(put(5, json("x"), false), Room::none);
    auto room = std::async(std::launch::async, [&] { return put(1, json("x")); });
    auto large = std::async(std::launch::async, [&] {
        const Room end = exchange->item(2, json(std::string(2 * limits::k_body_window_bytes, 'l')), true);
        return exchange->settle(2) ? end : Room::open;
    });
    auto input = std::async(std::launch::async, [&] { return exchange->input(3, 1, true).has_value(); });
    auto output = std::async(std::launch::async, [&] { return exchange->output(4, Channel::out, std::string(2 * limits::k_output_window_bytes, 'o')); });
    // Until all of them have sent what they can.
    std::size_t output_bytes = 0;
    bool item = false;
    while (output_bytes < limits::k_output_window_bytes || !item) {
        const FakePeer::Received received = peer->next();
        if (received.message.kind() == wire::OUTPUT) output_bytes += received.body.bytes.size();
        if (received.message.kind() == wire::ITEM) item |= received.message.stream() == 1;
    }
    link->shutdown();  // as the Host does: somebody may be in the middle of sending
    exchange->hang_up();
    EXPECT_EQ(room.get(), Room::gone);
    EXPECT_EQ(large.get(), Room::gone);
    EXPECT_FALSE(input.get());
    EXPECT_FALSE(output.get());
    EXPECT_EQ(told, 1);
    exchange->close();
    exchange->close();
    EXPECT_EQ(put(1, json("x")), Room::gone);
}

TEST_F(ExchangeTest, AnItemThatCannotBeSentIsTheCallsFailure) {
    exchange->begin(1, 1024);
    Body shattered;
    shattered.encoding = Encoding::pickle;
    for (std::size_t i = 0; i <= limits::k_body_parts_max; ++i) shattered.add(as_byte_view("x"));
    EXPECT_EQ(put(1, json("before")), Room::open);
    EXPECT_EQ(put(1, std::move(shattered)), Room::gone);
    const Result<void> settled = exchange->settle(1);
    ASSERT_FALSE(settled);
    EXPECT_EQ(settled.error().code, Code::limit_exceeded);
    EXPECT_EQ(settled.error().fact("started"), "yes");
    EXPECT_EQ(take(1, 1), std::vector<std::string>{"before"});
}

TEST_F(ExchangeTest, AForkedChildSaysGoneAndEnds) {
    exchange->begin(1, 1024);
    for (int i = 0; i < 50; ++i) ASSERT_EQ(put(1, json("x")), Room::open);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::alarm(20);
        bool right = exchange->gather(1, json("y")) == Room::gone && exchange->item(1, json("y"), true) == Room::gone;
        right = right && exchange->room(1, true) == Room::gone && !exchange->input(1, 0, true) && !exchange->output(1, Channel::out, "text");
        exchange->drop_input(1, 2);
        right = right && exchange->settle(1).has_value();
        exchange->close();
        ::_exit(right ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(put(1, json("last")), Room::open);
    EXPECT_EQ(take(1, 51).back(), "last");
}

// --- what goes in --------------------------------------------------------------------------------------------------

TEST_F(ExchangeTest, TheFirstLookAsksForAnArgument) {
    exchange->begin(1, 1024);
    EXPECT_FALSE(exchange->input(1, 2, false));
    EXPECT_FALSE(exchange->input(1, 2, false));
    const rpc::Message asked = peer->next().message;
    EXPECT_EQ(asked.kind(), wire::CREDIT);
    EXPECT_EQ(asked.channel(), wire::ITEMS);
    EXPECT_EQ(asked.source(), 2u);
    EXPECT_EQ(asked.number(), k_window);
    // Items cost their share at least; a quarter of the window is granted back at once.
    for (int i = 0; i < 8; ++i) send_in(1, 2, std::to_string(i));
    for (int i = 0; i < 8; ++i) {
        const std::optional<Input> input = exchange->input(1, 2, true);
        ASSERT_TRUE(input);
        EXPECT_EQ(input->kind, Input::Kind::value);
        EXPECT_EQ(as_text(input->body.bytes.view()), std::to_string(i));
    }
    for (int i = 0; i < 2; ++i) {
        const rpc::Message more = peer->next().message;
        EXPECT_EQ(more.kind(), wire::CREDIT);
        EXPECT_EQ(more.source(), 2u);
        EXPECT_EQ(more.number(), 4 * k_input_cost);
    }
    auto taking = std::async(std::launch::async, [&] { return exchange->input(1, 2, true).has_value(); });
    send_in(1, 2, std::string(10 * k_window, 'l'));
    rpc::Message large = peer->next().message;
    while (large.channel() == wire::BODY) large = peer->next().message;
    EXPECT_EQ(large.number(), 10 * k_window);
    EXPECT_TRUE(taking.get());
}

TEST_F(ExchangeTest, WhatIsSentIntoTheGeneratorIsNotGranted) {
    exchange->begin(1, 1024);
    EXPECT_FALSE(exchange->input(1, 0, false));
    for (int i = 0; i < 40; ++i) {
        send_in(1, 0, std::string(limits::k_chunk_bytes / 2, 'x'));
        ASSERT_TRUE(exchange->input(1, 0, true));
    }
    peer->send(wire::PING, 0, 1);
    EXPECT_EQ(peer->next().message.kind(), wire::PONG);
}

TEST_F(ExchangeTest, AnArgumentEnds) {
    exchange->begin(1, 1024);
    rpc::Message last = item_for(1, 1);
    last.set_last(true);
    send_in(1, 1, "value");
    peer->send(last);
    send_in(1, 1, "beyond the end");
    EXPECT_EQ(exchange->input(1, 1, true)->kind, Input::Kind::value);
    EXPECT_EQ(exchange->input(1, 1, true)->kind, Input::Kind::end);
    settle_peer();
    EXPECT_FALSE(exchange->input(1, 1, true));
    EXPECT_FALSE(exchange->input(1, 1, true));
}

TEST_F(ExchangeTest, ExceptionsComeInPlaceOfValues) {
    exchange->begin(1, 1024);
    rpc::Message raised = item_for(1, 0);
    raised.set_outcome(wire::RAISED);
    raised.mutable_raised()->set_type("ValueError");
    for (const std::uint32_t source : {0u, 1u}) {
        raised.set_source(source);
        peer->send_whole(raised, json("exception"));
        const std::optional<Input> input = exchange->input(1, source, true);
        ASSERT_TRUE(input);
        EXPECT_EQ(input->kind, Input::Kind::raised);
        EXPECT_EQ(input->raised.type, "ValueError");
        EXPECT_EQ(as_text(input->body.bytes.view()), "exception");
    }
    EXPECT_FALSE(exchange->input(1, 1, true));  // an argument that failed has ended
    send_in(1, 0, "again");                     // the generator may have caught it
    EXPECT_EQ(exchange->input(1, 0, true)->kind, Input::Kind::value);
}

TEST_F(ExchangeTest, WhatNobodyTakesIsRefused) {
    exchange->begin(1, 1024);
    auto taking = std::async(std::launch::async, [&] { return exchange->input(1, 3, true).has_value(); });
    EXPECT_EQ(peer->next().message.kind(), wire::CREDIT);
    exchange->drop_input(1, 3);
    exchange->drop_input(1, 3);
    EXPECT_FALSE(taking.get());
    const rpc::Message cancel = peer->next().message;
    EXPECT_EQ(cancel.kind(), wire::CANCEL);
    EXPECT_EQ(cancel.stream(), 1u);
    EXPECT_EQ(cancel.source(), 3u);
    send_in(1, 3, "late");
    peer->send(wire::PING, 0, 1);
    EXPECT_EQ(peer->next().message.kind(), wire::PONG);  // told once
    EXPECT_FALSE(exchange->input(1, 3, true));
}

TEST_F(ExchangeTest, AnOverfullArgumentIsBounded) {
    exchange->begin(1, 1024);
    for (int i = 0; i < 500; ++i) send_in(1, 1, std::to_string(i));
    settle_peer();
    std::uint64_t taken = 0;
    while (exchange->input(1, 1, false)) ++taken;
    EXPECT_GE(taken, limits::k_input_prefetch);
    EXPECT_LE(taken * k_input_cost, 2 * k_window + k_input_cost);
    // What was within bounds is whole, and a source that cannot be is ignored.
    send_in(1, limits::k_inputs_per_call_max + 1, "x");
    send_in(1, 1, "again");
    settle_peer();
    EXPECT_TRUE(exchange->input(1, 1, false));
}

TEST_F(ExchangeTest, WhatIsSentIntoAGeneratorThatDoesNotTakeItIsBounded) {
    exchange->begin(1, 1024);
    for (int i = 0; i < 100; ++i) send_in(1, 0, std::to_string(i));
    settle_peer();
    int taken = 0;
    while (const std::optional<Input> input = exchange->input(1, 0, false)) EXPECT_EQ(as_text(input->body.bytes.view()), std::to_string(taken++));
    EXPECT_EQ(taken, 16);
}

TEST_F(ExchangeTest, CancelReleasesWhoWaitsForInput) {
    exchange->begin(1, 1024);
    auto taking = std::async(std::launch::async, [&] { return exchange->input(1, 0, true).has_value(); });
    peer->send(wire::CANCEL, 1);
    EXPECT_FALSE(taking.get());
    exchange->begin(2, 1024);
    auto other = std::async(std::launch::async, [&] { return exchange->input(2, 1, true).has_value(); });
    EXPECT_EQ(peer->next().message.kind(), wire::CREDIT);
    static_cast<void>(exchange->conclude(2, Outcome::returned({}), false));
    EXPECT_FALSE(other.get());
}

}  // namespace
}  // namespace rh::worker
