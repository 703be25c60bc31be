#pragma once

// The service "_node" (protocol/node.md): workers and what is deployed to them (node.cpp), names and objects (node_names.cpp),
// named processes (node_processes.cpp), and workers that take a dead one's place (node_successors.cpp). Each call is a coroutine of
// the Daemon's; replies go to the stream that asked.

#include <chrono>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>

#include "daemon/resources.h"
#include "daemon/router.h"
#include "daemon/workers.h"

namespace rh::daemon {

class Node {
public:
    struct About {
        std::string cluster_name;
        std::string socket_path;
        std::string state_folder;
    };

    // `tasks` runs what brings up the successors of dead workers.
    Node(About about, const net::asio::any_io_executor& executor, Services& services, Workers& workers, Router& router, net::TaskGroup& tasks);

    net::asio::awaitable<Outcome> call(std::string method, Body body, Asker asker);
    // A client is gone: workers that it started and has not deployed to are ended.
    void drop_client(const Connection& client);
    // A worker will end, as its connection was lost or it is being killed: calls wait for its successor, if it is to have one.
    void on_worker_lost(Worker& worker);
    // It has ended; to be told before its calls are failed.
    void on_worker_end(Worker& worker);

private:
    using Json = nlohmann::json;
    using Names = std::multiset<std::string, std::less<>>;

    // A worker without a service yet, and who is about to give it one.
    struct Started {
        std::shared_ptr<Worker> worker;
        const Connection* by = nullptr;
    };
    // A worker with a name, which lives until it is killed.
    struct Process {
        std::string name;
        std::shared_ptr<Worker> worker;
        std::map<std::string, std::string> vars;
    };
    // What a deploy asks for, checked.
    struct Deployment;
    class Promise;

    // node.cpp
    net::asio::awaitable<Outcome> start(const Json& request, Asker asker);
    Outcome abandon(const Json& request, const Asker& asker);
    net::asio::awaitable<Outcome> deploy(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Outcome> load(const Deployment& wanted, const std::vector<std::shared_ptr<Worker>>& workers, const Asker& asker);
    Outcome status() const;
    static void add_vars(Launch& launch, const std::map<std::string, std::string>& vars);
    std::shared_ptr<Launch> launch_of(const Json& request, Result<void>& checked) const;
    Result<std::shared_ptr<Worker>> start_worker(std::shared_ptr<const Launch> launch);
    net::asio::awaitable<Result<std::shared_ptr<Worker>>> start_worker_soon(std::shared_ptr<const Launch> launch);
    std::string holder(const std::string& worker_id) const;
    net::asio::awaitable<Result<void>> wait_ready(std::shared_ptr<Worker> worker, std::string for_whom, std::chrono::steady_clock::time_point deadline);
    std::vector<std::shared_ptr<Worker>> take_started(const Json& request, const Asker& asker);

    // node_names.cpp
    Result<void> check_free(std::string_view name, bool replace, bool for_object) const;
    net::asio::awaitable<Outcome> create(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Result<std::shared_ptr<Worker>>> place_for(std::shared_ptr<Service> maker, std::string process, Asker asker);
    net::asio::awaitable<Outcome> finish(std::shared_ptr<Service> service, const Outcome& loaded);
    net::asio::awaitable<Outcome> rename(const Json& request);
    net::asio::awaitable<Outcome> remove(const Json& request);
    net::asio::awaitable<Outcome> clear();
    Outcome describe(const Json& request) const;
    Json description_of(const Service& service) const;
    // What a service that lost its name leaves behind: its workers end, with their last call, unless something else lives
    // there. `successor` has the name now, or is null.
    net::asio::awaitable<void> retire(std::shared_ptr<Service> service, std::shared_ptr<Service> successor);
    net::asio::awaitable<void> leave(std::shared_ptr<Worker> worker, std::string name);

    // node_processes.cpp
    net::asio::awaitable<Outcome> create_process(const Json& request);
    net::asio::awaitable<Outcome> kill_process(const Json& request);
    net::asio::awaitable<Outcome> set_env(const Json& request);
    net::asio::awaitable<Outcome> run(const Json& request, Asker asker);
    Result<std::shared_ptr<Process>> find_process(const std::string& name) const;
    Json process_json(const Process& process) const;
    Json processes_json() const;

    // node_successors.cpp
    std::shared_ptr<Service> will_be_replaced(const Worker& worker) const;
    void replace(const std::shared_ptr<Service>& service, Worker& worker);
    void give_up(Service& service, const Worker& worker, Error why);
    net::asio::awaitable<void> bring_up(std::shared_ptr<Service> service, std::shared_ptr<Worker> worker);

    const About about_;
    net::asio::any_io_executor executor_;
    Services& services_;
    Workers& workers_;
    Router& router_;
    net::TaskGroup& tasks_;
    Resources resources_;
    std::map<std::string, Started> started_;  // by worker
    std::map<std::string, std::shared_ptr<Process>, std::less<>> processes_;  // shared with calls that wait for them
    std::map<std::string, std::string> process_vars_;                        // for those that are still to come
    Names promised_;           // names whose services are being made
    Names promised_processes_;
    const std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
};

// A name is promised to one maker while its worker starts or its constructor runs.
class Node::Promise {
public:
    Promise(Names& names, const std::string& name) : names_(names), place_(names.insert(name)) {}
    Promise(const Promise&) = delete;
    Promise& operator=(const Promise&) = delete;
    ~Promise() { names_.erase(place_); }

private:
    Names& names_;
    const Names::iterator place_;
};

}  // namespace rh::daemon
