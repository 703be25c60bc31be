#pragma once

// One framed connection: a client's or a worker's. Owned by the Daemon, on its executor; it ends when its peer closes,
// breaks the protocol, or close() is called. What the messages mean is the Router's.

#include <memory>
#include <optional>
#include <string>

#include "daemon/caller.h"
#include "daemon/worker.h"
#include "net/accepted.h"
#include "rpc/async_link.h"

namespace rh::daemon {

class Connection;

// What a connection needs of its daemon: told whom it belongs to, and asked about each message.
class Switchboard {
public:
    virtual Result<void> on_hello(Connection& connection, const wire::Hello& hello) = 0;
    // False while it is not known yet what lives on this node: clients wait.
    virtual bool is_ready() const = 0;
    virtual bool relay_from_client(Connection& connection, rpc::Message& message, ByteView body) = 0;
    virtual bool relay_from_worker(Connection& connection, rpc::Message& message, ByteView body) = 0;
    virtual void on_node_call(Connection& connection, rpc::Message& message, Body body) = 0;
    virtual void on_node_cancel(Connection& connection, std::uint64_t stream) = 0;
    // The client has taken so many bytes of the output of a call to the node itself.
    virtual void on_node_credit(Connection& connection, std::uint64_t stream, std::uint64_t bytes) = 0;
    virtual void on_node_result(Connection& connection, std::uint64_t stream, Outcome outcome) = 0;

protected:
    ~Switchboard() = default;
};

class Connection final : private rpc::Inbound::Handler {
public:
    Connection(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Switchboard& switchboard, rpc::Cork& cork,
               const net::asio::any_io_executor& executor);

    // Runs to the end of the connection and returns why it ended.
    net::asio::awaitable<Error> run(Bytes leftover);

    rpc::AsyncLink& link() { return link_; }
    const net::Peer& peer() const { return peer_; }
    // A client, as the router knows it.
    Caller& caller() { return *caller_; }
    const Caller& caller() const { return *caller_; }
    // It goes on without this connection, or comes from another.
    std::unique_ptr<Caller> release_caller();
    void adopt(std::unique_ptr<Caller> caller);
    // A client that was told to wait for its HELLO's answer gets it.
    void greet_waiting();
    // The client comes back when the connection is lost, unless it said goodbye.
    bool comes_back() const { return can_resume_ && !said_goodbye_; }

    std::shared_ptr<Worker> worker;  // whose connection this is; null for a client's

private:
    net::asio::awaitable<void> expect_hello();

    bool relay(rpc::Message& message, ByteView body) override;
    Result<void> on_message(rpc::Message& message, Body body) override;
    void on_room(std::uint64_t stream, std::uint64_t bytes) override;
    Result<void> greet(const wire::Hello& hello);

    const net::Peer peer_;
    Switchboard& switchboard_;
    rpc::AsyncLink link_;
    std::unique_ptr<Caller> caller_;
    bool can_resume_ = false;
    bool said_goodbye_ = false;
    std::optional<wire::Hello> waiting_hello_;
    net::TaskGroup tasks_;
    net::Event greeted_;
};

}  // namespace rh::daemon
