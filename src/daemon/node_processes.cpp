// Named processes (node.h): workers that live until they are killed, whatever lives in them.

#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

using net::asio::awaitable;
using Clock = std::chrono::steady_clock;

namespace {

// Values are text; null unsets a variable.
using Vars = std::map<std::string, std::optional<std::string>>;

Result<Vars> vars_of(const Json& request) {
    Vars vars;
    const auto found = request.find("vars");
    if (found == request.end() || found->is_null()) return vars;
    if (!found->is_object()) return fail(Code::bad_arguments, "the field \"vars\" must be an object of names and values");
    for (const auto& [key, value] : found->items()) {
        if (key.empty() || key.find('=') != key.npos || key.find('\0') != key.npos) return fail(Code::bad_arguments, fmt::format("\"{}\" is no name of a variable", key));
        if (!value.is_string() && !value.is_null()) return fail(Code::bad_arguments, fmt::format("the value of the variable \"{}\" must be text or null", key));
        vars[key] = value.is_null() ? std::nullopt : std::optional(value.get<std::string>());
    }
    return vars;
}

void apply(std::map<std::string, std::string>& to, const Vars& vars) {
    for (const auto& [key, value] : vars) {
        if (value) {
            to[key] = *value;
        } else {
            to.erase(key);
        }
    }
}

Json vars_request(const Json& request) { return {{"vars", request.value("vars", Json::object())}}; }

Json run_request(const std::string& kind, const std::vector<std::string>& commands, bool stream) {
    return {{"kind", kind}, {"commands", commands}, {"stream", stream}};
}

}  // namespace

Result<std::shared_ptr<Node::Process>> Node::find_process(const std::string& name) const {
    const auto found = processes_.find(name);
    if (found == processes_.end()) {
        std::string there;
        for (const auto& [known, process] : processes_) there += (there.empty() ? "" : ", ") + known;
        return fail(Error(Code::not_found, fmt::format("there is no process \"{:.128}\" here ({})", name, there.empty() ? "none was created yet" : "there are: " + there))
                        .with("name", name.substr(0, limits::k_name_bytes_max)).with("started", "no"));
    }
    if (found->second->worker->end) {
        Error error = *found->second->worker->end;
        error.message = fmt::format("the process \"{}\" is gone: {}; create it again", name, error.message);
        return fail(std::move(error).with("started", "no"));
    }
    return found->second;
}

awaitable<Outcome> Node::create_process(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    if (const auto valid = check_name("process", *name, limits::k_name_bytes_max); !valid) co_return Outcome::failed(valid.error());
    const auto exist_ok = field<bool>(request, "exist_ok", false);
    if (!exist_ok) co_return Outcome::failed(exist_ok.error());
    const Result<Vars> vars = vars_of(request);
    if (!vars) co_return Outcome::failed(vars.error());
    if (*exist_ok) {
        const Result<void> waited = co_await wait_for_maker(promised_processes_, *name, asker);
        if (!waited) co_return Outcome::failed(waited.error());
    }
    const auto known = processes_.find(*name);
    const bool there = known != processes_.end() && !known->second->worker->end;
    if (there && *exist_ok) co_return json_outcome(process_json(*known->second));
    if (there || promised_processes_.count(*name) != 0)
        co_return Outcome::failed(Error(Code::name_taken, fmt::format("there is a process \"{}\" here: choose another name, or say exist_ok=True", *name)).with("name", *name));
    Result<void> checked;
    const std::shared_ptr<Launch> launch = launch_of(request, checked);
    if (!checked) co_return Outcome::failed(checked.error());
    auto process = std::make_shared<Process>();
    process->name = *name;
    process->vars = process_vars_;
    apply(process->vars, *vars);
    // Its own come behind the deployer's environment and take the place of what is there.
    std::erase_if(launch->env, [&](const std::string& entry) {
        const std::string key = entry.substr(0, entry.find('='));
        return process->vars.count(key) != 0 || vars->count(key) != 0;
    });
    for (const auto& [key, value] : process->vars) launch->env.push_back(key + "=" + value);
    const Promise promise(*this, promised_processes_, *name);
    const Result<std::shared_ptr<Worker>> worker = co_await start_worker_soon(launch);
    if (!worker) co_return Outcome::failed(worker.error());
    process->worker = *worker;
    process->worker->process = *name;
    const std::string whose = "process \"" + *name + '"';
    const Result<void> ready = co_await wait_ready(process->worker, whose, asker);
    if (!ready) {
        workers_.stop(*process->worker);
        co_return Outcome::failed(ready.error());
    }
    processes_[*name] = process;
    note(*process->worker);
    co_return json_outcome(process_json(*process));
}

awaitable<Outcome> Node::kill_process(const Json& request) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const auto found = processes_.find(*name);
    if (found == processes_.end()) {
        // With what there is.
        const auto why = find_process(*name);
        co_return Outcome::failed(why.error());
    }
    const std::shared_ptr<Worker> worker = found->second->worker;
    processes_.erase(found);
    Json deleted = Json::array();
    for (const auto& service : services_.all()) {
        std::erase_if(service->copies, [&](const auto& copy) { return copy.lock() == worker; });
        if (!service->lives_in(*worker)) continue;
        services_.erase(service->name);
        deleted.push_back(service->name);
    }
    worker->killed_because = fmt::format("process \"{}\" was killed", *name);
    if (!worker->end) {
        workers_.stop(*worker);
        // So that what it had is there for the next, and its name nowhere.
        co_await worker->ended.wait_until(Clock::now() + 2 * limits::k_stop_grace);
    }
    Json answer = Json::object();
    answer["deleted"] = std::move(deleted);
    co_return json_outcome(answer);
}

awaitable<Outcome> Node::set_env(const Json& request) {
    const auto name = field<std::string>(request, "process", std::string());
    if (!name) co_return Outcome::failed(name.error());
    const Result<Vars> vars = vars_of(request);
    if (!vars) co_return Outcome::failed(vars.error());
    std::vector<std::shared_ptr<Process>> told;
    if (!name->empty()) {
        const auto process = find_process(*name);
        if (!process) co_return Outcome::failed(process.error());
        told.push_back(*process);
    } else {
        apply(process_vars_, *vars);
        live_.put_vars(process_vars_);
        for (const auto& [each, process] : processes_) {
            if (!process->worker->end) told.push_back(process);
        }
        // Workers that no process has; one in another language may have no use for it.
        for (const auto& worker : workers_.all()) {
            if (worker->process.empty() && worker->connection != nullptr && worker->parking == nullptr && !worker->stopping)
                co_await router_.call(worker, "set_env", control_body(vars_request(request), Body()), Asker());
        }
    }
    for (const auto& process : told) {
        Outcome set = co_await router_.call(process->worker, "set_env", control_body(vars_request(request), Body()), Asker());
        // One that dies meanwhile needs no variables, unless it is the one that was meant.
        if (set.kind != Outcome::Kind::returned && (!name->empty() || !process->worker->end)) co_return set;
        apply(process->vars, *vars);
        note(*process->worker);
    }
    co_return json_outcome(Json::object());
}

awaitable<Outcome> Node::run(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "process");
    if (!name) co_return Outcome::failed(name.error());
    const auto kind = field<std::string>(request, "kind", std::string("bash"));
    if (!kind) co_return Outcome::failed(kind.error());
    if (*kind != "bash" && *kind != "python")
        co_return Outcome::failed(Error(Code::bad_arguments, fmt::format("what is run is \"bash\" or \"python\", not \"{:.64}\"", *kind)));
    const auto commands = field<std::vector<std::string>>(request, "commands");
    if (!commands) co_return Outcome::failed(commands.error());
    const auto stream = field<bool>(request, "stream", true);
    if (!stream) co_return Outcome::failed(stream.error());
    const auto process = find_process(*name);
    if (!process) co_return Outcome::failed(process.error());
    co_return co_await router_.call((*process)->worker, "run", control_body(run_request(*kind, *commands, *stream), Body()), asker);
}

Node::Json Node::process_json(const Process& process) const {
    const Worker& worker = *process.worker;
    Json services = Json::array();
    for (const auto& service : services_.all()) {
        if (service->lives_in(worker)) services.push_back(service->name);
    }
    return {{"name", process.name}, {"worker", worker.id}, {"pid", worker.pid}, {"vars", process.vars}, {"alive", !worker.end}, {"services", services},
            {"resources", {{"cpus", worker.allocation.cpus}, {"gpus", worker.allocation.gpus}, {"memory", worker.allocation.memory_bytes}}}};
}

Node::Json Node::processes_json() const {
    Json all = Json::object();
    for (const auto& [name, process] : processes_) all[name] = process_json(*process);
    return all;
}

}  // namespace rh::daemon
