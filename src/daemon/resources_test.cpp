#include "daemon/resources.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <gtest/gtest.h>

namespace rh::daemon {
namespace {

std::string as_it_is(const std::string& worker) { return worker; }

TEST(Resources, WhatOneHasNoOtherGets) {
    Resources resources({{0, 1, 2}, {0}, 100});
    const auto first = resources.take("w1", {2, 1, 60}, as_it_is);
    ASSERT_TRUE(first);
    EXPECT_EQ(first->cpus, (std::vector<std::int32_t>{0, 1}));
    EXPECT_EQ(first->gpus, (std::vector<std::int32_t>{0}));
    const auto second = resources.take("w2", {1, 0, 40}, as_it_is);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->cpus, (std::vector<std::int32_t>{2}));
    EXPECT_TRUE(resources.unused().cpus.empty());
    EXPECT_EQ(resources.unused().memory_bytes, 0u);
    resources.give_back("w1");
    resources.give_back("w1");
    EXPECT_EQ(resources.unused().cpus, (std::vector<std::int32_t>{0, 1}));
    EXPECT_EQ(resources.unused().memory_bytes, 60u);
    resources.give_back("w2");
    EXPECT_EQ(resources.unused().cpus, resources.all().cpus);
}

TEST(Resources, ARefusalTakesNothingAndNamesWhoHasIt) {
    Resources resources({{0, 1}, {}, 100});
    ASSERT_TRUE(resources.take("w1", {1, 0, 0}, as_it_is));
    const auto refused = resources.take("w2", {2, 0, 10}, as_it_is);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::limit_exceeded);
    EXPECT_NE(refused.error().message.find("2 CPUs were asked for, and 1 of this node's 2 are left (w1 has 1)"), std::string::npos) << refused.error().message;
    EXPECT_EQ(resources.unused().memory_bytes, 100u);
    const auto never = resources.take("w2", {0, 1, 0}, as_it_is);
    ASSERT_FALSE(never);
    EXPECT_NE(never.error().message.find("this node has 0"), std::string::npos) << never.error().message;
    // Asking for nothing is always possible, and leaves nothing to give back.
    ASSERT_TRUE(resources.take("w3", {}, as_it_is));
    resources.give_back("w3");
}

TEST(Resources, WhoeverWaitsHearsOfMore) {
    boost::asio::io_context context;
    Resources resources({{0}, {}, 0});
    ASSERT_TRUE(resources.take("w1", {1, 0, 0}, as_it_is));
    int woken = 0;
    const auto wait = [](Resources& from, boost::asio::io_context& on, int& count) -> net::asio::awaitable<void> {
        co_await from.wait_for_more(on.get_executor(), std::chrono::steady_clock::time_point::max());
        ++count;
    };
    for (int i = 0; i < 2; ++i) boost::asio::co_spawn(context, wait(resources, context, woken), boost::asio::detached);
    context.poll();
    EXPECT_EQ(woken, 0);
    resources.give_back("w1");
    context.run();
    EXPECT_EQ(woken, 2);
}

TEST(Resources, TheEnvironmentSaysHowMuchOfTheMachine) {
    ::setenv("ROUNDHOUSE_CPUS", "1", 1);
    ::setenv("ROUNDHOUSE_GPUS", "2", 1);
    ::setenv("ROUNDHOUSE_MEMORY", "12345", 1);
    const Allocation told = Resources::of_this_node();
    ::setenv("ROUNDHOUSE_CPUS", "100000", 1);
    ::setenv("ROUNDHOUSE_MEMORY", "plenty", 1);
    const Allocation much = Resources::of_this_node();
    for (const char* name : {"ROUNDHOUSE_CPUS", "ROUNDHOUSE_GPUS", "ROUNDHOUSE_MEMORY"}) ::unsetenv(name);
    const Allocation shown = Resources::of_this_node();
    EXPECT_EQ(told.cpus.size(), 1u);
    EXPECT_EQ(told.gpus.size(), 2u);
    EXPECT_EQ(told.memory_bytes, 12345u);
    // No more CPUs than there are, because a process can be kept on no others; and what is no number says nothing.
    EXPECT_EQ(much.cpus, shown.cpus);
    EXPECT_EQ(much.memory_bytes, shown.memory_bytes);
    EXPECT_FALSE(shown.cpus.empty());
    EXPECT_GT(shown.memory_bytes, 1'000'000u);
}

}  // namespace
}  // namespace rh::daemon
