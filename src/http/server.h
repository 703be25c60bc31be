#pragma once

// Accepts connections (the Unix socket's, and TCP's where the node listens), reads one HTTP request's head from each, and on `Upgrade: roundhouse` hands the stream to the
// daemon. Everything else is answered and closed. On the daemon's executor; stop() ends it.

#include "daemon/api.h"
#include "net/task_group.h"
#include "net/unix.h"

namespace rh::http {

class Server {
public:
    Server(const net::asio::any_io_executor& executor, net::UnixListener listener, daemon::Api& api);

    void start();
    net::asio::awaitable<void> stop();

private:
    net::asio::awaitable<void> accept();
    net::asio::awaitable<void> accept_tcp();
    // Whether to go on after that failure to accept.
    net::asio::awaitable<bool> weather(Error error);
    net::asio::awaitable<void> handle(net::Accepted accepted);

    net::asio::any_io_executor executor_;
    net::UnixListener listener_;
    daemon::Api& api_;
    net::TaskGroup tasks_;
    bool stopping_ = false;
};

}  // namespace rh::http
