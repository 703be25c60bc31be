#pragma once

// When calls are due to be ended, the soonest first: one timer for all of them. A call without a deadline is never entered
// here. Owned by the Router, on its executor.

#include <chrono>
#include <functional>
#include <set>
#include <tuple>

#include "daemon/worker.h"
#include "net/task_group.h"

namespace rh::daemon {

class Deadlines {
public:
    using Clock = std::chrono::steady_clock;
    // Told once for each call whose time has come; its route is no longer due then.
    using OnDue = std::function<void(Worker& worker, std::uint64_t stream)>;

    Deadlines(const net::asio::any_io_executor& executor, OnDue on_due) : bell_(executor), on_due_(std::move(on_due)) {}

    // In place of what was set for it before.
    void set(Worker& worker, std::uint64_t stream, Route& route, Clock::time_point due);
    // Does nothing for a route that is not due. To be called before a route is erased.
    void clear(Worker& worker, std::uint64_t stream, Route& route);
    // Runs until it is cancelled.
    net::asio::awaitable<void> run();

private:
    std::set<std::tuple<Clock::time_point, Worker*, std::uint64_t>> due_;
    net::Event bell_;  // rung when something is due sooner than what the timer waits for
    Clock::time_point waits_for_ = Clock::time_point::max();
    const OnDue on_due_;
};

}  // namespace rh::daemon
