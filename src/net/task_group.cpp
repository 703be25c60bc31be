#include "net/task_group.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "base/bug.h"

namespace rh::net {

asio::awaitable<bool> Event::wait_until(asio::steady_timer::time_point deadline) {
    if (set_) co_return true;
    boost::system::error_code ignored;
    timer_.expires_at(deadline);
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return set_;
}

TaskGroup::~TaskGroup() { RH_CHECK(running_.empty()); }

void TaskGroup::spawn(asio::awaitable<void> task) {
    RH_CHECK(!stopping_);
    const auto place = running_.emplace(running_.end());
    asio::co_spawn(executor_, std::move(task), asio::bind_cancellation_slot(place->slot(), [this, place](const std::exception_ptr& thrown) {
        if (thrown) {
            try {
                std::rethrow_exception(thrown);
            } catch (const boost::system::system_error& error) {
                if (error.code() != asio::error::operation_aborted) bug(error.what(), __FILE__, __LINE__);
            } catch (const std::exception& error) {
                bug(error.what(), __FILE__, __LINE__);
            }
        }
        running_.erase(place);
        if (running_.empty() && stopping_) empty_.set();
    }));
}

asio::awaitable<void> TaskGroup::stop() {
    stopping_ = true;
    for (auto at = running_.begin(); at != running_.end();) {
        auto& signal = *at++;  // a task that ends at once erases its own place
        signal.emit(asio::cancellation_type::terminal);
    }
    if (!running_.empty()) co_await empty_.wait();
}

}  // namespace rh::net
