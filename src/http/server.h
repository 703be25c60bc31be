#pragma once

// Accepts connections (the Unix socket's, and TCP's where the node listens) and serves the requests that come on each, in their order
// (routes.h); on `Upgrade: roundhouse` hands the stream to the daemon. On the daemon's executor; stop() ends it.

#include <list>
#include <memory>

#include "daemon/api.h"
#include "http/connection.h"
#include "http/request.h"
#include "net/task_group.h"
#include "net/unix.h"

namespace rh::http {

class Server {
public:
    Server(const net::asio::any_io_executor& executor, net::UnixListener listener, daemon::Api& api);

    void start();
    net::asio::awaitable<void> stop();

private:
    using Connections = std::list<std::shared_ptr<Connection>>;

    net::asio::awaitable<void> accept();
    net::asio::awaitable<void> accept_tcp();
    // Whether to go on after that failure to accept.
    net::asio::awaitable<bool> weather(Error error);
    void begin(net::Accepted accepted);
    // Keeps the deadlines of all connections.
    net::asio::awaitable<void> watch();
    net::asio::awaitable<void> handle(std::shared_ptr<Connection> connection);
    net::asio::awaitable<void> serve_all(std::shared_ptr<Connection> connection);
    // Whether another request may come.
    net::asio::awaitable<bool> serve_one(std::shared_ptr<Connection> connection, Request request);
    net::asio::awaitable<void> linger(std::shared_ptr<Connection> connection);

    net::asio::any_io_executor executor_;
    net::UnixListener listener_;
    daemon::Api& api_;
    Shared shared_;
    net::TaskGroup tasks_;
    Connections connections_;
    bool stopping_ = false;
};

}  // namespace rh::http
