#pragma once

// A Stream over any connected stream socket: Unix or TCP. On its socket's executor.

#include <boost/asio/generic/stream_protocol.hpp>

#include "base/fd.h"
#include "net/stream.h"

namespace rh::net {

class SocketStream final : public Stream {
public:
    using Socket = asio::generic::stream_protocol::socket;

    explicit SocketStream(Socket socket) : socket_(std::move(socket)) {}

    Result<std::size_t> try_read(std::span<std::byte> to) override;
    Result<std::size_t> try_write(ByteView from) override;
    asio::awaitable<Result<void>> wait_readable() override { return wait(Socket::wait_read); }
    asio::awaitable<Result<void>> wait_writable() override { return wait(Socket::wait_write); }
    void close() override;

    bool is_open() const { return socket_.is_open(); }
    int handle() { return socket_.native_handle(); }

private:
    asio::awaitable<Result<void>> wait(Socket::wait_type type);

    Socket socket_;
};

}  // namespace rh::net
