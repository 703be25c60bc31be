#include "keeper/daemon_link.h"

#include <sys/socket.h>

#include <cerrno>

namespace rh::keeper {

namespace {

// Thousands of Exited messages behind the starts of hundreds of workers: no daemon that lives leaves as many unread.
constexpr std::size_t k_out_bytes_max = 64 * 1024 * 1024;
constexpr std::size_t k_out_bytes_kept = 4 * 1024;
constexpr std::size_t k_read_bytes = 16 * 1024;

}  // namespace

Result<Fd> DaemonLink::open() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return fail(os_error("cannot make a socket for the daemon", errno));
    socket_ = Fd(ends[0]);
    Fd daemon_end(ends[1]);
    out_ = Bytes();
    decoder_ = process::KeeperDecoder();
    ended_ = false;
    return daemon_end;
}

void DaemonLink::close() {
    socket_.close();
    out_ = Bytes();
}

bool DaemonLink::send(const process::KeeperMessage& message) {
    if (!socket_) return true;
    process::append_keeper_message(out_, message);
    flush();
    return out_.size() <= k_out_bytes_max;
}

void DaemonLink::flush() {
    std::size_t sent = 0;
    while (socket_ && sent < out_.size()) {
        const auto count = ::send(socket_.get(), out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) sent = out_.size();  // nobody will read it
        if (count <= 0) break;
        sent += static_cast<std::size_t>(count);
    }
    if (sent == 0) return;
    if (sent == out_.size()) {
        out_.clear();
        out_.shrink_if_empty(k_out_bytes_kept);
    } else {
        out_ = Bytes(out_.view().subspan(sent));
    }
}

void DaemonLink::finish() {
    flush();
    if (socket_) ::shutdown(socket_.get(), SHUT_WR);
}

Result<bool> DaemonLink::receive(process::KeeperMessage& message) {
    for (;;) {
        RH_TRY(const bool whole, decoder_.next(message));
        if (whole) return true;
        if (!socket_ || ended_) return false;
        std::byte chunk[k_read_bytes];
        const auto count = ::recv(socket_.get(), chunk, sizeof chunk, 0);
        if (count > 0) {
            decoder_.feed({chunk, static_cast<std::size_t>(count)});
        } else if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            ended_ = true;
            return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
}

}  // namespace rh::keeper
