#include "daemon/deadlines.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace rh::daemon {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class DeadlinesTest : public testing::Test {
protected:
    DeadlinesTest() : worker_(context_.get_executor(), "w1"), deadlines_(context_.get_executor(), [this](Worker&, std::uint64_t stream) { due(stream); }), tasks_(context_.get_executor()) {
        tasks_.spawn(deadlines_.run());
        context_.poll();
    }
    ~DeadlinesTest() override {
        net::asio::co_spawn(context_, tasks_.stop(), [](const std::exception_ptr&) {});
        context_.restart();
        context_.run();
    }
    void set(std::uint64_t stream, Deadlines::Clock::duration in) { deadlines_.set(worker_, stream, worker_.routes[stream], Deadlines::Clock::now() + in); }
    virtual void due(std::uint64_t stream) {
        EXPECT_EQ(worker_.routes.at(stream).due, Deadlines::Clock::time_point());
        told_.push_back(stream);
    }
    void run_until_told(std::size_t count) {
        const auto give_up = Deadlines::Clock::now() + std::chrono::seconds(10);
        while (told_.size() < count && Deadlines::Clock::now() < give_up) context_.run_one_for(milliseconds(10));
    }

    boost::asio::io_context context_;
    Worker worker_;
    Deadlines deadlines_;
    net::TaskGroup tasks_;
    std::vector<std::uint64_t> told_;
};

TEST_F(DeadlinesTest, TheSoonestComesFirstWhenItWasSetLast) {
    set(1, hours(1));
    context_.poll();
    set(2, milliseconds(20));
    set(3, milliseconds(10));
    run_until_told(2);
    EXPECT_EQ(told_, (std::vector<std::uint64_t>{3, 2}));
}

TEST_F(DeadlinesTest, WhatIsClearedOrSetAgainIsNotTold) {
    set(1, milliseconds(1));
    set(2, milliseconds(1));
    set(3, milliseconds(2));
    deadlines_.clear(worker_, 1, worker_.routes[1]);
    deadlines_.clear(worker_, 1, worker_.routes[1]);
    set(2, hours(1));
    run_until_told(1);
    EXPECT_EQ(told_, (std::vector<std::uint64_t>{3}));
    EXPECT_EQ(worker_.routes[1].due, Deadlines::Clock::time_point());
    deadlines_.clear(worker_, 2, worker_.routes[2]);
}

}  // namespace
}  // namespace rh::daemon
