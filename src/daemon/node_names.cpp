// Names, and the objects that have them (node.h): create, rename, delete, describe.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// What stands first in the paths of the node's own routes (protocol/http.md, Short routes).
constexpr std::array<std::string_view, 15> k_routes{"v1", "docs", "metrics", "check", "status", "keys", "processes", "cert", "object", "rename", "delete_object",
                                                    "create_process", "kill_process", "env_vars", "run_bash"};

// These stand outside the coroutines: g++ 12 cannot compile a nested initializer list within one.
Json create_request(const Service& maker, const std::string& method, const std::string& name, std::uint64_t encoding) {
    return {{"class", maker.name}, {"method", method.empty() ? Json() : Json(method)}, {"name", name}, {"encoding", encoding}};
}
Json schema_request(const std::string& name) { return {{"name", name}}; }
Json delete_request(const std::string& name) { return {{"name", name}}; }
Json rename_request(const std::string& name, const std::string& to) { return {{"name", name}, {"to", to}}; }

Error name_taken(std::string message, std::string_view name) { return Error(Code::name_taken, std::move(message)).with("name", std::string(name)); }

Error gone(const Service& service) {
    Error error = *service.dead;
    error.message = fmt::format("the {} \"{}\" is gone: {}; deploy it again", service.kind == Service::Kind::klass ? "class" : "service", service.name, error.message);
    return error;
}

}  // namespace

// A name may be taken over from an idle service, and from a dead one. `for_object` says that an instance or object wants
// it: a class or function never displaces somebody's live object unasked, nor an object somebody's function.
Result<void> Node::check_free(std::string_view name, bool replace, bool for_object, bool claimed) const {
    RH_TRY_VOID(check_name("service", name, limits::k_name_bytes_max));
    if (name.front() == '_') return fail(Code::invalid_name, fmt::format("\"{}\" is not a service name: those that begin with '_' are the node's own", name));
    if (std::find(k_routes.begin(), k_routes.end(), name) != k_routes.end())
        return fail(Code::invalid_name, fmt::format("\"{}\" is not a service name: over HTTP it is a route of the node's own (protocol/http.md). Try: another name=", name));
    if (promised_.count(name) > (claimed ? 1U : 0U)) return fail(name_taken(fmt::format("\"{}\" is being made by another caller just now: wait, or choose another name", name), name));
    const std::shared_ptr<Service> there = services_.find(name);
    if (there == nullptr && services_.count() >= limits::k_services_max)
        return fail(Code::limit_exceeded, fmt::format("{} services are here, the most that are allowed: delete some", services_.count()));
    if (there == nullptr || there->dead || replace) return {};
    const bool is_object = is_live_object(there->kind);
    if (is_object != for_object)
        return fail(name_taken(fmt::format("\"{}\" is the name of {} here: choose another name, or say replace=True", name,
                                           is_object ? fmt::format("a live {}", kind_name(there->kind)) : fmt::format("a deployed {}", kind_name(there->kind))), name));
    if (there->calls > 0)
        return fail(name_taken(fmt::format("\"{}\" has {} call{} in flight: wait for {}, choose another name, or say replace=True", name, there->calls,
                                           there->calls == 1 ? "" : "s", there->calls == 1 ? "it" : "them"), name));
    return {};
}

awaitable<Outcome> Node::create(const Json& request, const Body& body, Asker asker) {
    const auto class_name = field<std::string>(request, "class");
    if (!class_name) co_return Outcome::failed(class_name.error());
    const auto method = field<std::string>(request, "method", std::string());
    if (!method) co_return Outcome::failed(method.error());
    const auto replace = field<bool>(request, "replace", false);
    if (!replace) co_return Outcome::failed(replace.error());
    const auto wanted = field<std::string>(request, "name", std::string());
    if (!wanted) co_return Outcome::failed(wanted.error());
    const auto process = field<std::string>(request, "process", std::string());
    if (!process) co_return Outcome::failed(process.error());
    const auto encoding = amount(request, "encoding", 0, 3);
    if (!encoding) co_return Outcome::failed(encoding.error());
    const auto exist_ok = field<bool>(request, "exist_ok", false);
    if (!exist_ok) co_return Outcome::failed(exist_ok.error());
    if (*exist_ok) {
        if (wanted->empty()) co_return Outcome::failed(Error(Code::bad_arguments, "the field \"exist_ok\" needs a \"name\" to find"));
        const Result<Json> there = co_await find(sought_by_create(*class_name, *method, *wanted), asker);
        if (!there) co_return Outcome::failed(there.error());
        if (!there->is_null()) co_return json_outcome(*there);
    }
    const Result<std::shared_ptr<Service>> found = services_.get(*class_name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> maker = *found;
    if (maker->kind != Service::Kind::klass && method->empty())
        co_return Outcome::failed(Error(Code::bad_arguments, fmt::format("\"{}\" is not a class: it cannot be instantiated", *class_name)));
    if (maker->dead) co_return Outcome::failed(gone(*maker));
    const std::string name = wanted->empty() ? services_.free_name(*class_name + "-1", promised_) : *wanted;
    if (const auto free = check_free(name, *replace, true); !free) co_return Outcome::failed(free.error());
    const Promise promise(*this, promised_, name, asker);
    // Counted, so that its maker is not replaced under it.
    struct Busy {
        Service& service;
        explicit Busy(Service& of) : service(of) { ++service.calls; }
        ~Busy() { --service.calls; }
    };
    const Busy busy(*maker);
    const Result<std::shared_ptr<Worker>> place = co_await place_for(maker, *process, asker);
    if (!place) co_return Outcome::failed(place.error());
    const std::shared_ptr<Worker> worker = *place;
    Outcome created = co_await router_.call(worker, "create", control_body(create_request(*maker, *method, name, *encoding), body), asker);
    if (created.kind == Outcome::Kind::failed && !created.error.fact("came_late").empty()) co_await leave(worker, name);
    if (created.kind != Outcome::Kind::returned) co_return created;
    const auto service = std::make_shared<Service>();
    service->name = name;
    service->kind = method->empty() ? Service::Kind::instance : Service::Kind::object;
    if (maker->kind == Service::Kind::klass) {
        service->class_name = maker->name;
        service->code_digest = maker->code_digest;
    }
    service->process = worker->process;
    service->workers = {worker};
    co_return co_await finish(service, created, *exist_ok);
}

// The worker in which `maker` makes something: its own, or that of the process, where it is loaded first if need be.
awaitable<Result<std::shared_ptr<Worker>>> Node::place_for(std::shared_ptr<Service> maker, std::string process_name, Asker asker) {
    if (process_name.empty() || process_name == maker->process) {
        Worker* const picked = maker->pick();
        for (const auto& worker : maker->workers) {
            if (worker.get() == picked) co_return worker;
        }
        co_return fail(Error(Code::worker_died, fmt::format("the worker of \"{}\" is going away; deploy it again", maker->name)).with("started", "no"));
    }
    const auto process = find_process(process_name);
    if (!process) co_return fail(process.error());
    const std::shared_ptr<Worker> worker = (*process)->worker;
    for (const auto& copy : maker->copies) {
        if (copy.lock() == worker) co_return worker;
    }
    if (maker->code == nullptr)
        co_return fail(Code::bad_arguments, fmt::format("\"{}\" is a live {}: what its methods return stays beside it, not in process \"{}\"", maker->name, kind_name(maker->kind), process_name));
    Json load = Json::parse(maker->code->request);
    load["name"] = maker->name;
    note_code(*worker, *maker->code);
    Outcome loaded = co_await router_.call(worker, "load", control_body(load, maker->code->attachments), asker);
    if (loaded.kind == Outcome::Kind::raised)
        co_return fail(Code::setup_failed, fmt::format("\"{}\" cannot be loaded in process \"{}\": {}: {}", maker->name, process_name, loaded.raised.type, loaded.raised.message));
    if (loaded.kind != Outcome::Kind::returned) co_return fail(std::move(loaded.error));
    maker->copies.push_back(worker);
    services_.note(*maker);
    co_return worker;
}

// The service takes its name, and what had the name before is retired.
awaitable<Outcome> Node::finish(std::shared_ptr<Service> service, const Outcome& loaded, bool says_found) {
    service->language = service->workers.front()->language;
    Json described = parse_answer(loaded.body);
    // Its deployer may have imported the code before it was edited and sent; the worker has what was sent.
    if (const auto digest = described.find("code_digest"); digest != described.end()) {
        if (digest->is_string()) service->code_digest = digest->get<std::string>();
        described.erase(digest);
    }
    service->described = dump(described);
    Json description = description_of(*service);
    if (says_found) description["found"] = false;
    const std::shared_ptr<Service> before = services_.find(service->name);
    services_.put(service);
    learn_from(*service);
    if (before != nullptr) co_await retire(before, service);
    co_return json_outcome(description);
}

Node::Json Node::description_of(const Service& service) const {
    Json description = Json::parse(service.described, nullptr, false);
    if (!description.is_object()) description = Json::object();
    const Worker& worker = *service.workers.front();
    description["name"] = service.name;
    description["kind"] = kind_name(service.kind);
    description["language"] = service.language;
    if (!description.contains("class")) description["class"] = service.class_name.empty() ? Json() : Json(service.class_name);
    description["worker"] = worker.id;
    description["pid"] = worker.pid;
    description["workers"] = service.workers.size();
    description["process"] = service.process.empty() ? Json() : Json(service.process);
    description["resources"] = {{"cpus", worker.allocation.cpus}, {"gpus", worker.allocation.gpus}, {"memory", worker.allocation.memory_bytes}};
    return description;
}

awaitable<void> Node::retire(std::shared_ptr<Service> service, std::shared_ptr<Service> successor) {
    if (service->dead) co_return;
    std::vector<std::shared_ptr<Worker>> places = service->workers;
    for (const auto& copy : service->copies) {
        if (const auto worker = copy.lock()) places.push_back(worker);
    }
    for (const auto& worker : places) {
        // There the new one took its place already.
        if (successor == nullptr || !successor->lives_in(*worker)) co_await leave(worker, service->name);
    }
}

awaitable<void> Node::leave(std::shared_ptr<Worker> worker, std::string name) {
    if (worker->end) co_return;
    if (worker->process.empty() && !services_.uses(*worker)) {
        worker->retired = true;
        note(*worker);
        if (Router::is_idle(*worker)) workers_.stop(*worker);
        co_return;
    }
    co_await router_.call(worker, "delete", control_body(delete_request(name), Body()), Asker());
}

awaitable<Outcome> Node::rename(const Json& request) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const auto to = field<std::string>(request, "to");
    if (!to) co_return Outcome::failed(to.error());
    const auto replace = field<bool>(request, "replace", false);
    if (!replace) co_return Outcome::failed(replace.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> service = *found;
    if (service->dead) co_return Outcome::failed(gone(*service));
    if (*to == *name) co_return json_outcome(description_of(*service));
    if (const auto free = check_free(*to, *replace, is_live_object(service->kind)); !free) co_return Outcome::failed(free.error());
    if (promised_.count(*name) != 0) co_return Outcome::failed(name_taken(fmt::format("\"{}\" is being replaced just now: wait for that", *name), *name));
    // Whoever deploys may take over an idle name; a rename says so, because nothing of its own is lost by another choice.
    if (const auto there = services_.find(*to); there != nullptr && !there->dead && !*replace)
        co_return Outcome::failed(name_taken(fmt::format("\"{}\" is the name of a {} here: choose another name, or say replace=True", *to, kind_name(there->kind)), *to));
    const Promise old_promise(*this, promised_, *name);
    const Promise new_promise(*this, promised_, *to);
    std::vector<std::shared_ptr<Worker>> places = service->workers;
    for (const auto& copy : service->copies) {
        if (const auto worker = copy.lock()) places.push_back(worker);
    }
    for (const auto& worker : places) {
        // A worker that is on its way is told the name by then; one that is gone need not know.
        if (worker->connection == nullptr || worker->parking != nullptr) continue;
        Outcome told = co_await router_.call(worker, "rename", control_body(rename_request(*name, *to), Body()), Asker());
        if (told.kind != Outcome::Kind::returned && !worker->end) co_return told;
    }
    if (services_.find(service->name) != service) co_return Outcome::failed(Error(Code::not_found, fmt::format("\"{}\" was deleted meanwhile", *name)));
    const std::shared_ptr<Service> before = services_.find(*to);
    services_.rename(service, *to);
    if (before != nullptr) co_await retire(before, service);
    co_return json_outcome(description_of(*service));
}

awaitable<Outcome> Node::remove(const Json& request) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> service = *found;
    // Nobody may give the name away before its worker has forgotten it.
    const Promise promise(*this, promised_, *name);
    services_.erase(*name);
    co_await retire(service, nullptr);
    co_return json_outcome(Json::object());
}

awaitable<Outcome> Node::clear() {
    Json deleted = Json::array();
    const auto all = services_.all();
    for (const auto& service : all) {
        services_.erase(service->name);
        deleted.push_back(service->name);
    }
    for (const auto& service : all) {
        const Promise promise(*this, promised_, service->name);
        co_await retire(service, nullptr);
    }
    Json answer = Json::object();
    answer["deleted"] = std::move(deleted);
    co_return json_outcome(answer);
}

awaitable<Outcome> Node::describe(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const auto schemas = field<bool>(request, "schemas", false);
    if (!schemas) co_return Outcome::failed(schemas.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> service = *found;
    if (service->dead) co_return Outcome::failed(gone(*service));
    Json description = description_of(*service);
    description["trust"] = asker.principal.may_run_code() ? "pickle" : "data";
    if (*schemas) co_await add_schemas(service, description, asker);
    co_return json_outcome(description);
}

// What a worker cannot tell is left out: it may be one whose language has no type hints, or be on its way.
awaitable<void> Node::add_schemas(std::shared_ptr<Service> service, Json& description, Asker asker) {
    const std::shared_ptr<Worker> worker = service->workers.front();
    if (worker->connection == nullptr || worker->parking != nullptr) co_return;
    const Outcome told = co_await router_.call(worker, "schema", control_body(schema_request(service->name), Body()), asker);
    if (told.kind != Outcome::Kind::returned) co_return;
    const Json answer = parse_answer(told.body);
    const auto methods = answer.find("methods");
    const auto described = description.find("methods");
    if (methods == answer.end() || !methods->is_object() || described == description.end() || !described->is_object()) co_return;
    for (const auto& [method, schema] : methods->items()) {
        const auto there = described->find(method);
        if (there != described->end() && there->is_object()) (*there)["schema"] = schema;
    }
}

}  // namespace rh::daemon
