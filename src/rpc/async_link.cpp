#include "rpc/async_link.h"

#include <algorithm>

#include "base/bug.h"
#include "base/limits.h"

namespace rh::rpc {

using net::asio::awaitable;

Cork::Cork() : scratch_(new std::byte[limits::k_read_buffer_bytes]), scratch_bytes_(limits::k_read_buffer_bytes) {}

void Cork::release() {
    RH_CHECK(held_ > 0);
    if (--held_ != 0) return;
    // A flush may fail and close its link, never add another: sending happens only while held, or by itself.
    for (AsyncLink* link : waiting_) {
        link->corked_ = false;
        link->flush();
    }
    waiting_.clear();
}

AsyncLink::AsyncLink(std::unique_ptr<net::Stream> stream, Inbound::Handler& handler, Cork& cork, const net::asio::any_io_executor& executor)
    : stream_(std::move(stream)), inbound_(handler), cork_(cork), tasks_(executor) {}

AsyncLink::~AsyncLink() { std::erase(cork_.waiting_, this); }

awaitable<Error> AsyncLink::run(Bytes leftover) {
    if (!leftover.empty()) {
        cork_.hold();
        const Result<void> fed = inbound_.feed(leftover.view());
        cork_.release();
        if (!fed) co_return fed.error();
        leftover = Bytes();
    }
    while (!closed_) {
        const Result<void> readable = co_await stream_->wait_readable();
        if (!readable) co_return readable.error();
        // The scratch buffer is everybody's, so nothing may wait between the read and the end of feed().
        const Result<std::size_t> count = stream_->try_read(cork_.scratch());
        if (!count) co_return count.error();
        cork_.hold();
        const Result<void> fed = inbound_.feed(cork_.scratch().first(*count));
        cork_.release();
        if (!fed) co_return fed.error();
    }
    co_return Error(Code::node_lost, "the connection was closed on this side");
}

void AsyncLink::send_raw(std::string_view text) {
    raw_.append(as_byte_view(text));
    flush();
}

void AsyncLink::send(Message& message, ByteView body) {
    if (closed_) return;
    outbound_.send(message, body);
    flush();
}

void AsyncLink::send_whole(Message& message, Body body) {
    if (closed_) return;
    outbound_.send_whole(message, std::move(body));
    flush();
}

void AsyncLink::grant(std::uint64_t stream, std::uint64_t bytes) {
    outbound_.grant(stream, bytes);
    flush();
}

void AsyncLink::flush() {
    if (closed_ || writing_) return;
    if (cork_.held_ > 0) {
        if (!std::exchange(corked_, true)) cork_.waiting_.push_back(this);
        return;
    }
    if (write_now()) return;
    writing_ = true;
    tasks_.spawn(write_later());
}

bool AsyncLink::write_now() {
    for (;;) {
        const bool raw = !raw_.empty();
        const ByteView rest = raw ? raw_.view() : outbound_.pending();
        if (rest.empty()) return true;
        const Result<std::size_t> count = stream_->try_write(rest);
        if (!count) {
            close();
            return true;
        }
        if (*count == 0) return false;
        if (!raw) {
            outbound_.consume(*count);
        } else {
            raw_ = Bytes(rest.subspan(*count));
        }
    }
}

awaitable<void> AsyncLink::write_later() {
    while (!closed_) {
        const Result<void> writable = co_await stream_->wait_writable();
        if (!writable) break;
        if (write_now()) break;
    }
    writing_ = false;
}

void AsyncLink::close() {
    closed_ = true;
    stream_->close();
}

awaitable<void> AsyncLink::stop() {
    close();
    co_await tasks_.stop();
}

}  // namespace rh::rpc
