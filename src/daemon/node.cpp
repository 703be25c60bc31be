#include "daemon/node.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unistd.h>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/code_control.h"
#include "daemon/requests.h"
#include "isolate/monitor.h"
#include "process/node_folder.h"
#include "process/spawn.h"
#include "shm/begun.h"
#include "store/checksum.h"

namespace rh::daemon {

using net::asio::awaitable;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// What a deploy asks for, checked.
struct Node::Deployment {
    std::string name;
    // Of a file's text that says only what it is called, the worker finds out.
    std::optional<Service::Kind> kind;
    bool replace = false;
    bool exist_ok = false;
    std::shared_ptr<const Loadable> code;
    std::string code_digest;

    static Result<Deployment> of(const Json& request, const Body& body, const std::string& state_folder);
};

namespace {

constexpr std::array<std::chrono::milliseconds, 3> k_learn_pauses{100ms, 1'000ms, 10'000ms};

// What a worker's place is told by, which one that deploys from inside a worker must not pass on.
bool is_mark(std::string_view variable) {
    return variable == "ROUNDHOUSE_SOCKET" || variable == "ROUNDHOUSE_WORKER" || variable == "ROUNDHOUSE_CLUSTER" || variable == "ROUNDHOUSE_NODE" ||
           variable == shm::k_begun_variable || variable == k_imports_variable;
}

Result<Amounts> amounts_of(const Json& request) {
    constexpr std::uint64_t k_devices_max = 65'536;
    Amounts amounts;
    RH_TRY(const std::uint64_t cpus, amount(request, "cpus", 0, k_devices_max));
    RH_TRY(const std::uint64_t gpus, amount(request, "gpus", 0, k_devices_max));
    RH_TRY(amounts.memory_bytes, amount(request, "memory", 0, std::uint64_t{1} << 60));
    amounts.cpus = static_cast<std::uint32_t>(cpus);
    amounts.gpus = static_cast<std::uint32_t>(gpus);
    return amounts;
}

// These stand outside the coroutines: g++ 12 cannot compile a nested initializer list within one.
Json start_answer(const std::vector<std::string>& workers, const Json& service) {
    Json answer{{"workers", workers}};
    if (!service.is_null()) answer["service"] = service;
    return answer;
}

// What was deployed: as it was asked for, or as the worker found it in a file.
Result<Service::Kind> kind_of_loaded(const std::optional<Service::Kind>& asked, const Outcome& loaded, std::size_t workers, std::string_view name) {
    Service::Kind kind = asked.value_or(Service::Kind::function);
    if (!asked) {
        const Json answer = parse_answer(loaded.body);
        RH_TRY(const auto word, field<std::string>(answer, "kind"));
        RH_TRY(kind, kind_of(word));
    }
    if (workers > 1 && kind != Service::Kind::function)
        return fail(Code::bad_arguments, fmt::format("\"{}\" is a{} {}: several workers are for functions only", name, kind == Service::Kind::object ? "n" : "", kind_name(kind)));
    return kind;
}

// What it has now, with all that comes from it: as the kernel counts it where it has a cgroup, else of those processes that can be
// told from their parents.
std::uint64_t memory_used(const Worker& worker) {
    if (worker.memory != nullptr && worker.memory->cgroup) return worker.memory->cgroup->used_bytes().value_or(0);
    return worker.pid != 0 ? isolate::tree_bytes(worker.pid) : 0;
}

bool has_variable(const std::vector<std::string>& env, std::string_view name_and_equals) {
    return std::any_of(env.begin(), env.end(), [&](const std::string& entry) { return entry.starts_with(name_and_equals); });
}

}  // namespace

Result<Node::Deployment> Node::Deployment::of(const Json& request, const Body& body, const std::string& state_folder) {
    Deployment wanted;
    RH_TRY(wanted.name, field<std::string>(request, "name"));
    Json source = request.value("source", Json::object());
    if (!source.is_object()) return fail(Code::bad_arguments, "the field \"source\" must be an object");
    const bool found_out = source.contains("file") && (!request.contains("kind") || request["kind"].is_null());
    if (!found_out) {
        RH_TRY(const auto word, field<std::string>(request, "kind"));
        RH_TRY(wanted.kind, kind_of(word));
    }
    RH_TRY(wanted.replace, field<bool>(request, "replace", false));
    RH_TRY(wanted.exist_ok, field<bool>(request, "exist_ok", false));
    RH_TRY(wanted.code_digest, field<std::string>(request, "code_digest", std::string()));
    // A file's text is its code; nobody else can tell for code that comes as a pickle.
    if (wanted.code_digest.empty() && found_out && body.part_bytes.size() > 1) wanted.code_digest = "file:" + store::digest_of(as_text(body.parts()[1]));
    RH_TRY(const std::uint64_t encoding, amount(request, "encoding", static_cast<std::uint64_t>(Encoding::pickle), 3));
    RH_TRY(const std::uint64_t concurrency, amount(request, "max_concurrency", 0, limits::k_worker_threads_max));
    RH_TRY(const std::uint64_t queue, amount(request, "max_queue", 0, limits::k_calls_per_worker_max));
    auto code = std::make_shared<Loadable>();
    if (const auto snapshot = source.find("snapshot"); snapshot != source.end() && snapshot->is_object()) {
        RH_TRY(code->snapshot, field<std::string>(*snapshot, "id"));
        (*snapshot)["path"] = sync::snapshot_path(code_folder(state_folder), code->snapshot);
    }
    code->request = dump(Json{{"name", wanted.name}, {"kind", wanted.kind ? Json(kind_name(*wanted.kind)) : Json()}, {"source", source},
                              {"encoding", encoding}, {"max_concurrency", concurrency}, {"max_queue", queue}});
    code->attachments = copy_of(body);
    wanted.code = std::move(code);
    return wanted;
}

Node::Node(About about, const net::asio::any_io_executor& executor, Services& services, Workers& workers, Router& router, net::TaskGroup& tasks, Doors& doors)
    : about_(std::move(about)), executor_(executor), services_(services), workers_(workers), router_(router), tasks_(tasks), doors_(doors), resources_(Resources::of_this_node()), fork_servers_(workers, about_.state_folder + "/workers"), live_(process::live_folder(about_.state_folder)) {
    services_.watch([this](const Service& service, const std::vector<std::string>& old_names) { live_.put(service, old_names); },
                    [this](std::string_view name) { live_.erase_service(name); });
}

awaitable<Outcome> Node::call(std::string method, Body body, Asker asker) {
    const Result<Json> request = parse_request(body);
    if (!request) co_return Outcome::failed(request.error());
    if (const auto allowed = may(asker.principal, method, *request); !allowed) co_return Outcome::failed(allowed.error());
    if (method == "start") co_return co_await start(*request, asker);
    if (method == "abandon") co_return abandon(*request, asker);
    if (method == "deploy") co_return co_await deploy(*request, body, asker);
    if (method == "create") co_return co_await create(*request, body, asker);
    if (method == "describe") co_return co_await describe(*request, asker);
    if (method == "rename") co_return co_await rename(*request);
    if (method == "delete") co_return co_await remove(*request);
    if (method == "clear") co_return co_await clear();
    if (method == "create_process") co_return co_await create_process(*request, asker);
    if (method == "processes") co_return json_outcome(processes_json());
    if (method == "kill_process") co_return co_await kill_process(*request);
    if (method == "set_env") co_return co_await set_env(*request);
    if (method == "run") co_return co_await run(*request, asker);
    if (method == "status") co_return status();
    if (method == "stack") co_return co_await stack(*request);
    if (method == "listen") co_return listen(*request);
    if (method == "unlisten") co_return unlisten();
    if (method == "listening") co_return json_outcome(doors_.listening.description());
    if (method == "token_create") co_return token_create(*request);
    if (method == "tokens") co_return tokens();
    if (method == "token_revoke") co_return token_revoke(*request);
    if (method == "upgrade") co_return upgrade(*request, asker.principal);
    if (method == "webhook_secret") co_return webhook_secret();
    if (method == "stop") {
        workers_.shut_down();
        co_return json_outcome(Json::object());
    }
    co_return Outcome::failed(Error(Code::not_found, fmt::format("\"_node\" has no method \"{:.64}\"; it has start, abandon, deploy, create, describe, rename, delete, clear, "
                                                                 "create_process, processes, kill_process, set_env, run, status, stack, listen, unlisten, listening, token_create, tokens, token_revoke, run_start, run_get, run_list, run_logs, run_result, run_cancel, run_forget, run_import, code_offer, code_manifest, code_files, code_commit, code_fetch, webhook_secret, upgrade and stop", method)));
}

// --- workers -------------------------------------------------------------------------------------------------------

std::shared_ptr<Launch> Node::launch_of(const Json& request, Result<void>& checked) const {
    auto launch = std::make_shared<Launch>();
    const auto fill = [&]() -> Result<void> {
        RH_TRY(launch->argv, field<std::vector<std::string>>(request, "command"));
        if (launch->argv.empty()) return fail(Code::bad_arguments, "the field \"command\" is empty");
        RH_TRY(launch->cwd, field<std::string>(request, "cwd"));
        RH_TRY(const auto env, (field<std::map<std::string, std::string>>(request, "env")));
        for (const auto& [key, value] : env) {
            if (!is_mark(key)) launch->env.push_back(key + "=" + value);
        }
        launch->env.push_back("ROUNDHOUSE_SOCKET=" + about_.socket_path);
        launch->env.push_back("ROUNDHOUSE_CLUSTER=" + about_.cluster_name);
        RH_TRY(launch->amounts, amounts_of(request));
        if (request.contains("import_path")) {
            RH_TRY(launch->import_path, field<std::vector<std::string>>(request, "import_path", std::vector<std::string>()));
        }
        return {};
    };
    checked = fill();
    return launch;
}

Result<std::shared_ptr<Worker>> Node::start_worker(std::shared_ptr<const Launch> launch) {
    const std::string id = Workers::new_id();
    RH_TRY(Allocation allocation, resources_.take(id, launch->amounts, [this](const std::string& other) { return holder(other); }));
    Workers::Command command{launch->argv, launch->env, launch->cwd, allocation.cpus, allocation.memory_bytes};
    if (!allocation.gpus.empty()) {
        command.env = process::without_prefix(std::move(command.env), "CUDA_VISIBLE_DEVICES=");
        command.env.push_back(fmt::format("CUDA_VISIBLE_DEVICES={}", fmt::join(allocation.gpus, ",")));
    }
    // Numerical libraries would otherwise start as many threads as the machine has CPUs, on the few that it may use.
    if (!allocation.cpus.empty() && !has_variable(command.env, "OMP_NUM_THREADS=")) command.env.push_back(fmt::format("OMP_NUM_THREADS={}", allocation.cpus.size()));
    std::shared_ptr<Forkable> forkable;
    if (launch->import_path && !has_variable(command.env, "ROUNDHOUSE_FORK_SERVER=0")) {
        forkable = std::make_shared<Forkable>(Forkable{command.argv, command.env, command.cwd, *launch->import_path});
        command.fork_server = fork_servers_.choose(*forkable);
        command.import_path = *launch->import_path;
        command.env.push_back(fmt::format("{}={}", k_imports_variable, fork_servers_.imports_path_of(id)));
    }
    Result<std::shared_ptr<Worker>> worker = workers_.start(id, std::move(command));
    if (!worker) {
        resources_.give_back(id);
        return worker;
    }
    (*worker)->launch = std::move(launch);
    (*worker)->forkable = std::move(forkable);
    (*worker)->allocation = std::move(allocation);
    note(**worker);
    return worker;
}

// The next worker like this one need not import what it has imported. Some of that comes with its code and some only with the calls
// that need it; none of it is worth keeping a call waiting for.
awaitable<void> Node::learn(std::weak_ptr<Worker> taught) {
    for (const auto pause : k_learn_pauses) {
        net::Event never(executor_);
        co_await never.wait_until(Clock::now() + pause);
        const std::shared_ptr<Worker> worker = taught.lock();
        if (worker == nullptr || worker->end || worker->stopping || worker->connection == nullptr) co_return;
        fork_servers_.learn_from(*worker);
        if (!std::exchange(watches_fork_servers_, true)) tasks_.spawn(end_idle_fork_servers());
    }
    if (const std::shared_ptr<Worker> worker = taught.lock()) worker->teaches = false;
}

void Node::learn_from(const Service& service) {
    for (const auto& worker : service.workers) {
        if (worker->forkable != nullptr && !std::exchange(worker->teaches, true)) tasks_.spawn(learn(worker));
    }
}

awaitable<void> Node::end_idle_fork_servers() {
    do {
        net::Event never(executor_);
        co_await never.wait_until(Clock::now() + limits::k_fork_servers_pause);
    } while (fork_servers_.end_idle());
    watches_fork_servers_ = false;
}

// What a worker has that was told to end comes back in a moment: a service that is deleted and deployed again must not be
// refused for it.
awaitable<Result<std::shared_ptr<Worker>>> Node::start_worker_soon(std::shared_ptr<const Launch> launch) {
    const auto deadline = Clock::now() + 2 * limits::k_stop_grace;
    for (;;) {
        Result<std::shared_ptr<Worker>> worker = start_worker(launch);
        const auto all = workers_.all();
        const bool more_comes = std::any_of(all.begin(), all.end(), [](const auto& each) { return each->stopping || each->killed_for != 0; });
        if (worker || worker.error().code != Code::limit_exceeded || !launch->amounts.any() || !more_comes || Clock::now() >= deadline) co_return worker;
        co_await resources_.wait_for_more(executor_, deadline);
    }
}

// Who has a worker, for people.
std::string Node::holder(const std::string& worker_id) const {
    const std::shared_ptr<Worker> worker = workers_.find(worker_id);
    if (worker == nullptr) return "a worker";
    if (!worker->process.empty()) return fmt::format("process \"{}\"", worker->process);
    for (const auto& service : services_.all()) {
        if (service->lives_in(*worker)) return fmt::format("\"{}\"", service->name);
    }
    return worker->stopping || worker->retired ? "a worker that is ending" : "a worker that is starting";
}

awaitable<Result<void>> Node::wait_ready(std::shared_ptr<Worker> worker, std::string for_whom, const Asker& asker) {
    const auto late = worker->started_at + limits::k_worker_start_timeout;
    const auto due = due_of(asker);
    Waiting waiting(waiting_, asker, worker->ready);
    const bool ready = co_await worker->ready.wait_until(std::min(late, due));
    // Whoever is told so ends the worker.
    if (!ready && due < late) co_return fail(Error(Code::timeout, fmt::format("the worker for {} did not connect within the timeout", for_whom)).with("started", "no").with("still_running", "False"));
    if (waiting.cancelled) co_return fail(Error(Code::cancelled, fmt::format("it was cancelled while the worker for {} started", for_whom)).with("started", "no").with("still_running", "False"));
    // It was there and is gone again: the keeper is about to tell how it ended.
    if (ready && worker->connection == nullptr) co_await worker->ended.wait_until(std::min(late, due));
    if (ready && !worker->end) co_return Result<void>();
    Error error(Code::setup_failed, fmt::format("the worker for {} {}: {}", for_whom, ready ? "did not start" : "did not connect in time",
                                                worker->end ? worker->end->message : "see its stderr"));
    if (worker->end) error.context = worker->end->context;
    if (worker->end && worker->end->code == Code::out_of_memory) error.code = Code::out_of_memory;
    co_return fail(std::move(error));
}

// They come behind the deployer's environment and take the place of what is there.
void Node::add_vars(Launch& launch, const std::map<std::string, std::string>& vars) {
    std::erase_if(launch.env, [&](const std::string& entry) { return vars.count(entry.substr(0, entry.find('='))) != 0; });
    for (const auto& [key, value] : vars) launch.env.push_back(key + "=" + value);
}

// The deployer encodes its code while the workers start; nothing but the deploy that follows may use them.
awaitable<Outcome> Node::start(const Json& request, Asker asker) {
    Result<void> checked;
    const std::shared_ptr<Launch> launch = launch_of(request, checked);
    if (!checked) co_return Outcome::failed(checked.error());
    add_vars(*launch, process_vars_);
    const auto count = amount(request, "count", 1, limits::k_workers_max);
    if (!count) co_return Outcome::failed(count.error());
    if (*count == 0) co_return Outcome::failed(Error(Code::bad_arguments, "the field \"count\" must be at least 1"));
    const auto exist_ok = field<bool>(request, "exist_ok", false);
    if (!exist_ok) co_return Outcome::failed(exist_ok.error());
    std::shared_ptr<Promise> claim;
    if (*exist_ok) {
        const Result<Sought> sought = sought_in(request);
        if (!sought) co_return Outcome::failed(sought.error());
        const Result<Json> found = co_await find(*sought, asker);
        if (!found) co_return Outcome::failed(found.error());
        if (!found->is_null()) co_return json_outcome(start_answer({}, *found));
        if (const auto free = check_free(sought->name, false, is_live_object(sought->kind)); !free) co_return Outcome::failed(free.error());
        claim = std::make_shared<Promise>(*this, promised_, sought->name, asker);
    }
    std::vector<std::shared_ptr<Worker>> workers;
    std::optional<Error> why;
    while (workers.size() < *count && !why) {
        Result<std::shared_ptr<Worker>> worker = co_await start_worker_soon(launch);
        if (worker) {
            workers.push_back(std::move(*worker));
        } else {
            why = std::move(worker.error());
        }
        // Nobody would end the worker of a client that was gone before this ran.
        if (asker.get() == nullptr) why = Error(Code::node_lost, "the client is gone");
    }
    if (why) {
        for (const auto& worker : workers) workers_.stop(*worker);
        co_return Outcome::failed(std::move(*why));
    }
    std::vector<std::string> ids;
    for (const auto& worker : workers) {
        started_[worker->id] = Started{worker, asker.caller, claim};
        ids.push_back(worker->id);
    }
    co_return json_outcome(start_answer(ids, Json()));
}

Outcome Node::abandon(const Json& request, const Asker& asker) {
    for (const Started& started : take_started(request, asker)) workers_.stop(*started.worker);
    return json_outcome(Json::object());
}

// Those that are named, each once, as far as the same client has started them.
std::vector<Node::Started> Node::take_started(const Json& request, const Asker& asker) {
    std::vector<Started> taken;
    const auto ids = field<std::vector<std::string>>(request, "workers", std::vector<std::string>());
    if (!ids) return taken;
    for (const std::string& id : *ids) {
        const auto found = started_.find(id);
        if (found != started_.end() && found->second.by == asker.caller) taken.push_back(std::move(started_.extract(found).mapped()));
    }
    return taken;
}

void Node::drop_client(const Caller& client) {
    for (Waiting* const waiting : waiting_) {
        if (waiting->by == &client) waiting->cancel();
    }
    for (auto at = started_.begin(); at != started_.end();) {
        if (at->second.by != &client) {
            ++at;
            continue;
        }
        workers_.stop(*at->second.worker);
        at = started_.erase(at);
    }
}

// --- deploy --------------------------------------------------------------------------------------------------------

awaitable<Outcome> Node::deploy(const Json& request, const Body& body, Asker asker) {
    std::vector<std::shared_ptr<Worker>> workers;
    std::shared_ptr<Promise> claim;
    for (Started& started : take_started(request, asker)) {
        workers.push_back(std::move(started.worker));
        claim = std::move(started.claim);
    }
    const auto give_up = [&](const Error& why) {
        for (const auto& worker : workers) workers_.stop(*worker);
        return Outcome::failed(why);
    };
    const Result<Deployment> wanted = Deployment::of(request, body, about_.state_folder);
    if (!wanted) co_return give_up(wanted.error());
    const std::string& name = wanted->name;
    const auto process_name = field<std::string>(request, "process", std::string());
    if (!process_name) co_return give_up(process_name.error());
    const std::size_t named = request.contains("workers") && request["workers"].is_array() ? request["workers"].size() : 0;
    if (named != workers.size() || (named == 0) == process_name->empty())
        co_return give_up(Error(Code::bad_arguments, "the field \"workers\" must name workers that the same client has started and not deployed to yet, or \"process\" a process"));
    if (wanted->kind) {
        if (const auto kind = kind_of_loaded(wanted->kind, Outcome(), named, name); !kind) co_return give_up(kind.error());
    }
    const bool claimed = claim != nullptr && claim->name() == name;
    if (wanted->exist_ok && !claimed) {
        const Result<Sought> sought = sought_in(request);
        if (!sought) co_return give_up(sought.error());
        const Result<Json> found = co_await find(*sought, asker);
        if (!found) co_return give_up(found.error());
        if (!found->is_null()) {
            give_up(Error());
            co_return json_outcome(*found);
        }
    }
    if (const auto free = check_free(name, wanted->replace, is_live_object(wanted->kind.value_or(Service::Kind::function)), claimed); !free) {
        const std::shared_ptr<Service> same = same_there(*wanted);
        if (same == nullptr) co_return give_up(free.error());
        give_up(Error());
        co_return json_outcome(description_of(*same));
    }
    if (!claimed) claim = std::make_shared<Promise>(*this, promised_, name, asker);
    claim->kept_by(asker);
    if (!process_name->empty()) {
        const auto process = find_process(*process_name);
        if (!process) co_return give_up(process.error());
        const auto service = std::make_shared<Service>();
        service->workers = {(*process)->worker};
        service->process = *process_name;
        Outcome loaded = co_await load(*wanted, service->workers, asker);
        if (loaded.kind != Outcome::Kind::returned) co_return loaded;
        const auto kind = kind_of_loaded(wanted->kind, loaded, 1, name);
        if (!kind) co_return Outcome::failed(kind.error());
        service->name = name;
        service->kind = *kind;
        service->code = wanted->code;
        service->code_digest = wanted->code_digest;
        co_return co_await finish(service, loaded, wanted->exist_ok);
    }
    for (const auto& worker : workers) {
        const std::string whose = '"' + name + '"';
        const Result<void> ready = co_await wait_ready(worker, whose, asker);
        if (!ready) co_return give_up(ready.error());
    }
    Outcome loaded = co_await load(*wanted, workers, asker);
    if (loaded.kind != Outcome::Kind::returned) {
        give_up(Error());
        co_return loaded;
    }
    const auto kind = kind_of_loaded(wanted->kind, loaded, workers.size(), name);
    if (!kind) co_return give_up(kind.error());
    const auto service = std::make_shared<Service>();
    service->name = name;
    service->kind = *kind;
    service->code = wanted->code;
    service->code_digest = wanted->code_digest;
    service->workers = workers;
    co_return co_await finish(service, loaded, wanted->exist_ok);
}

// What has the name already, where that is the same code and nothing but runs keeps it busy: whoever starts a program again to look
// on at its run sends the code as the first time.
std::shared_ptr<Service> Node::same_there(const Deployment& wanted) const {
    const std::shared_ptr<Service> there = services_.find(wanted.name);
    if (there == nullptr || there->dead || there->kind != wanted.kind || is_live_object(there->kind) || promised_.count(wanted.name) != 0) return nullptr;
    const bool same = !wanted.code_digest.empty() && there->code_digest == wanted.code_digest;
    return same && there->calls != 0 && there->calls == runs_of_(there->name) ? there : nullptr;
}

// Before it is loaded there, so that its snapshot stays as long as the worker.
void Node::note_code(Worker& worker, const Loadable& code) {
    if (!code.snapshot.empty() && worker.snapshots.insert(code.snapshot).second) note(worker);
}

std::set<std::string, std::less<>> Node::snapshots() const {
    std::set<std::string, std::less<>> all;
    for (const auto& worker : workers_.all()) all.insert(worker->snapshots.begin(), worker->snapshots.end());
    for (const auto& service : services_.all()) {
        if (service->code != nullptr && !service->code->snapshot.empty()) all.insert(service->code->snapshot);
    }
    return all;
}

// All at once; the first that failed, or what the first worker said.
awaitable<Outcome> Node::load(const Deployment& wanted, const std::vector<std::shared_ptr<Worker>>& workers, const Asker& asker) {
    const Json request = Json::parse(wanted.code->request);
    std::vector<std::shared_ptr<Reply>> replies;
    if (const std::string& snapshot = wanted.code->snapshot; !snapshot.empty()) {
        if (const Result<void> here = check_code_(snapshot); !here) co_return Outcome::failed(here.error());
    }
    for (const auto& worker : workers) note_code(*worker, *wanted.code);
    for (const auto& worker : workers) replies.push_back(router_.begin(*worker, "load", control_body(request, wanted.code->attachments), asker));
    const auto end = std::make_shared<net::Event>(executor_);
    for (const auto& reply : replies) reply->bell = end;
    const auto has_failed = [](const auto& reply) { return reply->arrived.is_set() && reply->outcome.kind != Outcome::Kind::returned; };
    const auto has_arrived = [](const auto& reply) { return reply->arrived.is_set(); };
    // Nothing comes of the others where one has failed, however long they take.
    while (std::none_of(replies.begin(), replies.end(), has_failed) && !std::all_of(replies.begin(), replies.end(), has_arrived)) {
        end->reset();
        co_await end->wait();
    }
    const auto failed = std::find_if(replies.begin(), replies.end(), has_failed);
    if (failed != replies.end()) co_return std::move((*failed)->outcome);
    if (std::any_of(replies.begin(), replies.end(), [](const auto& reply) { return reply->released; })) {
        // Whoever asked was told that it would not be: a process forgets it again.
        for (const auto& worker : workers) co_await leave(worker, wanted.name);
        co_return Outcome::failed(Error(Code::cancelled, "it came too late for whoever asked"));
    }
    const auto lost = std::find_if(workers.begin(), workers.end(), [](const auto& worker) { return worker->end.has_value(); });
    if (lost != workers.end()) co_return Outcome::failed(*(*lost)->end);
    co_return std::move(replies.front()->outcome);
}

// --- status --------------------------------------------------------------------------------------------------------

Outcome Node::status() const {
    const auto now = Clock::now();
    const auto seconds = [&](auto since) { return std::chrono::duration<double>(now - since).count(); };
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    Json services = Json::array();
    for (const auto& service : services_.all()) {
        const Worker& worker = *service->workers.front();
        services.push_back({{"name", service->name}, {"kind", kind_name(service->kind)}, {"language", service->language}, {"worker", worker.id}, {"pid", worker.pid},
                            {"workers", service->workers.size()}, {"process", or_null(service->process)}, {"calls", service->calls}, {"alive", !service->dead}});
    }
    Json workers = Json::array();
    for (const auto& worker : workers_.all())
        workers.push_back({{"id", worker->id}, {"pid", worker->pid}, {"language", worker->language}, {"connected", worker->connection != nullptr}, {"process", or_null(worker->process)},
                           {"cpus", worker->allocation.cpus}, {"gpus", worker->allocation.gpus}, {"memory", worker->allocation.memory_bytes}, {"memory_used", memory_used(*worker)},
                           {"calls", worker->routes.size()}, {"uptime_s", seconds(worker->started_at)}});
    const process::Enforcer enforcer = workers_.memory_enforcer();
    const Allocation& all = resources_.all();
    const Allocation& unused = resources_.unused();
    const Json resources{{"cpus", all.cpus}, {"cpus_free", unused.cpus}, {"gpus", all.gpus}, {"gpus_free", unused.gpus},
                         {"memory", all.memory_bytes}, {"memory_free", unused.memory_bytes},
                         {"memory_enforced", enforcer != process::Enforcer::nobody}, {"memory_enforced_by", enforcer != process::Enforcer::nobody ? Json(process::enforcer_name(enforcer)) : Json()}};
    return json_outcome({{"name", about_.cluster_name}, {"pid", ::getpid()}, {"keeper_pid", ::getppid()}, {"version", ROUNDHOUSE_VERSION}, {"program", process::own_program()},
                         {"state_folder", about_.state_folder}, {"uptime_s", seconds(started_at_)}, {"services", services}, {"workers", workers},
                         {"processes", processes_json()}, {"resources", resources}, {"fork_servers", fork_servers_.status()}, {"calls", router_.calls_total()}});
}

}  // namespace rh::daemon
