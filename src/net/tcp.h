#pragma once

// TCP: the daemon's listener (on its executor) and the blocking connection of clients. Listening takes numeric addresses
// only; connecting resolves names where the program can (the static programs know numbers and "localhost").

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <string>

#include "base/fd.h"
#include "net/accepted.h"
#include "net/socket_stream.h"

namespace rh::net {

// A connected socket that blocks. Code::node_lost when nobody answers by the deadline, Code::not_found for a name that has
// no address.
Result<Fd> connect_tcp(const std::string& host, std::uint16_t port, std::chrono::steady_clock::time_point deadline);

class TcpListener {
public:
    struct Connected {
        SocketStream::Socket socket;
        std::string address;  // of the peer, without its port
    };

    // Port 0 takes a free one. Code::bad_arguments for a host that is no numeric address, Code::name_taken for a port that
    // somebody has.
    static Result<TcpListener> listen(const asio::any_io_executor& executor, const std::string& host, std::uint16_t port);

    std::uint16_t port() const { return port_; }
    asio::awaitable<Result<Connected>> accept();
    // Ends accept(), with the fact errno=ECANCELED's number.
    void close();

private:
    TcpListener(asio::ip::tcp::acceptor acceptor, std::uint16_t port) : acceptor_(std::move(acceptor)), port_(port) {}

    asio::ip::tcp::acceptor acceptor_;
    std::uint16_t port_;
};

}  // namespace rh::net
