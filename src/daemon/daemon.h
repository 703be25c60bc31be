#pragma once

// The node's server. Owns everything in this folder, on one executor: connections, the tables of services and workers,
// and what passes between them. bin/daemon_main.cpp gives it an HTTP server to take connections from. run() ends when the
// keeper does, or at stop().

#include <boost/asio/posix/stream_descriptor.hpp>
#include <list>
#include <memory>
#include <set>
#include <string>

#include "daemon/api.h"
#include "daemon/code_control.h"
#include "daemon/local_calls.h"
#include "daemon/memory_watch.h"
#include "daemon/node.h"
#include "daemon/run_control.h"

namespace rh::daemon {

class Daemon final : public Api, private Switchboard, private LocalCalls::Owner {
public:
    // Of a client whose connection was lost: the bell is rung when it has come back, or its process has ended.
    struct Return {
        explicit Return(const net::asio::any_io_executor& executor) : bell(executor), process(executor) {}
        net::Event bell;
        net::asio::posix::stream_descriptor process;
    };
    struct Options {
        std::string cluster_name;
        std::string state_folder;
        std::string socket_path;
        int keeper_fd = -1;
    };

    Daemon(const net::asio::any_io_executor& executor, const Options& options);

    net::asio::awaitable<void> run();

    void adopt(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Bytes leftover) override;
    bool has_room() const override;
    net::asio::awaitable<Result<net::Accepted>> accept() override { return doors_.listening.accept(); }
    net::asio::awaitable<Result<Principal>> authenticate(std::string token, std::string address) override {
        return doors_.tokens.authenticate(std::move(token), std::move(address));
    }
    std::size_t connections() const override { return sessions_.size(); }
    std::unique_ptr<Calls> calls(Principal principal) override;
    net::asio::awaitable<void> ready() override;
    std::optional<MethodFacts> method(std::string_view service, std::string_view name) const override;

private:
    struct Session {
        Session(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Daemon& daemon)
            : connection(std::move(stream), std::move(peer), std::move(principal), daemon, daemon.cork_, daemon.executor_), alive(std::make_shared<bool>(true)) {}

        Connection connection;
        std::shared_ptr<bool> alive;  // shared with the coroutines that owe it an answer
    };

    // A client whose connection was lost, and who may come back.
    struct Detached {
        std::unique_ptr<Caller> caller;  // null once it has come back
        std::shared_ptr<Return> from;    // shared with who watches its process
    };

    // daemon_resume.cpp
    bool set_aside(Caller& caller);
    void detach(Connection& connection);
    net::asio::awaitable<void> wait_for(std::list<Detached>::iterator detached);
    std::unique_ptr<Caller> find_caller(const Connection& by, const std::string& session);
    net::asio::awaitable<void> restore();
    void on_inventory(std::vector<Workers::Left> left, bool is_first);
    void on_announced(Worker& worker);
    void become_ready();
    bool is_ready() const override { return ready_; }

    net::asio::awaitable<void> serve(std::list<Session>::iterator session, Bytes leftover);
    net::asio::awaitable<void> answer(Asker asker, std::string method, Body body);
    void on_worker_end(Worker& worker);
    void end_connections_of(const std::string& principal);

    Result<void> on_hello(Connection& connection, const wire::Hello& hello) override;
    bool relay_from_client(Connection& connection, rpc::Message& message, ByteView body) override { return router_.from_client(connection.caller(), message, body); }
    bool relay_from_worker(Connection& connection, rpc::Message& message, ByteView body) override { return router_.from_worker(connection, message, body); }
    void on_node_call(Connection& connection, rpc::Message& message, Body body) override;
    void ask_node(Asker asker, std::string method, Body body) override;
    void cancel_ask(const Caller& caller, std::uint64_t stream) override {
        node_.cancel(caller, stream);
        run_control_.cancel(caller, stream);
    }
    void credit_ask(const Caller& caller, std::uint64_t stream, std::uint64_t bytes) override { run_control_.credit(caller, stream, bytes); }
    void drop_caller(Caller& caller) override;
    void on_node_cancel(Connection& connection, std::uint64_t stream) override { cancel_ask(connection.caller(), stream); }
    void on_node_credit(Connection& connection, std::uint64_t stream, std::uint64_t bytes) override { credit_ask(connection.caller(), stream, bytes); }
    void on_node_result(Connection& connection, std::uint64_t stream, Outcome outcome) override;

    net::asio::any_io_executor executor_;
    rpc::Cork cork_;
    Services services_;
    Workers workers_;
    Router router_;
    Follower follower_;
    MemoryWatch memory_;
    net::TaskGroup tasks_;
    Doors doors_;
    Node node_;
    Runs runs_;
    RunControl run_control_;
    CodeControl code_control_;
    std::list<Session> sessions_;
    std::list<Detached> detached_;
    std::set<std::string, std::less<>> awaited_;  // workers of a daemon before this one that have not told of their calls yet
    net::Event announced_;                        // rung when one of them has
    std::list<net::Event*> waiting_;              // for ready_
    bool has_inventory_ = false;
    bool node_is_new_ = false;  // no daemon was here before this one
    bool ready_ = false;
    bool stopping_ = false;
};

}  // namespace rh::daemon
