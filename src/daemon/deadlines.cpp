#include "daemon/deadlines.h"

namespace rh::daemon {

void Deadlines::set(Worker& worker, std::uint64_t stream, Route& route, Clock::time_point due) {
    clear(worker, stream, route);
    route.due = due;
    due_.emplace(due, &worker, stream);
    // What is due later needs no ringing: the timer looks again whenever it has fired.
    if (due < waits_for_) bell_.set();
}

void Deadlines::clear(Worker& worker, std::uint64_t stream, Route& route) {
    if (route.due == Clock::time_point()) return;
    due_.erase({route.due, &worker, stream});
    route.due = {};
}

net::asio::awaitable<void> Deadlines::run() {
    for (;;) {
        bell_.reset();
        waits_for_ = due_.empty() ? Clock::time_point::max() : std::get<0>(*due_.begin());
        co_await bell_.wait_until(waits_for_);
        const Clock::time_point now = Clock::now();
        while (!due_.empty() && std::get<0>(*due_.begin()) <= now) {
            const auto [when, worker, stream] = *due_.begin();
            due_.erase(due_.begin());
            const auto route = worker->routes.find(stream);
            if (route == worker->routes.end()) continue;
            route->second.due = {};
            on_due_(*worker, stream);
        }
    }
}

}  // namespace rh::daemon
