#include "http/connection.h"

#include <algorithm>

#include "base/bug.h"
#include "base/limits.h"

namespace rh::http {

using net::asio::awaitable;

Shared::Shared(const net::asio::any_io_executor& executor_in) : executor(executor_in), scratch(new std::byte[limits::k_read_buffer_bytes]), bell(executor_in) {}

Connection::Connection(net::Accepted accepted, Shared& shared)
    : stream_(std::move(accepted.stream)), peer_(std::move(accepted.peer)), door_(std::move(accepted.door)), shared_(shared), bell_(shared.executor), asked_(shared.executor), stranger_(door_ != nullptr) {
    if (stranger_) ++shared_.strangers;
}

Connection::~Connection() { welcome(); }

void Connection::welcome() {
    if (std::exchange(stranger_, false)) --shared_.strangers;
}

awaitable<void> Connection::read(std::shared_ptr<Connection> connection) {
    Connection& self = *connection;
    for (;;) {
        while (self.allowed_bytes_ == 0 && !self.closed_) {
            co_await self.asked_.wait();
            self.asked_.reset();
        }
        if (self.closed_) co_return;
        self.reading_ = true;
        const Result<void> readable = co_await self.stream_->wait_readable();
        self.reading_ = false;
        if (self.closed_) co_return;
        // The scratch buffer is everybody's, so nothing may wait between the read and the end of append().
        const std::span<std::byte> scratch(self.shared_.scratch.get(), std::min(std::exchange(self.allowed_bytes_, 0), limits::k_read_buffer_bytes));
        const Result<std::size_t> count = readable ? self.stream_->try_read(scratch) : fail(readable.error());
        if (!count) {
            self.hung_up_ = true;
            self.ring();
            co_return;
        }
        if (*count == 0) {
            self.allowed_bytes_ = scratch.size();
            continue;
        }
        self.shared_.bytes_in += *count;
        self.unread_.append(ByteView(scratch.data(), *count));
        self.ring();
    }
}

void Connection::consume(std::size_t bytes) {
    at_ += bytes;
    RH_CHECK(at_ <= unread_.size());
    if (at_ != unread_.size()) return;
    at_ = 0;
    unread_.clear();
    unread_.shrink_if_empty(limits::k_http_ahead_bytes_max);
}

void Connection::allow(std::size_t bytes) {
    if (hung_up_ || closed_) return;
    if (at_ != 0) {
        // What was consumed goes, before more comes.
        unread_ = Bytes(unread());
        at_ = 0;
    }
    allowed_bytes_ = bytes;
    if (!reading_) asked_.set();
}

void Connection::watch() {
    const std::size_t there = unread().size();
    if (there < limits::k_http_ahead_bytes_max && allowed_bytes_ == 0) allow(limits::k_http_ahead_bytes_max - there);
}

awaitable<bool> Connection::more(std::chrono::milliseconds timeout) {
    const std::size_t had = unread().size();
    timed_out_ = false;
    set_due(Clock::now() + timeout);
    allow(limits::k_read_buffer_bytes);
    while (unread().size() == had && !hung_up_ && !timed_out_ && !closed_) co_await wait();
    due_ = Clock::time_point::max();
    co_return unread().size() != had;
}

awaitable<bool> Connection::wait(Clock::time_point deadline) {
    const bool rung = co_await bell_.wait_until(deadline);
    bell_.reset();
    co_return rung;
}

awaitable<bool> Connection::write(ByteView bytes, std::chrono::milliseconds timeout) {
    while (!bytes.empty()) {
        if (closed_) co_return false;
        const Result<std::size_t> count = stream_->try_write(bytes);
        if (!count) {
            hung_up_ = true;
            co_return false;
        }
        shared_.bytes_out += *count;
        bytes = bytes.subspan(*count);
        if (*count != 0) continue;
        writing_ = true;
        if (timeout.count() != 0) set_due(Clock::now() + timeout);
        const Result<void> writable = co_await stream_->wait_writable();
        writing_ = false;
        due_ = Clock::time_point::max();
        if (!writable) {
            hung_up_ = true;
            co_return false;
        }
    }
    co_return true;
}

void Connection::set_due(Clock::time_point due) {
    due_ = due;
    if (due < shared_.waits_for) shared_.bell.set();
}

void Connection::on_due() {
    due_ = Clock::time_point::max();
    timed_out_ = true;
    if (writing_) return close();
    ring();
}

void Connection::close() {
    if (std::exchange(closed_, true)) return;
    hung_up_ = true;
    if (stream_ != nullptr) stream_->close();
    asked_.set();
    ring();
}

std::unique_ptr<net::Stream> Connection::release() {
    if (reading_ || hung_up_) return nullptr;
    closed_ = true;
    asked_.set();
    return std::move(stream_);
}

}  // namespace rh::http
