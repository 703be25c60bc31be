#pragma once

// Takes messages from a client's stream to the worker that serves it and back, bodies undecoded, and keeps the table of
// which stream is which. Owned by the Daemon, on its executor.

#include "daemon/connection.h"
#include "daemon/follower.h"
#include "daemon/service.h"
#include "daemon/worker.h"

namespace rh::daemon {

class Router {
public:
    Router(Services& services, net::asio::any_io_executor executor) : services_(services), executor_(std::move(executor)) {}

    // True when the message was passed on or answered; false when it is for the node itself.
    bool from_client(Connection& client, rpc::Message& message, ByteView body);
    bool from_worker(Connection& connection, rpc::Message& message, ByteView body);
    // The result of a call of the daemon's own.
    void on_own_result(Worker& worker, std::uint64_t stream, Outcome outcome);

    // Calls `method` of the worker's own service, on behalf of a client's stream (null: of nobody's). What the call prints
    // goes to that stream, and its cancel reaches the call.
    net::asio::awaitable<Outcome> call(std::shared_ptr<Worker> worker, std::string method, Body body, Connection* client, std::uint64_t client_stream);

    // Text from the worker's own file descriptors (follower.h): to the call that runs alone there. How much was taken.
    std::size_t deliver(Worker& worker, Channel channel, std::string_view text);
    // Who is asked to go on when a client has made room for more such text, and to catch up before a worker's end is told.
    void follow_with(Follower& follower) { follower_ = &follower; }

    // Called when a retired worker's last call is over.
    void on_idle(std::function<void(Worker&)> on_idle) { on_idle_ = std::move(on_idle); }

    // A client is gone: its calls are cancelled, and their results go nowhere.
    void drop_client(Connection& client);
    // A worker has ended: every call in it fails with `why`.
    void drop_worker(Worker& worker, const Error& why);

    std::uint64_t calls_total() const { return calls_total_; }

private:
    void open(Connection& client, rpc::Message& message, ByteView body);
    void refuse(Connection& client, const rpc::Message& message, Error error);
    void close(Worker& worker, std::uint64_t stream);
    void fail_route(Worker& worker, std::uint64_t stream, Error error);

    Services& services_;
    net::asio::any_io_executor executor_;
    Follower* follower_ = nullptr;
    std::function<void(Worker&)> on_idle_;
    std::uint64_t calls_total_ = 0;
};

}  // namespace rh::daemon
