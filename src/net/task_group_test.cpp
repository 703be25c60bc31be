#include "net/task_group.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gtest/gtest.h>
#include <optional>
#include <stdexcept>

namespace rh::net {
namespace {

using namespace std::chrono_literals;
using asio::awaitable;

struct Traces {
    int begun = 0;
    int ended = 0;
};

struct Ender {
    Traces& traces;
    ~Ender() { ++traces.ended; }
};

awaitable<void> sleep_for_ever(asio::any_io_executor executor, Traces& traces) {
    const Ender ender{traces};
    ++traces.begun;
    asio::steady_timer timer(executor, asio::steady_timer::time_point::max());
    co_await timer.async_wait(asio::use_awaitable);
}

awaitable<void> end_at_once(Traces& traces) {
    ++traces.begun;
    ++traces.ended;
    co_return;
}

awaitable<void> stop_group(TaskGroup& group, bool& stopped) {
    co_await group.stop();
    stopped = true;
}

TEST(TaskGroup, StopCancelsAndJoins) {
    asio::io_context context;
    TaskGroup group(context.get_executor());
    Traces traces;
    for (int i = 0; i < 3; ++i) group.spawn(sleep_for_ever(context.get_executor(), traces));
    context.poll();
    EXPECT_EQ(traces.begun, 3);
    EXPECT_EQ(traces.ended, 0);
    EXPECT_FALSE(group.empty());
    bool stopped = false;
    asio::co_spawn(context, stop_group(group, stopped), asio::detached);
    context.run();
    EXPECT_TRUE(stopped);
    EXPECT_EQ(traces.ended, 3);
    EXPECT_TRUE(group.empty());
}

TEST(TaskGroup, TasksThatEndLeaveByThemselves) {
    asio::io_context context;
    TaskGroup group(context.get_executor());
    Traces traces;
    for (int i = 0; i < 100; ++i) group.spawn(end_at_once(traces));
    context.run();
    EXPECT_EQ(traces.ended, 100);
    EXPECT_TRUE(group.empty());
}

TEST(TaskGroup, StopOfAnEmptyGroupReturnsAtOnce) {
    asio::io_context context;
    TaskGroup group(context.get_executor());
    bool stopped = false;
    asio::co_spawn(context, stop_group(group, stopped), asio::detached);
    context.run();
    EXPECT_TRUE(stopped);
}

TEST(TaskGroupDeathTest, AGroupThatStillRunsMayNotGo) {
    EXPECT_DEATH(
        {
            asio::io_context context;
            Traces traces;
            TaskGroup group(context.get_executor());
            group.spawn(sleep_for_ever(context.get_executor(), traces));
            context.poll();
        },
        "running_.empty");
}

awaitable<void> throws() {
    throw std::runtime_error("forgotten");
    co_return;
}

TEST(TaskGroupDeathTest, AnExceptionThatLeavesATaskIsABug) {
    EXPECT_DEATH(
        {
            asio::io_context context;
            TaskGroup group(context.get_executor());
            group.spawn(throws());
            context.run();
        },
        "forgotten");
}

awaitable<void> wait_for(Event& event, asio::steady_timer::time_point deadline, std::optional<bool>& happened) {
    happened = co_await event.wait_until(deadline);
}

TEST(Event, WakesItsWaiter) {
    asio::io_context context;
    Event event(context.get_executor());
    std::optional<bool> happened;
    asio::co_spawn(context, wait_for(event, asio::steady_timer::time_point::max(), happened), asio::detached);
    context.poll();
    EXPECT_FALSE(happened.has_value());
    event.set();
    context.restart();
    context.run();
    EXPECT_EQ(happened, true);
}

TEST(Event, RemembersThatItHappened) {
    asio::io_context context;
    Event event(context.get_executor());
    event.set();
    EXPECT_TRUE(event.is_set());
    std::optional<bool> happened;
    asio::co_spawn(context, wait_for(event, asio::steady_timer::time_point::max(), happened), asio::detached);
    context.run();
    EXPECT_EQ(happened, true);
    event.reset();
    EXPECT_FALSE(event.is_set());
}

TEST(Event, ADeadlineEndsTheWait) {
    asio::io_context context;
    Event event(context.get_executor());
    std::optional<bool> happened;
    asio::co_spawn(context, wait_for(event, asio::steady_timer::clock_type::now() + 1ms, happened), asio::detached);
    context.run();
    EXPECT_EQ(happened, false);
}

}  // namespace
}  // namespace rh::net
