#pragma once

// Unix sockets: the daemon's listener and streams (on its executor), and the blocking connection of clients and workers.
// Both ends verify whom they talk to: the socket's owner before connecting, the peer's uid after accepting.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "net/accepted.h"

namespace rh::net {

// A connected socket that blocks. Code::node_lost when nobody listens, Code::not_allowed when the socket is another
// user's; both name the path.
Result<Fd> connect_unix(const std::string& path);

class UnixListener {
public:
    // Binds and listens, with mode 0600. The caller has made sure that nobody else serves this path: a file there is replaced.
    static Result<UnixListener> listen(const asio::any_io_executor& executor, const std::string& path);

    asio::awaitable<Result<Accepted>> accept();
    void close();

private:
    using Acceptor = asio::local::stream_protocol::acceptor;

    explicit UnixListener(Acceptor acceptor) : acceptor_(std::move(acceptor)) {}

    Acceptor acceptor_;
};

// A stream over a connected non-blocking Unix socket that the caller gives away.
std::unique_ptr<Stream> adopt_unix(const asio::any_io_executor& executor, Fd socket);

}  // namespace rh::net
