#include "daemon/daemon.h"

#include <cerrno>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "wire/convert.h"

namespace rh::daemon {

using net::asio::awaitable;

Daemon::Daemon(const net::asio::any_io_executor& executor, const Options& options)
    : executor_(executor),
      workers_(executor, options.keeper_fd, options.state_folder + "/workers", [this](Worker& worker) { on_worker_end(worker); }),
      router_(services_, executor, [this] { return workers_.all(); }),
      follower_(executor, [this](Worker& worker, Channel channel, std::string_view text, std::uint64_t offset) { return router_.deliver(worker, channel, text, offset); }),
      memory_(executor, [this](Worker& worker, std::shared_ptr<const Error> why) { router_.note_memory_kill(worker, std::move(why)); }),
      tasks_(executor),
      doors_(executor, options.state_folder),
      node_({options.cluster_name, options.socket_path, options.state_folder}, executor, services_, workers_, router_, tasks_, doors_),
      runs_(executor, options.state_folder, tasks_, [this](Principal principal, std::string session, std::uint64_t stream) {
          LocalCalls::Owner& owner = *this;
          return std::make_unique<LocalCalls>(std::move(principal), std::move(session), stream, router_, owner);
      }),
      run_control_(executor, runs_, services_),
      code_control_(executor, options.state_folder, runs_, tasks_, [this] { return node_.snapshots(); }),
      announced_(executor) {
    doors_.tokens.on_end([this](const std::string& principal) { end_connections_of(principal); });
    router_.follow_with(follower_);
    router_.watch_with(memory_);
    node_.count_runs_with([this](const std::string& service) { return runs_.count_of(service); });
    node_.find_runs_with([this](const std::string& name) -> std::optional<std::pair<std::string, std::uint64_t>> {
        const auto attempt = runs_.running(name);
        if (attempt == nullptr) return std::nullopt;
        return std::pair(attempt->run.id, static_cast<std::uint64_t>(attempt->number));
    });
    node_.check_code_with([this](const std::string& snapshot) { return code_control_.check_here(snapshot); });
    router_.on_idle([this](Worker& worker) { workers_.stop(worker); });
    router_.on_kill([this](Worker& worker) {
        node_.on_worker_lost(worker);
        workers_.kill(worker);
    });
    router_.on_announced([this](Worker& worker) { on_announced(worker); });
    workers_.on_inventory([this](std::vector<Workers::Left> left, bool is_first) { on_inventory(std::move(left), is_first); });
    workers_.on_unknown_exit([this] { router_.note_death(); });
    workers_.on_memory([this](const std::shared_ptr<Worker>& worker, const process::Limited& limited) { memory_.add(worker, limited); },
                       [this](Worker& worker, const process::OverLimit& over) { memory_.over_limit(worker, over); });
    workers_.on_start([this](const std::shared_ptr<Worker>& worker) { follower_.add(worker); });
}

awaitable<void> Daemon::run() {
    tasks_.spawn(follower_.run());
    tasks_.spawn(router_.run());
    tasks_.spawn(memory_.run());
    tasks_.spawn(doors_.tokens.run());
    doors_.listening.restore();
    tasks_.spawn(restore());
    co_await workers_.run();
    spdlog::info("the keeper is gone: the node ends");
    stopping_ = true;
    runs_.stop();
    for (Session& session : sessions_) {
        // Nobody is to wait for a node that does not come back.
        rpc::Message goodbye;
        goodbye.set_kind(wire::GOODBYE);
        wire::set_error(goodbye, Error(Code::node_lost, "the node has ended").with("started", "unknown"));
        session.connection.link().send(goodbye);
        session.connection.link().close();
    }
    become_ready();
    follower_.stop();
    doors_.listening.stop();
    co_await memory_.stop();
    co_await tasks_.stop();
}

bool Daemon::has_room() const { return !stopping_ && sessions_.size() < limits::k_connections_max; }

void Daemon::adopt(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Bytes leftover) {
    const auto session = sessions_.emplace(sessions_.end(), std::move(stream), std::move(peer), std::move(principal), *this);
    tasks_.spawn(serve(session, std::move(leftover)));
}

awaitable<void> Daemon::serve(std::list<Session>::iterator session, Bytes leftover) {
    Connection& connection = session->connection;
    const Error why = co_await connection.run(std::move(leftover));
    if (why.code != Code::node_lost) spdlog::warn("a connection from {} was ended: {}", connection.peer().address.empty() ? fmt::format("pid {}", connection.peer().pid) : connection.peer().address, why.message);
    *session->alive = false;
    if (connection.worker != nullptr) {
        // Its process is ended, if it has not, so that the keeper tells how; its calls fail then, with the kernel's evidence.
        connection.worker->connection = nullptr;
        if (!connection.worker->end && !stopping_) node_.on_worker_lost(*connection.worker);
        workers_.end_lost(*connection.worker);
    } else if (connection.comes_back() && why.code == Code::node_lost && !stopping_) {
        detach(connection);
    } else {
        drop_caller(connection.caller());
    }
    sessions_.erase(session);
}

Result<void> Daemon::on_hello(Connection& connection, const wire::Hello& hello) {
    if (hello.role() == wire::CLIENT) {
        if (hello.again()) {
            if (std::unique_ptr<Caller> caller = find_caller(connection, hello.session())) {
                Router::reattach(*caller);
                connection.adopt(std::move(caller));
            }
        }
        connection.caller().session = hello.session();
        return {};
    }
    if (hello.role() != wire::WORKER) return fail(Code::protocol, "a peer of an unknown role said hello");
    // Workers are this node's own processes, and hold no token.
    if (!connection.peer().address.empty()) return fail(Code::not_allowed, "a worker connects through the node's Unix socket");
    const std::shared_ptr<Worker> worker = workers_.find(hello.worker());
    if (worker == nullptr || worker->connection != nullptr)
        return fail(Code::not_allowed, fmt::format("this node has started no worker \"{:.64}\" that is not connected yet", hello.worker()));
    worker->connection = &connection;
    worker->language = hello.language().substr(0, hello.language().find(' '));  // "python 3.11.2" is python
    connection.worker = worker;
    worker->ready.set();
    // One that was only starting when the daemon before this one died has nothing to tell.
    if (!hello.again()) on_announced(*worker);
    return {};
}

void Daemon::end_connections_of(const std::string& principal) {
    for (Session& session : sessions_) {
        if (session.connection.caller().principal().name == principal) session.connection.link().close();
    }
}

void Daemon::on_worker_end(Worker& worker) {
    if (!worker.stopping) spdlog::warn("worker {}: {}", worker.id, worker.end->message);
    node_.on_worker_end(worker);
    router_.drop_worker(worker, *worker.end);
    on_announced(worker);
    follower_.remove(worker);
    memory_.remove(worker);
    if (worker.connection != nullptr) worker.connection->link().close();
}

void Daemon::on_node_call(Connection& connection, rpc::Message& message, Body body) {
    for (Session& session : sessions_) {
        if (&session.connection != &connection) continue;
        Caller& caller = connection.caller();
        caller.asking.insert(message.stream());
        ask_node({&caller, message.stream(), session.alive, message.deadline_ms(), message.kill(), {message.parents().begin(), message.parents().end()}, caller.principal(), message.output_number()},
                 message.method(), std::move(body));
    }
}

void Daemon::ask_node(Asker asker, std::string method, Body body) {
    if (!stopping_) tasks_.spawn(answer(std::move(asker), std::move(method), std::move(body)));
}

void Daemon::drop_caller(Caller& caller) {
    router_.drop_client(caller);
    node_.drop_client(caller);
    run_control_.drop_client(caller);
}

std::unique_ptr<Calls> Daemon::calls(Principal principal) {
    LocalCalls::Owner& owner = *this;
    return std::make_unique<LocalCalls>(std::move(principal), router_, owner);
}

std::optional<MethodFacts> Daemon::method(std::string_view service, std::string_view name) const {
    const Result<std::shared_ptr<Service>> found = services_.get_called(service);
    if (!found) return std::nullopt;
    MethodFacts facts;
    facts.service_kind = kind_name((*found)->kind);
    const auto& methods = (*found)->methods();
    if (const auto method = methods.find(name); method != methods.end()) {
        facts.known = true;
        facts.generator = method->second.generator;
        facts.readonly = method->second.readonly;
    }
    return facts;
}

awaitable<void> Daemon::answer(Asker asker, std::string method, Body body) {
    Outcome outcome;
    if (RunControl::answers(method)) {
        outcome = co_await run_control_.call(std::move(method), std::move(body), asker);
    } else if (CodeControl::answers(method)) {
        outcome = co_await code_control_.call(std::move(method), std::move(body), asker);
    } else {
        outcome = co_await node_.call(std::move(method), std::move(body), asker);
    }
    Caller* const caller = asker.get();
    // Unless it was answered before, because what it asked for did not end in time.
    if (caller != nullptr && caller->asking.erase(asker.stream) != 0) caller->answer(asker.stream, std::move(outcome));
}

void Daemon::on_node_result(Connection& connection, std::uint64_t stream, Outcome outcome) {
    router_.on_own_result(*connection.worker, stream, std::move(outcome));
}

}  // namespace rh::daemon
