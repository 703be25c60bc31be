#include "daemon/node.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/ids.h"
#include "base/limits.h"

namespace rh::daemon {

using net::asio::awaitable;
using Json = nlohmann::json;

namespace {

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Outcome json_outcome(const Json& json) { return Outcome::returned(Body::one(Encoding::json, as_byte_view(dump(json)))); }

// The request of a control call: part 0, an object.
Result<Json> parse(const Body& body) {
    if (body.encoding == Encoding::empty) return Json::object();
    if (body.encoding != Encoding::json || body.part_bytes.empty()) return fail(Code::bad_arguments, "a control call's body must be JSON");
    const std::string_view text = as_text(body.parts().front());
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Code::bad_arguments, "a control call's body must be one JSON object");
    return json;
}

// A field of the type that is asked for; the fallback where it is absent, Code::bad_arguments where it is something else.
template <class T>
Result<T> field(const Json& request, const char* key, std::optional<T> fallback = {}) {
    const auto found = request.find(key);
    if (found == request.end() || found->is_null()) {
        if (fallback) return *fallback;
        return fail(Code::bad_arguments, fmt::format("the field \"{}\" is missing", key));
    }
    try {
        return found->get<T>();
    } catch (const Json::exception&) {
        return fail(Code::bad_arguments, fmt::format("the field \"{}\" has the wrong type", key));
    }
}

// A call to the worker's own service, with the attachments of the client's.
Body control_body(const Json& request, const Body& attachments) {
    Body body = Body::one(Encoding::json, as_byte_view(dump(request)));
    const std::vector<ByteView> parts = attachments.parts();
    for (std::size_t i = 1; i < parts.size(); ++i) body.add(parts[i]);
    return body;
}

// These stand outside the coroutines: g++ 12 cannot compile a nested initializer list within one.
Json load_request(const std::string& name, Service::Kind kind, const Json& request) {
    return {{"name", name}, {"kind", kind_name(kind)}, {"source", request.value("source", Json::object())}};
}
Json create_request(const std::string& class_name, const std::string& name, const Json& request) {
    return {{"class", class_name}, {"name", name}, {"encoding", request.value("encoding", Json(0))}};
}
Json delete_request(const std::string& name) { return {{"name", name}}; }

Outcome copy_failure(const Outcome& from) {
    Outcome copy;
    copy.kind = from.kind;
    copy.raised = from.raised;
    copy.error = from.error;
    copy.body = Body::one(from.body.encoding, from.body.bytes.view());
    copy.body.part_bytes = from.body.part_bytes;
    return copy;
}

// A name is promised to one maker while its worker starts or its constructor runs.
class Promise {
public:
    Promise(std::set<std::string, std::less<>>& names, std::string name) : names_(names), name_(std::move(name)) { names_.insert(name_); }
    Promise(const Promise&) = delete;
    Promise& operator=(const Promise&) = delete;
    ~Promise() { names_.erase(name_); }

private:
    std::set<std::string, std::less<>>& names_;
    std::string name_;
};

// What a worker's place is told by, which one that deploys from inside a worker must not pass on.
bool is_mark(std::string_view variable) {
    return variable == "ROUNDHOUSE_SOCKET" || variable == "ROUNDHOUSE_WORKER" || variable == "ROUNDHOUSE_CLUSTER" || variable == "ROUNDHOUSE_NODE";
}

Result<Service::Kind> kind_of(std::string_view word) {
    if (word == "function") return Service::Kind::function;
    if (word == "class") return Service::Kind::klass;
    return fail(Code::bad_arguments, fmt::format("a service's kind is \"function\" or \"class\", not \"{}\"", word));
}

}  // namespace

Node::Node(About about, Services& services, Workers& workers, Router& router)
    : about_(std::move(about)), services_(services), workers_(workers), router_(router) {}

awaitable<Outcome> Node::call(std::string method, Body body, Asker asker) {
    const Result<Json> request = parse(body);
    if (!request) co_return Outcome::failed(request.error());
    if (method == "start") co_return start(*request, asker);
    if (method == "abandon") co_return abandon(*request, asker);
    if (method == "deploy") co_return co_await deploy(*request, body, asker);
    if (method == "create") co_return co_await create(*request, body, asker);
    if (method == "delete") co_return co_await remove(*request, asker);
    if (method == "describe") co_return describe(*request);
    if (method == "status") co_return status();
    if (method == "stop") {
        workers_.shut_down();
        co_return json_outcome(Json::object());
    }
    co_return Outcome::failed(Error(Code::not_found, fmt::format("\"_node\" has no method \"{:.64}\"; it has start, abandon, deploy, create, describe, delete, status and stop", method)));
}

// A name may be taken over from an idle service, and from a dead one. `instances_too` says whether an instance counts as
// one: a class or function never displaces somebody's live object unasked.
Result<void> Node::check_free(std::string_view name, bool replace, bool instances_too) const {
    RH_TRY_VOID(check_name("service", name, limits::k_name_bytes_max));
    if (name.front() == '_') return fail(Code::invalid_name, fmt::format("\"{}\" is not a service name: those that begin with '_' are the node's own", name));
    if (promised_.count(name) != 0)
        return fail(Error(Code::name_taken, fmt::format("\"{}\" is being made by another caller just now: wait, or choose another name", name)).with("name", std::string(name)));
    const std::shared_ptr<Service> there = services_.find(name);
    if (there == nullptr && services_.count() >= limits::k_services_max)
        return fail(Code::limit_exceeded, fmt::format("{} services are here, the most that are allowed: delete some", services_.count()));
    if (there == nullptr || there->dead || replace) return {};
    const bool is_instance = there->kind == Service::Kind::instance;
    if (is_instance != instances_too)
        return fail(Error(Code::name_taken, fmt::format("\"{}\" is the name of {} here: choose another name, or say replace=True", name,
                                                        is_instance ? "a live instance" : "a deployed " + std::string(kind_name(there->kind)))).with("name", std::string(name)));
    if (there->calls > 0)
        return fail(Error(Code::name_taken, fmt::format("\"{}\" has {} call{} in flight: wait for {}, choose another name, or say replace=True", name, there->calls,
                                                        there->calls == 1 ? "" : "s", there->calls == 1 ? "it" : "them")).with("name", std::string(name)));
    return {};
}

Result<std::shared_ptr<Worker>> Node::start_worker(const Json& request) {
    Workers::Command command;
    RH_TRY(command.argv, field<std::vector<std::string>>(request, "command"));
    if (command.argv.empty()) return fail(Code::bad_arguments, "the field \"command\" is empty");
    RH_TRY(command.cwd, field<std::string>(request, "cwd"));
    RH_TRY(const auto env, (field<std::map<std::string, std::string>>(request, "env")));
    for (const auto& [key, value] : env) {
        if (!is_mark(key)) command.env.push_back(key + "=" + value);
    }
    command.env.push_back("ROUNDHOUSE_SOCKET=" + about_.socket_path);
    command.env.push_back("ROUNDHOUSE_CLUSTER=" + about_.cluster_name);
    return workers_.start(std::move(command));
}

// The deployer encodes its code while the worker starts; nothing but the deploy that follows may use it.
Outcome Node::start(const Json& request, const Asker& asker) {
    // Nobody would end a worker whose client was gone before this ran.
    if (asker.get() == nullptr) return Outcome::failed(Error(Code::node_lost, "the client is gone"));
    const Result<std::shared_ptr<Worker>> worker = start_worker(request);
    if (!worker) return Outcome::failed(worker.error());
    started_[(*worker)->id] = {*worker, asker.connection};
    return json_outcome({{"worker", (*worker)->id}});
}

Outcome Node::abandon(const Json& request, const Asker& asker) {
    if (const std::shared_ptr<Worker> worker = take_started(request, asker)) workers_.stop(*worker);
    return json_outcome(Json::object());
}

std::shared_ptr<Worker> Node::take_started(const Json& request, const Asker& asker) {
    const auto id = field<std::string>(request, "worker");
    const auto found = id ? started_.find(*id) : started_.end();
    if (found == started_.end() || found->second.by != asker.connection) return nullptr;
    return started_.extract(found).mapped().worker;
}

void Node::drop_client(const Connection& client) {
    for (auto at = started_.begin(); at != started_.end();) {
        if (at->second.by != &client) {
            ++at;
            continue;
        }
        workers_.stop(*at->second.worker);
        at = started_.erase(at);
    }
}

awaitable<Outcome> Node::deploy(const Json& request, const Body& body, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const auto kind = field<std::string>(request, "kind").and_then([](const std::string& word) { return kind_of(word); });
    if (!kind) co_return Outcome::failed(kind.error());
    const auto replace = field<bool>(request, "replace", false);
    if (!replace) co_return Outcome::failed(replace.error());
    const std::shared_ptr<Worker> worker = take_started(request, asker);
    if (worker == nullptr) co_return Outcome::failed(Error(Code::bad_arguments, "the field \"worker\" must name one that the same client has started"));
    if (const auto free = check_free(*name, *replace, false); !free) {
        workers_.stop(*worker);
        co_return Outcome::failed(free.error());
    }
    const Promise promise(promised_, *name);
    const bool ready = co_await worker->ready.wait_until(std::chrono::steady_clock::now() + limits::k_worker_start_timeout);
    if (!ready || worker->end) {
        workers_.stop(*worker);
        Error error(Code::setup_failed, fmt::format("the worker for \"{}\" {}: {}", *name, ready ? "did not start" : "did not connect in time",
                                                    worker->end ? worker->end->message : "see its stderr"));
        if (worker->end) error.context = worker->end->context;
        co_return Outcome::failed(std::move(error));
    }
    const Json load = load_request(*name, *kind, request);
    const Outcome loaded = co_await router_.call(worker, "load", control_body(load, body), asker.get(), asker.stream);
    if (loaded.kind != Outcome::Kind::returned) {
        workers_.stop(*worker);
        co_return copy_failure(loaded);
    }
    const auto service = std::make_shared<Service>();
    service->name = *name;
    service->kind = *kind;
    service->worker = worker;
    service->language = worker->language;
    co_return finish(service, loaded);
}

awaitable<Outcome> Node::create(const Json& request, const Body& body, Asker asker) {
    const auto class_name = field<std::string>(request, "class");
    if (!class_name) co_return Outcome::failed(class_name.error());
    const auto replace = field<bool>(request, "replace", false);
    if (!replace) co_return Outcome::failed(replace.error());
    const auto wanted = field<std::string>(request, "name", std::string());
    if (!wanted) co_return Outcome::failed(wanted.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*class_name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> klass = *found;
    if (klass->kind != Service::Kind::klass) co_return Outcome::failed(Error(Code::bad_arguments, fmt::format("\"{}\" is not a class: it cannot be instantiated", *class_name)));
    if (klass->dead) {
        Error error = *klass->dead;
        error.message = fmt::format("the class \"{}\" is gone: {}; deploy it again", *class_name, error.message);
        co_return Outcome::failed(std::move(error));
    }
    const std::string name = wanted->empty() ? services_.free_name(*class_name + "-1") : *wanted;
    if (const auto free = check_free(name, *replace, true); !free) co_return Outcome::failed(free.error());
    const std::shared_ptr<Worker> worker = klass->worker;
    const Promise promise(promised_, name);
    const auto service = std::make_shared<Service>();
    service->name = name;
    service->kind = Service::Kind::instance;
    service->class_name = *class_name;
    service->language = worker->language;
    service->worker = worker;
    const Json make = create_request(*class_name, name, request);
    ++klass->calls;
    Outcome created = co_await router_.call(worker, "create", control_body(make, body), asker.get(), asker.stream);
    --klass->calls;
    if (created.kind != Outcome::Kind::returned) co_return created;
    co_return finish(service, created);
}

// The service takes its name, and what had the name before is retired.
Outcome Node::finish(const std::shared_ptr<Service>& service, const Outcome& loaded) {
    Json description = loaded.body.part_bytes.empty() ? Json() : Json::parse(as_text(loaded.body.parts().front()), nullptr, false);
    if (!description.is_object()) description = Json::object();
    description["name"] = service->name;
    description["kind"] = kind_name(service->kind);
    description["language"] = service->language;
    description["class"] = service->class_name.empty() ? Json() : Json(service->class_name);
    description["worker"] = service->worker->id;
    description["pid"] = service->worker->pid;
    service->description = dump(description);
    const std::shared_ptr<Service> before = services_.find(service->name);
    services_.put(service);
    if (before != nullptr && before->worker != service->worker) retire(before);
    return json_outcome(description);
}

// Ends the worker of a service that lost its name, unless something else lives in it; calls that run there finish first.
void Node::retire(const std::shared_ptr<Service>& service) {
    if (service->dead || services_.uses(*service->worker)) return;
    service->worker->retired = true;
    if (service->worker->routes.empty()) workers_.stop(*service->worker);
}

awaitable<Outcome> Node::remove(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*name);
    if (!found) co_return Outcome::failed(found.error());
    const std::shared_ptr<Service> service = *found;
    services_.erase(*name);
    if (!service->dead) {
        const bool alone = !services_.uses(*service->worker);
        if (!alone) co_await router_.call(service->worker, "delete", control_body(delete_request(*name), Body()), asker.get(), asker.stream);
        retire(service);
    }
    co_return json_outcome(Json::object());
}

Outcome Node::describe(const Json& request) const {
    const auto name = field<std::string>(request, "name");
    if (!name) return Outcome::failed(name.error());
    const Result<std::shared_ptr<Service>> found = services_.get(*name);
    if (!found) return Outcome::failed(found.error());
    if ((*found)->dead) {
        Error error = *(*found)->dead;
        error.message = fmt::format("the service \"{}\" is gone: {}; deploy it again", *name, error.message);
        return Outcome::failed(std::move(error));
    }
    return Outcome::returned(Body::one(Encoding::json, as_byte_view((*found)->description)));
}

Outcome Node::status() const {
    const auto now = std::chrono::steady_clock::now();
    const auto seconds = [&](auto since) { return std::chrono::duration<double>(now - since).count(); };
    Json services = Json::array();
    for (const auto& service : services_.all())
        services.push_back({{"name", service->name}, {"kind", kind_name(service->kind)}, {"language", service->language}, {"worker", service->worker->id},
                            {"pid", service->worker->pid}, {"calls", service->calls}, {"alive", !service->dead}});
    Json workers = Json::array();
    for (const auto& worker : workers_.all())
        workers.push_back({{"id", worker->id}, {"pid", worker->pid}, {"language", worker->language}, {"connected", worker->connection != nullptr},
                           {"calls", worker->routes.size()}, {"uptime_s", seconds(worker->started_at)}});
    return json_outcome({{"name", about_.cluster_name}, {"pid", ::getpid()}, {"keeper_pid", ::getppid()}, {"version", ROUNDHOUSE_VERSION},
                         {"state_folder", about_.state_folder}, {"uptime_s", seconds(started_at_)}, {"services", services}, {"workers", workers},
                         {"calls", router_.calls_total()}});
}

}  // namespace rh::daemon
