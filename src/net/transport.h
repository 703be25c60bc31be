#pragma once

// A client's connected bytes: a socket that blocks, or TLS on it. One thread may read while another writes.

#include <chrono>
#include <memory>
#include <string>
#include <sys/socket.h>

#include "base/fd.h"
#include "net/endpoint.h"
#include "net/tls.h"

namespace rh::net {

class Transport {
public:
    Transport(Fd socket) : socket_(std::move(socket)) {}  // NOLINT: a socket is one
    Transport(Fd socket, std::unique_ptr<TlsClient> tls) : socket_(std::move(socket)), tls_(std::move(tls)) {}

    int fd() const { return socket_.get(); }
    bool is_tls() const { return tls_ != nullptr; }

    // ::recv and ::send. `flags` is 0, where it waits, or MSG_DONTWAIT.
    ssize_t receive(std::byte* to, std::size_t size, int flags) {
        return tls_ == nullptr ? ::recv(socket_.get(), to, size, flags) : receive_tls(to, size, flags);
    }
    ssize_t send(ByteView from) {
        return tls_ == nullptr ? ::send(socket_.get(), from.data(), from.size(), k_no_signal) : send_tls(from);
    }
    // No receive() waits longer; -1 and EAGAIN then. False where the socket does not do that.
    bool set_slice(std::chrono::milliseconds slice);
    // What poll on fd() does not show: bytes that have come and not been taken.
    bool has_more() const { return tls_ != nullptr && tls_->has_more(); }

private:
#ifdef MSG_NOSIGNAL
    static constexpr int k_no_signal = MSG_NOSIGNAL;
#else
    static constexpr int k_no_signal = 0;  // macOS: the socket has SO_NOSIGPIPE instead
#endif
    ssize_t receive_tls(std::byte* to, std::size_t size, int flags);
    ssize_t send_tls(ByteView from);

    Fd socket_;
    std::unique_ptr<TlsClient> tls_;
    int slice_ms_ = -1;
};

// Connects by the deadline. TLS only with a server that has the pin or, without one, a certificate that this machine trusts.
// Code::not_allowed for a plain connection to another machine: what is said on it, tokens included, could be read.
Result<Transport> connect(const Endpoint& endpoint, const std::string& pin, std::chrono::steady_clock::time_point deadline);

}  // namespace rh::net
