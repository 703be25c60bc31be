#pragma once

// One call on behalf of a request: its body goes as fast as its worker takes it, and what comes back is held only as long as it takes
// to write it. A peer that hangs up cancels it. Lives in the request's coroutine.

#include <deque>
#include <memory>
#include <optional>

#include "http/arguments.h"

namespace rh::http {

class Running {
public:
    explicit Running(Exchange& exchange);
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { call_.reset(); }

    // Opens it and sends its body, all of it unless the call ends before. One after the other may be opened.
    net::asio::awaitable<Try<>> open(daemon::CallRequest request, Arguments arguments);
    // What comes next; nothing when `deadline` came first.
    net::asio::awaitable<std::optional<daemon::CallEvent>> next(Clock::time_point deadline = Clock::time_point::max());
    // What has come already.
    std::optional<daemon::CallEvent> next_now();
    // The result with all of its body, output thrown away; at most so many bytes.
    net::asio::awaitable<Outcome> outcome(std::uint64_t bytes_max);

    daemon::Call& call() { return *call_; }

private:
    bool ended_early();
    void notice_hang_up();

    Exchange& exchange_;
    std::unique_ptr<daemon::Calls> calls_;
    std::unique_ptr<daemon::Call> call_;
    std::deque<daemon::CallEvent> early_;  // came before the body was sent
};

}  // namespace rh::http
