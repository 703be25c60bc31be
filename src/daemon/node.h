#pragma once

// The service "_node" (protocol/node.md): workers and what is deployed to them (node.cpp), names and objects (node_names.cpp),
// what is found or made (node_finding.cpp), named processes (node_processes.cpp), workers that take a dead one's place
// (node_successors.cpp), what outlives a daemon (node_restart.cpp), what calls do just now (node_stacks.cpp), and who may come in (node_doors.cpp). Each call is a coroutine of the Daemon's; replies go to the
// stream that asked.

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "daemon/doors.h"
#include "daemon/fork_servers.h"
#include "daemon/live.h"
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
    Node(About about, const net::asio::any_io_executor& executor, Services& services, Workers& workers, Router& router, net::TaskGroup& tasks, Doors& doors);

    net::asio::awaitable<Outcome> call(std::string method, Body body, Asker asker);
    // Takes over what a daemon before this one had, as far as its workers live: those whose calls are to be heard of now. The rest is
    // ended (node_restart.cpp).
    std::vector<std::shared_ptr<Worker>> restore(const std::vector<Workers::Left>& left);
    // That call waits no longer for a worker or for whoever makes what it wants, if it does.
    void cancel(const Caller& client, std::uint64_t stream);
    // A client is gone: it waits for nothing, and workers that it started and has not deployed to are ended.
    void drop_client(const Caller& client);
    // A worker will end, as its connection was lost or it is being killed: calls wait for its successor, if it is to have one.
    void on_worker_lost(Worker& worker);
    // Who knows how many of a service's calls are runs: one that only those keep busy may be sent again, if it is the same.
    void count_runs_with(std::function<std::size_t(const std::string& service)> runs_of) { runs_of_ = std::move(runs_of); }
    // Who knows the session and the stream by which a run that is running is called.
    using RunCalled = std::function<std::optional<std::pair<std::string, std::uint64_t>>(const std::string& run)>;
    void find_runs_with(RunCalled run_called) { run_called_ = std::move(run_called); }
    // Who knows whether a snapshot of code is on this node.
    void check_code_with(std::function<Result<void>(const std::string& snapshot)> check) { check_code_ = std::move(check); }
    // The snapshots of code that what lives here needs.
    std::set<std::string, std::less<>> snapshots() const;
    // It has ended; to be told before its calls are failed.
    void on_worker_end(Worker& worker);

private:
    using Json = nlohmann::json;
    using Names = std::multiset<std::string, std::less<>>;

    class Promise;
    class Waiting;

    // A worker without a service yet, and who is about to give it one.
    struct Started {
        std::shared_ptr<Worker> worker;
        const Caller* by = nullptr;
        std::shared_ptr<Promise> claim;  // to the name that the service is to have; shared by all that were started for it
    };
    // What is to be found under a name, or made.
    struct Sought {
        std::string name;
        Service::Kind kind = Service::Kind::function;
        std::vector<std::string> classes;  // the names of the class that an instance or object is to be of; empty: any
    };
    // A worker with a name, which lives until it is killed.
    struct Process {
        std::string name;
        std::shared_ptr<Worker> worker;
        std::map<std::string, std::string> vars;
    };
    // What a deploy asks for, checked.
    struct Deployment;

    // node.cpp
    net::asio::awaitable<Outcome> start(const Json& request, Asker asker);
    Outcome abandon(const Json& request, const Asker& asker);
    net::asio::awaitable<Outcome> deploy(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Outcome> load(const Deployment& wanted, const std::vector<std::shared_ptr<Worker>>& workers, const Asker& asker);
    void note_code(Worker& worker, const Loadable& code);
    std::shared_ptr<Service> same_there(const Deployment& wanted) const;
    Outcome status() const;
    static void add_vars(Launch& launch, const std::map<std::string, std::string>& vars);
    std::shared_ptr<Launch> launch_of(const Json& request, Result<void>& checked) const;
    Result<std::shared_ptr<Worker>> start_worker(std::shared_ptr<const Launch> launch);
    void learn_from(const Service& service);
    net::asio::awaitable<void> learn(std::weak_ptr<Worker> taught);
    net::asio::awaitable<void> end_idle_fork_servers();
    net::asio::awaitable<Result<std::shared_ptr<Worker>>> start_worker_soon(std::shared_ptr<const Launch> launch);
    std::string holder(const std::string& worker_id) const;
    net::asio::awaitable<Result<void>> wait_ready(std::shared_ptr<Worker> worker, std::string for_whom, const Asker& asker = Asker());
    std::vector<Started> take_started(const Json& request, const Asker& asker);

    // node_finding.cpp
    // The description of what is there, waiting for whoever makes it just now; null when it is the asker's to make.
    net::asio::awaitable<Result<Json>> find(Sought sought, Asker& asker);
    // Until nobody is making what has that name; what is left of the asker's time shrinks meanwhile.
    net::asio::awaitable<Result<void>> wait_for_maker(const Names& names, std::string name, Asker& asker);
    Result<void> check_fits(const Service& there, const Sought& sought) const;
    // Whether the asker's call is made from within the one that makes what has that name: it would wait for itself.
    bool is_within_maker(const Asker& asker, std::string_view name) const;
    void wake(const Names& names, std::string_view name);
    static Result<Sought> sought_in(const Json& request);
    Sought sought_by_create(const std::string& class_name, const std::string& method, std::string name) const;
    std::vector<std::string> classes_of(const Service& service) const;

    // node_names.cpp
    // `claimed` says that whoever asks was promised the name.
    Result<void> check_free(std::string_view name, bool replace, bool for_object, bool claimed = false) const;
    net::asio::awaitable<Outcome> create(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Result<std::shared_ptr<Worker>>> place_for(std::shared_ptr<Service> maker, std::string process, Asker asker);
    net::asio::awaitable<Outcome> finish(std::shared_ptr<Service> service, const Outcome& loaded, bool says_found);
    net::asio::awaitable<Outcome> rename(const Json& request);
    net::asio::awaitable<Outcome> remove(const Json& request);
    net::asio::awaitable<Outcome> clear();
    net::asio::awaitable<Outcome> describe(const Json& request, Asker asker);
    net::asio::awaitable<void> add_schemas(std::shared_ptr<Service> service, Json& description, Asker asker);
    Json description_of(const Service& service) const;
    // What a service that lost its name leaves behind: its workers end, with their last call, unless something else lives
    // there. `successor` has the name now, or is null.
    net::asio::awaitable<void> retire(std::shared_ptr<Service> service, std::shared_ptr<Service> successor);
    net::asio::awaitable<void> leave(std::shared_ptr<Worker> worker, std::string name);

    // node_processes.cpp
    net::asio::awaitable<Outcome> create_process(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> kill_process(const Json& request);
    net::asio::awaitable<Outcome> set_env(const Json& request);
    net::asio::awaitable<Outcome> run(const Json& request, Asker asker);
    Result<std::shared_ptr<Process>> find_process(const std::string& name) const;
    Json process_json(const Process& process) const;
    Json processes_json() const;

    // node_stacks.cpp
    using Asked = std::map<std::shared_ptr<Worker>, std::set<std::uint64_t>>;  // streams of theirs
    net::asio::awaitable<Outcome> stack(const Json& request);
    Result<Asked> asked_for(const std::string& name) const;

    // node_doors.cpp
    Result<void> may(const Principal& principal, std::string_view method, const Json& request) const;
    Outcome listen(const Json& request);
    Outcome unlisten();
    Outcome upgrade(const Json& request, const Principal& principal);
    Outcome webhook_secret();
    Outcome token_create(const Json& request);
    Outcome tokens() const;
    Outcome token_revoke(const Json& request);

    // node_restart.cpp
    void note(const Worker& worker);
    std::shared_ptr<Worker> restore_worker(const Workers::Left& left, const Json& about);
    void restore_service(const Live::Record& record);

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
    Doors& doors_;
    Resources resources_;
    ForkServers fork_servers_;
    bool watches_fork_servers_ = false;
    Live live_;
    std::function<std::size_t(const std::string&)> runs_of_;
    RunCalled run_called_;
    std::function<Result<void>(const std::string&)> check_code_;
    std::list<Waiting*> waiting_;  // each stands in the coroutine that waits
    std::list<const Promise*> promises_;
    Names promised_;               // names whose services are being made
    Names promised_processes_;
    std::map<std::string, Started> started_;  // by worker
    std::map<std::string, std::shared_ptr<Process>, std::less<>> processes_;  // shared with calls that wait for them
    std::map<std::string, std::string> process_vars_;                        // for those that are still to come
    const std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
};

// A name is promised to one maker while its worker starts or its constructor runs. Whoever waits for the maker is woken then.
class Node::Promise {
public:
    // `by` is the call that makes it, as far as that is known.
    Promise(Node& node, Names& names, const std::string& name, const Asker& by = Asker()) : node_(node), names_(names), place_(names.insert(name)) {
        kept_by(by);
        at_ = node_.promises_.insert(node_.promises_.end(), this);
    }
    Promise(const Promise&) = delete;
    Promise& operator=(const Promise&) = delete;
    ~Promise() {
        const std::string name = *place_;
        node_.promises_.erase(at_);
        names_.erase(place_);
        node_.wake(names_, name);
    }

    const std::string& name() const { return *place_; }
    void kept_by(const Asker& by) {
        by_ = by.caller;
        stream_ = by.stream;
    }
    bool is_kept_by(const Caller* by, std::uint64_t stream) const { return by_ != nullptr && by_ == by && stream_ == stream; }

private:
    Node& node_;
    Names& names_;
    const Names::iterator place_;
    std::list<const Promise*>::iterator at_;
    const Caller* by_ = nullptr;
    std::uint64_t stream_ = 0;
};

// A call of the node's own that waits for an event, which a cancel of the call sets as well.
class Node::Waiting {
public:
    Waiting(std::list<Waiting*>& all, const Asker& asker, net::Event& event) : by(asker.caller), stream(asker.stream), all_(all), event_(event), place_(all.insert(all.end(), this)) {}
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() { all_.erase(place_); }

    void wake() { event_.set(); }
    void cancel() {
        cancelled = true;
        event_.set();
    }

    const Caller* const by;
    const std::uint64_t stream;
    bool cancelled = false;
    const Names* names = nullptr;  // what it waits for, if that is a name
    std::string name;

private:
    std::list<Waiting*>& all_;
    net::Event& event_;
    const std::list<Waiting*>::iterator place_;
};

}  // namespace rh::daemon
