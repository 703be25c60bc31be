#include "net/tcp.h"

#include <arpa/inet.h>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <vector>

#include "base/limits.h"
#include "net/endpoint.h"

namespace rh::net {

namespace {

using boost::system::error_code;
using Clock = std::chrono::steady_clock;

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Address address_of(const in_addr& ip, std::uint16_t port) {
    Address address;
    auto* const four = reinterpret_cast<sockaddr_in*>(&address.storage);
    four->sin_family = AF_INET;
    four->sin_addr = ip;
    four->sin_port = htons(port);
    address.size = sizeof *four;
    return address;
}

Address address_of(const in6_addr& ip, std::uint16_t port) {
    Address address;
    auto* const six = reinterpret_cast<sockaddr_in6*>(&address.storage);
    six->sin6_family = AF_INET6;
    six->sin6_addr = ip;
    six->sin6_port = htons(port);
    address.size = sizeof *six;
    return address;
}

std::vector<Address> numeric(const std::string& host, std::uint16_t port) {
    in_addr four{};
    in6_addr six{};
    if (::inet_pton(AF_INET, host.c_str(), &four) == 1) return {address_of(four, port)};
    if (::inet_pton(AF_INET6, host.c_str(), &six) == 1) return {address_of(six, port)};
    if (host != "localhost") return {};
    // As every resolver answers, and without one.
    four.s_addr = htonl(INADDR_LOOPBACK);
    return {address_of(four, port), address_of(in6addr_loopback, port)};
}

// The resolver has deadlines of its own. In the static programs getaddrinfo is a stub that knows no name.
Result<std::vector<Address>> resolve(const std::string& host, std::uint16_t port) {
    std::vector<Address> found = numeric(host, port);
    if (!found.empty()) return found;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &list) == 0) {
        for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
            if (entry->ai_family == AF_INET) found.push_back(address_of(reinterpret_cast<const sockaddr_in*>(entry->ai_addr)->sin_addr, port));
            if (entry->ai_family == AF_INET6) found.push_back(address_of(reinterpret_cast<const sockaddr_in6*>(entry->ai_addr)->sin6_addr, port));
        }
        ::freeaddrinfo(list);
    }
    if (!found.empty()) return found;
    return fail(Error(Code::not_found, fmt::format("the host \"{}\" has no address that can be found. Try: its numeric address (the roundhouse command takes only "
                                                   "numeric addresses and \"localhost\")", host)).with("started", "no"));
}

// Nothing may wait in a buffer for more, and a peer whose machine is gone must show itself in the end.
void prepare(int socket) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef __linux__
    const int idle = static_cast<int>(limits::k_keepalive_idle.count());
    const int interval = static_cast<int>(limits::k_keepalive_interval.count());
    const int count = limits::k_keepalive_probes;
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
#endif
#ifdef SO_NOSIGPIPE
    ::setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

// 0, or errno.
int connect_one(const Fd& socket, const Address& address, Clock::time_point deadline) {
    const int flags = ::fcntl(socket.get(), F_GETFL);
    ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
    if (::connect(socket.get(), address.get(), address.size) != 0 && errno != EINPROGRESS && errno != EINTR) return errno;
    pollfd poll{socket.get(), POLLOUT, 0};
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        const int ready = ::poll(&poll, 1, static_cast<int>(std::clamp<decltype(left)>(left, 0, 1'000'000'000)));
        if (ready > 0) break;
        if (ready == 0) return ETIMEDOUT;
        if (errno != EINTR) return errno;
    }
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    ::fcntl(socket.get(), F_SETFL, flags);
    return error;
}

}  // namespace

Result<Fd> connect_tcp(const std::string& host, std::uint16_t port, Clock::time_point deadline) {
    RH_TRY(const std::vector<Address> addresses, resolve(host, port));
    int why = 0;
    for (const Address& address : addresses) {
        Fd socket(::socket(address.storage.ss_family, SOCK_STREAM, 0));
        if (!socket) {
            why = errno;
            continue;
        }
        why = connect_one(socket, address, deadline);
        if (why != 0) continue;
        prepare(socket.get());
        return socket;
    }
    return fail(Error(Code::node_lost, fmt::format("nothing answers at {}:{}: {}", bracketed(host), port, os_error("connect", why).message)).with("started", "no"));
}

Result<TcpListener> TcpListener::listen(const asio::any_io_executor& executor, const std::string& host, std::uint16_t port) {
    error_code error;
    const asio::ip::address address = asio::ip::make_address(host, error);
    if (error)
        return fail(Code::bad_arguments, fmt::format("a node listens on a numeric address, and \"{:.64}\" is none. Try: 127.0.0.1 for this machine alone, 0.0.0.0 for all of its addresses", host));
    asio::ip::tcp::acceptor acceptor(executor);
    const asio::ip::tcp::endpoint endpoint(address, port);
    acceptor.open(endpoint.protocol(), error);
    // A daemon that was started again takes the port at once. (On Linux this shares it with nobody.)
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
        const Code code = error.value() == EADDRINUSE ? Code::name_taken : error.value() == EACCES ? Code::not_allowed : error.value() == EADDRNOTAVAIL ? Code::bad_arguments : Code::io;
        return fail(code, fmt::format("the node cannot listen at {}:{}: {}. Try: port 0, which takes a free one", bracketed(host), port, error.message()));
    }
    const std::uint16_t taken = acceptor.local_endpoint(error).port();
    return TcpListener(std::move(acceptor), taken);
}

asio::awaitable<Result<TcpListener::Connected>> TcpListener::accept() {
    error_code error;
    asio::ip::tcp::endpoint peer;
    asio::ip::tcp::socket socket = co_await acceptor_.async_accept(peer, asio::redirect_error(asio::use_awaitable, error));
    if (error)
        co_return fail(Error(Code::node_lost, fmt::format("the connection was lost while accepting a connection: {}", error.message())).with("errno", std::to_string(error.value())));
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    prepare(socket.native_handle());
    co_return Connected{std::move(socket), peer.address().to_string()};
}

void TcpListener::close() {
    error_code ignored;
    acceptor_.close(ignored);
}

}  // namespace rh::net
