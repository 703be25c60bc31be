#include "net/socket_stream.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>

namespace rh::net {

namespace {

using boost::system::error_code;

Error lost(std::string_view what, const error_code& error) {
    return Error(Code::node_lost, fmt::format("the connection was lost while {}: {}", what, error.message()));
}

}  // namespace

Result<std::size_t> SocketStream::try_read(std::span<std::byte> to) {
    if (!socket_.is_open()) return fail(Code::node_lost, "the connection is closed");
    for (;;) {
        const auto count = ::recv(socket_.native_handle(), to.data(), to.size(), MSG_DONTWAIT);
        if (count > 0) return static_cast<std::size_t>(count);
        if (count == 0) return fail(Code::node_lost, "the peer closed the connection");
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
        if (errno != EINTR) return fail(lost("reading", error_code(errno, boost::system::system_category())));
    }
}

Result<std::size_t> SocketStream::try_write(ByteView from) {
    if (!socket_.is_open()) return fail(Code::node_lost, "the connection is closed");
    for (;;) {
        const auto count = ::send(socket_.native_handle(), from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
        if (errno != EINTR) return fail(lost("writing", error_code(errno, boost::system::system_category())));
    }
}

void SocketStream::close() {
    error_code ignored;
    socket_.close(ignored);
}

asio::awaitable<Result<void>> SocketStream::wait(Socket::wait_type type) {
    error_code error;
    co_await socket_.async_wait(type, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(lost("waiting", error));
    co_return Result<void>{};
}

}  // namespace rh::net
