#include "net/transport.h"

#include <cerrno>
#include <fmt/format.h>
#include <poll.h>
#include <sys/time.h>

#include "net/tcp.h"
#include "net/unix.h"

namespace rh::net {

bool Transport::set_slice(std::chrono::milliseconds slice) {
    slice_ms_ = static_cast<int>(slice.count());
    if (tls_ != nullptr) return true;
    const timeval limit{slice.count() / 1000, static_cast<suseconds_t>(slice.count() % 1000 * 1000)};
    return ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
}

ssize_t Transport::receive_tls(std::byte* to, std::size_t size, int flags) {
    for (bool waited = false;;) {
        short waits_for = 0;
        const ssize_t count = tls_->receive(to, size, waits_for);
        if (count >= 0 || errno != EAGAIN || (flags & MSG_DONTWAIT) != 0 || waited) return count;
        pollfd poll{socket_.get(), waits_for, 0};
        const int ready = ::poll(&poll, 1, slice_ms_);
        if (ready < 0) return -1;
        // Half a record may be all that came: whoever asked looks around between two waits.
        waited = slice_ms_ >= 0;
        if (ready == 0) {
            errno = EAGAIN;
            return -1;
        }
    }
}

ssize_t Transport::send_tls(ByteView from) {
    for (;;) {
        short waits_for = 0;
        const ssize_t count = tls_->send(from.data(), from.size(), waits_for);
        if (count >= 0 || errno != EAGAIN) return count;
        pollfd poll{socket_.get(), waits_for, 0};
        if (::poll(&poll, 1, -1) < 0 && errno != EINTR) return -1;
    }
}

Result<Transport> connect(const Endpoint& endpoint, const std::string& pin, std::chrono::steady_clock::time_point deadline) {
    if (endpoint.kind == Endpoint::Kind::unix_socket) {
        RH_TRY(Fd socket, connect_unix(endpoint.path));
        return Transport(std::move(socket));
    }
    if (endpoint.kind == Endpoint::Kind::tcp && !is_loopback(endpoint.host))
        return fail(Error(Code::not_allowed, fmt::format("{} would be a connection in the clear to another machine, on which anybody could read the token. Try: tls://{}, or 127.0.0.1 at the "
                                                         "end of an SSH tunnel", endpoint.text(), endpoint.authority()))
                        .with("started", "no"));
    RH_TRY(Fd socket, connect_tcp(endpoint.host, endpoint.port, deadline));
    if (endpoint.kind == Endpoint::Kind::tcp) return Transport(std::move(socket));
    RH_TRY(auto tls, TlsClient::connect(socket.get(), endpoint.host, pin, deadline));
    return Transport(std::move(socket), std::move(tls));
}

}  // namespace rh::net
