#pragma once

// The coroutines that one owner runs, so that nothing is detached: co_await stop() cancels and joins them all, and the
// destructor checks that it happened. On one executor; not thread-safe.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>

namespace rh::net {

namespace asio = boost::asio;

// Something that happens once, awaited by one coroutine at a time.
class Event {
public:
    explicit Event(const asio::any_io_executor& executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

    void set() {
        set_ = true;
        timer_.cancel();
    }
    bool is_set() const { return set_; }
    // True when it happened, false when `deadline` came first. The Event must outlive the wait.
    asio::awaitable<bool> wait_until(asio::steady_timer::time_point deadline);
    asio::awaitable<bool> wait() { return wait_until(asio::steady_timer::time_point::max()); }
    // Makes it happen-able again, for owners that use it as a doorbell.
    void reset() { set_ = false; }

private:
    asio::steady_timer timer_;
    bool set_ = false;
};

class TaskGroup {
public:
    explicit TaskGroup(const asio::any_io_executor& executor) : executor_(executor), empty_(executor) {}
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    ~TaskGroup();

    // Runs the coroutine to its end. What it throws other than cancellation is a bug and ends the program.
    void spawn(asio::awaitable<void> task);
    // Cancels what runs and waits until it has ended. Nothing may be spawned afterwards.
    asio::awaitable<void> stop();
    bool empty() const { return running_.empty(); }

private:
    asio::any_io_executor executor_;
    std::list<asio::cancellation_signal> running_;
    Event empty_;
    bool stopping_ = false;
};

}  // namespace rh::net
