#include "http/server.h"

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "http/exchange.h"
#include "http/guard.h"
#include "http/routes.h"

namespace rh::http {

namespace {

namespace asio = net::asio;
using asio::awaitable;

constexpr std::string_view k_full = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 155\r\n\r\n"
                                    "{\"error\":{\"type\":\"LimitExceeded\",\"code\":\"limit_exceeded\",\"message\":\"this node has as many connections as it allows: close some, or try again\",\"facts\":{}}}\n";

}  // namespace

Server::Server(const asio::any_io_executor& executor, net::UnixListener listener, daemon::Api& api)
    : executor_(executor), listener_(std::move(listener)), api_(api), shared_(executor), tasks_(executor) {}

void Server::start() {
    tasks_.spawn(accept());
    tasks_.spawn(accept_tcp());
    tasks_.spawn(watch());
}

awaitable<void> Server::stop() {
    stopping_ = true;
    listener_.close();
    for (const auto& connection : connections_) connection->close();
    co_await tasks_.stop();
}

awaitable<void> Server::accept() {
    for (;;) {
        Result<net::Accepted> accepted = co_await listener_.accept();
        if (stopping_) co_return;
        if (accepted) {
            begin(std::move(*accepted));
        } else {
            const bool goes_on = co_await weather(accepted.error());
            if (!goes_on) co_return;
        }
    }
}

awaitable<void> Server::accept_tcp() {
    for (;;) {
        Result<net::Accepted> accepted = co_await api_.accept();
        if (stopping_) co_return;
        if (accepted) {
            begin(std::move(*accepted));
        } else {
            const bool goes_on = co_await weather(accepted.error());
            if (!goes_on) co_return;
        }
    }
}

awaitable<bool> Server::weather(Error error) {
    if (error.fact("errno") == std::to_string(ECANCELED)) co_return false;
    // Out of descriptors, most likely: what is open goes on, and accepting is tried again.
    spdlog::warn("{}", error.message);
    asio::steady_timer pause(executor_, std::chrono::milliseconds(100));
    co_await pause.async_wait(asio::use_awaitable);
    co_return true;
}

void Server::begin(net::Accepted accepted) {
    const bool crowded = accepted.door != nullptr && shared_.strangers >= limits::k_strangers_max;
    if (crowded || !api_.has_room() || connections_.size() + api_.connections() >= limits::k_connections_max) {
        // One try: whoever does not read a short answer does not get it.
        static_cast<void>(accepted.stream->try_write(as_byte_view(k_full)));
        return;
    }
    // Shared by the coroutine that reads and the one that answers.
    auto connection = std::make_shared<Connection>(std::move(accepted), shared_);
    tasks_.spawn(Connection::read(connection));
    tasks_.spawn(handle(std::move(connection)));
}

awaitable<void> Server::watch() {
    for (;;) {
        Clock::time_point next = Clock::time_point::max();
        const Clock::time_point now = Clock::now();
        for (const auto& connection : connections_) {
            if (connection->due() <= now) connection->on_due();
            next = std::min(next, connection->due());
        }
        shared_.waits_for = next;
        co_await shared_.bell.wait_until(next);
        shared_.bell.reset();
    }
}

awaitable<void> Server::handle(std::shared_ptr<Connection> connection) {
    const auto place = connections_.insert(connections_.end(), connection);
    shared_.connections = connections_.size();
    co_await serve_all(connection);
    connection->close();
    connections_.erase(place);
    shared_.connections = connections_.size();
}

awaitable<void> Server::serve_all(std::shared_ptr<Connection> connection) {
    bool first = true;
    for (;;) {
        Try<std::optional<std::pair<Request, std::size_t>>> parsed = Request::parse(connection->unread());
        if (!parsed) {
            Request unknown;
            unknown.keep_alive = false;
            Answer answer(*connection, unknown);
            co_await answer.refuse(parsed.error());
            co_await linger(connection);
            co_return;
        }
        if (!*parsed) {
            // A whole head in time, or none for a while.
            const bool begun = !connection->unread().empty();
            const std::chrono::milliseconds timeout = begun || first ? limits::k_handshake_timeout : limits::k_http_idle_timeout;
            const bool came = co_await connection->more(timeout);
            if (!came) co_return;
            continue;
        }
        first = false;
        connection->consume((*parsed)->second);
        const bool goes_on = co_await serve_one(connection, std::move((*parsed)->first));
        if (!goes_on) co_return;
    }
}

awaitable<bool> Server::serve_one(std::shared_ptr<Connection> connection, Request request) {
    Exchange exchange(api_, *connection, request);
    if (request.wants_upgrade) {
        Try<> site = check_site(*connection, request);
        if (site && (request.has_body() || request.method != "GET")) site = refuse(Refusal::broken(400, "an Upgrade is asked for with a GET without a body"));
        if (!site) {
            exchange.answer.close_behind();
            co_await exchange.answer.refuse(site.error());
            co_return false;
        }
        Try<daemon::Principal> known = co_await let_in(api_, *connection, request, false);
        if (!known) {
            exchange.answer.close_behind();
            co_await exchange.answer.refuse(known.error());
            co_return false;
        }
        Bytes leftover(connection->unread());
        std::unique_ptr<net::Stream> stream = connection->release();
        if (stream != nullptr && api_.has_room()) api_.adopt(std::move(stream), connection->peer(), std::move(*known), std::move(leftover));
        co_return false;
    }
    co_await api_.ready();
    co_await serve(exchange);
    if (!exchange.answer.begun() || !exchange.answer.keep_alive() || stopping_) {
        if (exchange.answer.begun() && !exchange.body.at_end()) co_await linger(connection);
        co_return false;
    }
    if (exchange.body.at_end()) co_return true;
    const bool skipped = co_await exchange.body.skip();
    if (!skipped) co_await linger(connection);
    co_return skipped;
}

// What the peer still sends is read and thrown away for a moment, because closing on it could lose the answer on its way.
awaitable<void> Server::linger(std::shared_ptr<Connection> connection) {
    const auto until = Clock::now() + limits::k_http_linger;
    while (!connection->hung_up()) {
        connection->consume(connection->unread().size());
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
        if (left.count() <= 0) co_return;
        const bool came = co_await connection->more(std::min<std::chrono::milliseconds>(left, limits::k_http_linger_quiet));
        if (!came) co_return;
    }
}

}  // namespace rh::http
