#include "net/unix.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "net/socket_stream.h"

namespace rh::net {

namespace {

using boost::system::error_code;

Error lost(std::string_view what, const error_code& error) {
    return Error(Code::node_lost, fmt::format("the connection was lost while {}: {}", what, error.message()));
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(Code::invalid_name, fmt::format("the socket path {} has {} bytes; at most {} are possible: set XDG_RUNTIME_DIR to a shorter folder",
                                                    path, path.size(), sizeof address.sun_path - 1));
    path.copy(address.sun_path, path.size());
    return address;
}

Result<Peer> peer_of(int socket) {
#ifdef __linux__
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return fail(os_error("cannot tell who connects", errno));
    return Peer{credentials.uid, credentials.pid, {}};
#else
    uid_t uid = 0;
    gid_t gid = 0;
    if (::getpeereid(socket, &uid, &gid) != 0) return fail(os_error("cannot tell who connects", errno));
    return Peer{uid, 0, {}};
#endif
}

}  // namespace

Result<Fd> connect_unix(const std::string& path) {
    RH_TRY(const sockaddr_un address, address_of(path));
    struct stat file {};
    if (::lstat(path.c_str(), &file) == 0 && file.st_uid != ::geteuid())
        return fail(Code::not_allowed, fmt::format("the socket {} belongs to user {}, not to you (user {}): remove it or choose another XDG_RUNTIME_DIR",
                                                   path, file.st_uid, ::geteuid()));
#ifdef __linux__
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
#else
    Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
#endif
    if (!socket) return fail(os_error("cannot make a socket", errno));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int why = errno;
        return fail(Error(Code::node_lost, fmt::format("nothing answers at {}: {}", path, os_error("connect", why).message)).with("started", "no"));
    }
    RH_TRY(const Peer peer, peer_of(socket.get()));
    if (peer.uid != ::geteuid())
        return fail(Code::not_allowed, fmt::format("the server at {} runs as user {}, not as you (user {})", path, peer.uid, ::geteuid()));
    return socket;
}

Result<UnixListener> UnixListener::listen(const asio::any_io_executor& executor, const std::string& path) {
    RH_TRY(const sockaddr_un address, address_of(path));
    ::unlink(path.c_str());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail(os_error("cannot make a socket", errno));
    // The folder is 0700 as well; the mode on the file is for systems that show it through another mount.
    const mode_t mask = ::umask(0177);
    const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int why = errno;
    ::umask(mask);
    if (bound != 0) return fail(os_error("cannot listen at " + path, why));
    if (::listen(socket.get(), SOMAXCONN) != 0) return fail(os_error("cannot listen at " + path, errno));
    return UnixListener(Acceptor(executor, asio::local::stream_protocol(), socket.release()));
}

asio::awaitable<Result<Accepted>> UnixListener::accept() {
    error_code error;
    asio::local::stream_protocol::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(lost("accepting a connection", error).with("errno", std::to_string(error.value())));
    const Result<Peer> peer = peer_of(socket.native_handle());
    if (!peer) co_return fail(peer.error());
    co_return Accepted{std::make_unique<SocketStream>(std::move(socket)), *peer, nullptr};
}

void UnixListener::close() {
    error_code ignored;
    acceptor_.close(ignored);
}

std::unique_ptr<Stream> adopt_unix(const asio::any_io_executor& executor, Fd socket) {
    return std::make_unique<SocketStream>(asio::local::stream_protocol::socket(executor, asio::local::stream_protocol(), socket.release()));
}

}  // namespace rh::net
