// Clusters of the public C++ API (roundhouse/client.h) over client/client.h and launch/local.h.

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/limits.h"
#include "launch/local.h"
#include "launch/reach.h"
#include "sdk/connection.h"
#include "sdk/current.h"

namespace roundhouse {

namespace {

using Json = nlohmann::json;
using std::chrono::steady_clock;

std::shared_ptr<Cluster::Impl> impl_of(std::string name, bool local, std::shared_ptr<rh::client::Client> client) {
    auto impl = std::make_shared<Cluster::Impl>();
    impl->name = std::move(name);
    impl->local = local;
    impl->client = std::move(client);
    return impl;
}

Result<Cluster> connect_to(std::string name, const rh::launch::Reach& reach) {
    auto client = rh::client::Client::connect({reach.endpoint, "roundhouse " ROUNDHOUSE_VERSION " c++", reach.token, reach.pin}, {});
    if (!client) return rh::public_error(client.error());
    return Cluster(impl_of(std::move(name), reach.local, std::move(*client)));
}

// What the caller says wins over what the environment does.
rh::launch::Reach with_access(rh::launch::Reach reach, Access access) {
    if (!access.token.empty()) reach.token = std::move(access.token);
    if (!access.pin.empty()) reach.pin = std::move(access.pin);
    return reach;
}

// What a worker is started with: this process's environment and folder. Not how this process reaches clusters: a token is not for
// whoever can deploy on one of them.
Json start_request(const std::vector<std::string>& command) {
    Json env = Json::object();
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view line(*entry);
        if (line.starts_with("ROUNDHOUSE_CLUSTER_")) continue;
        if (const std::size_t equals = line.find('='); equals != std::string_view::npos) env[std::string(line.substr(0, equals))] = std::string(line.substr(equals + 1));
    }
    const std::unique_ptr<char, decltype(&std::free)> cwd(::getcwd(nullptr, 0), &std::free);
    return {{"command", command}, {"env", std::move(env)}, {"cwd", cwd != nullptr ? cwd.get() : "/"}};
}

Json amount(std::uint64_t asked) { return asked == 0 ? Json() : Json(asked); }

}  // namespace

void Printer::on_output(rh::Channel channel, std::string_view text) {
    const bool is_error = channel == rh::Channel::err;
    if (on_output_) {
        on_output_(is_error, text);
    } else if (current_state() != nullptr) {
        // Within a call of this worker's: what the calls that it makes print belongs to it.
        is_error ? print_error(text) : print(text);
    } else {
        std::FILE* const to = is_error ? stderr : stdout;
        std::fwrite(text.data(), 1, text.size(), to);
        std::fflush(to);
    }
}

Result<Value> result_of(rh::Outcome outcome) {
    if (outcome.kind == rh::Outcome::Kind::raised)
        return Error{"raised", outcome.raised.type + ": " + outcome.raised.message, {{"type", outcome.raised.type}, {"traceback", outcome.raised.traceback}}};
    if (outcome.kind == rh::Outcome::Kind::returned) return rh::decode_value(std::move(outcome.body));
    Error error = rh::public_error(outcome.error);
    // A C++ worker that crashed has written where it was.
    const std::string tail = error.fact("stderr_tail");
    if (const std::size_t crash = tail.rfind("*** crash: "); crash != std::string::npos) error.facts["backtrace"] = tail.substr(crash);
    return error;
}

Result<Service> service_of(const std::shared_ptr<Cluster::Impl>& cluster, Result<Value> description) {
    if (!description) return description.error();
    const Result<std::string> name = (*description)["name"].as<std::string>();
    if (!name) return Error{"protocol", "the node describes a service without a name"};
    return Service(std::make_shared<Service::Impl>(Service::Impl{*name, std::move(*description), cluster, {}}));
}

Result<Value> Cluster::Impl::control(std::string_view method, const Json& request, const rh::Encoded* attached) {
    const std::string text = request.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::vector<rh::ByteView> parts{rh::as_byte_view(text)};
    if (attached != nullptr) {
        for (const rh::ByteView part : attached->parts()) parts.push_back(part);
    }
    Printer printer(output());
    return result_of(rh::client::call(*client, {"_node", method, rh::Encoding::json, parts}, printer));
}

Result<Cluster> Cluster::up(const std::string& name, Sizes sizes) {
    const auto reach = rh::launch::reach(name);
    if (!reach) return rh::public_error(reach.error());
    if (!reach->local) return connect_to(name, *reach);  // It is brought up where it is.
    const auto local = rh::launch::locate_local(name);
    if (!local) return rh::public_error(local.error());
    const char* daemon = std::getenv("ROUNDHOUSE_DAEMON");
    const auto started = rh::launch::up_local(*local, daemon != nullptr ? daemon : "roundhoused", rh::limits::k_start_timeout, {sizes.cpus, sizes.gpus, sizes.memory});
    if (!started) {
        Error error = rh::public_error(started.error());
        if (daemon == nullptr) error.message += " (the daemon is roundhoused in PATH, or what ROUNDHOUSE_DAEMON names)";
        return error;
    }
    return connect_to(name, *reach);
}

Result<Cluster> Cluster::connect(const std::string& name_or_endpoint, Access access) {
    // A name has neither.
    if (name_or_endpoint.find_first_of(":/") != std::string::npos) return connect_to(name_or_endpoint, with_access({name_or_endpoint, {}, {}, false}, std::move(access)));
    auto reach = rh::launch::reach(name_or_endpoint);
    if (!reach) return rh::public_error(reach.error());
    return connect_to(name_or_endpoint, with_access(std::move(*reach), std::move(access)));
}

Result<Cluster> Cluster::here() {
    const char* socket = std::getenv("ROUNDHOUSE_SOCKET");
    const char* name = std::getenv("ROUNDHOUSE_CLUSTER");
    if (socket == nullptr) return Error{"not_found", "this program is no worker of a cluster: name one with Cluster::connect"};
    return connect_to(name != nullptr ? name : "", {socket, {}, {}, false});
}

const std::string& Cluster::name() const { return impl_->name; }

Result<Service> Cluster::deploy(const std::string& name, const std::vector<std::string>& command, const Placement& placement) { return deploy_as("function", name, command, placement); }

Result<Service> Cluster::deploy_class(const std::string& name, const std::vector<std::string>& command, const Placement& placement) { return deploy_as("class", name, command, placement); }

Result<Service> Cluster::deploy_as(const char* kind, const std::string& name, const std::vector<std::string>& command, const Placement& placement) {
    Json start = start_request(command);
    Json request{{"name", name}, {"kind", kind}, {"encoding", 0}, {"replace", placement.replace}, {"max_concurrency", placement.max_concurrency}, {"max_queue", placement.max_queue}};
    request["source"] = {{"callable", placement.callable.empty() ? name : placement.callable}};
    if (placement.process.empty()) {
        start["count"] = placement.workers;
        start["cpus"] = amount(placement.cpus);
        start["gpus"] = amount(placement.gpus);
        start["memory"] = amount(placement.memory);
        Result<Value> started = impl_->control("start", start);
        if (!started) return started.error();
        const auto workers = (*started)["workers"].as<std::vector<std::string>>();
        if (!workers) return workers.error();
        request["workers"] = *workers;
    } else {
        start["name"] = placement.process;
        start["vars"] = Json::object();
        start["exist_ok"] = true;
        Result<Value> made = impl_->control("create_process", start);
        if (!made) return made.error();
        request["process"] = placement.process;
    }
    return service_of(impl_, impl_->control("deploy", request));
}

Result<Service> Cluster::get(const std::string& name) const { return service_of(impl_, impl_->control("describe", {{"name", name}})); }

Result<std::vector<std::string>> Cluster::services() const {
    Result<Value> all = status();
    if (!all) return all.error();
    std::vector<std::string> names;
    const Value& services = (*all)["services"];
    if (services.is<List>()) {
        for (const Value& service : services.get<List>()) {
            if (service["name"].is<std::string>()) names.push_back(service["name"].get<std::string>());
        }
    }
    return names;
}

Result<Value> Cluster::status() const { return impl_->control("status", Json::object()); }

Result<Nothing> Cluster::remove(const std::string& name) {
    const Result<Value> removed = impl_->control("delete", {{"name", name}});
    if (!removed) return removed.error();
    return Nothing{};
}

Result<Nothing> Cluster::put_value(const std::string& key, const Value& value, const std::string& process) {
    const auto encoded = rh::encode_value(value);
    if (!encoded) return encoded.error();
    const Json request{{"name", key}, {"kind", "object"}, {"encoding", static_cast<int>(encoded->encoding)}, {"process", process}};
    const Result<Value> kept = impl_->control("deploy", request, &*encoded);
    if (!kept) return kept.error();
    return Nothing{};
}

Result<std::chrono::microseconds> Cluster::ping() const {
    const auto took = impl_->client->ping(steady_clock::now() + rh::limits::k_handshake_timeout);
    if (!took) return rh::public_error(took.error());
    return *took;
}

void Cluster::on_output(OnOutput on_output) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->on_output = std::move(on_output);
}

Result<Nothing> Cluster::down() {
    if (!impl_->local) {
        const Result<Value> stopped = impl_->control("stop", Json::object());
        if (!stopped && !stopped.error().is("node_lost")) return stopped.error();
        impl_->client->close();
        return Nothing{};
    }
    impl_->client->close();
    const auto ended = rh::launch::locate_local(impl_->name).and_then([](const rh::launch::LocalCluster& local) {
        return rh::launch::down_local(local, rh::limits::k_start_timeout);
    });
    if (!ended) return rh::public_error(ended.error());
    return Nothing{};
}

}  // namespace roundhouse
