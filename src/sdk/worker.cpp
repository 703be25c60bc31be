// The public C++ worker API (roundhouse/worker.h) over worker/host.h.

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <shared_mutex>
#include <thread>
#include <typeinfo>

#include "roundhouse/worker.h"
#include "sdk/msgpack.h"
#include "worker/host.h"

namespace roundhouse {

namespace {

using Json = nlohmann::json;

// What the thread's current call is, for print() and cancelled().
struct Current {
    rh::worker::Host* host = nullptr;
    std::uint64_t id = 0;
    const std::atomic<bool>* cancelled = nullptr;
};
thread_local Current t_current;

std::string type_name(const std::exception& error) {
    int status = 0;
    std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status), &std::free);
    return status == 0 ? name.get() : typeid(error).name();
}

rh::Outcome raised(std::string type, std::string message) {
    rh::Outcome outcome;
    outcome.kind = rh::Outcome::Kind::raised;
    outcome.raised = {std::move(type), std::move(message), ""};
    return outcome;
}

rh::Outcome failed(const Error& error) {
    for (std::uint32_t number = 1; number < 64; ++number) {
        const rh::Code code = rh::code_from_number(number);
        if (rh::code_name(code) == error.code) return rh::Outcome::failed({code, error.message});
    }
    return raised(error.code, error.message);
}

rh::Outcome json_outcome(const Json& json) {
    const std::string text = json.dump();
    return rh::Outcome::returned(rh::Body::one(rh::Encoding::json, rh::as_byte_view(text)));
}

template <class Map>
std::string names_of(const Map& map) {
    std::string names;
    for (const auto& [name, value] : map) names += (names.empty() ? "" : ", ") + name;
    return names.empty() ? "nothing" : names;
}

}  // namespace

// Threads of the host call run() at once; functions and classes never change while it serves, instances do.
struct Worker::Impl final : rh::worker::Runner {
    std::map<std::string, Method> functions;
    std::map<std::string, Constructor> classes;
    std::unique_ptr<rh::worker::Host> host;

    std::shared_mutex instances_mutex;
    std::map<std::string, std::shared_ptr<const Methods>> instances;
    std::set<std::string> loaded;  // the names that the node knows, guarded by instances_mutex

    std::mutex calls_mutex;
    std::map<std::uint64_t, std::atomic<bool>> calls;  // running now: whether cancelled

    std::optional<rh::Outcome> run(rh::worker::Incoming& call) override;
    rh::Outcome run_own(const rh::worker::Incoming& call);
    rh::Outcome invoke(const rh::worker::Incoming& call);
    rh::Outcome create(const Json& request, const rh::Body& body);
    void cancel(std::uint64_t id) override;
    bool start_thread() override {
        try {
            // Ends with the host, which the process outlives only by _exit.
            std::thread([this] { host->serve_more(); }).detach();
            return true;
        } catch (const std::system_error&) {
            return false;  // no more threads are to be had
        }
    }
    std::vector<std::string> services() override { return {}; }
};

std::optional<rh::Outcome> Worker::Impl::run(rh::worker::Incoming& call) {
    call.has_begun();
    std::atomic<bool>* flag = nullptr;
    {
        const std::scoped_lock lock(calls_mutex);
        flag = &calls[call.id];
    }
    t_current = {host.get(), call.id, flag};
    rh::Outcome outcome;
    try {
        outcome = call.service == "_worker" ? run_own(call) : invoke(call);
    } catch (const Failure& failure) {
        outcome = failed(failure.error());
    } catch (const std::exception& error) {
        outcome = raised(type_name(error), error.what());
    } catch (...) {
        outcome = raised("unknown", "something that is not a std::exception was thrown");
    }
    t_current = {};
    const std::scoped_lock lock(calls_mutex);
    calls.erase(call.id);
    return outcome;
}

rh::Outcome Worker::Impl::invoke(const rh::worker::Incoming& call) {
    rh::Result<std::pair<List, Map>> arguments = rh::decode_arguments(call.body);
    if (!arguments) return rh::Outcome::failed(arguments.error());
    std::shared_ptr<const Methods> methods;
    {
        const std::shared_lock lock(instances_mutex);
        if (const auto found = instances.find(call.service); found != instances.end()) methods = found->second;
    }
    const Method* method = nullptr;
    if (methods != nullptr) {
        const auto found = methods->find(call.method);
        if (found == methods->end())
            return rh::Outcome::failed({rh::Code::not_found, "\"" + call.service + "\" has no method \"" + call.method + "\" (it has: " + names_of(*methods) + ")"});
        method = &found->second;
    } else if (const auto found = functions.find(call.service); found != functions.end()) {
        if (call.method != "call")
            return rh::Outcome::failed({rh::Code::not_found, "\"" + call.service + "\" is a function; its only method is \"call\""});
        method = &found->second;
    } else {
        return rh::Outcome::failed({rh::Code::not_found, "this worker does not serve \"" + call.service + "\""});
    }
    Result<Value> result = (*method)(arguments->first, arguments->second);
    if (!result) return failed(result.error());
    return rh::Outcome::returned(rh::encode_value(*result));
}

rh::Outcome Worker::Impl::run_own(const rh::worker::Incoming& call) {
    const std::vector<rh::ByteView> parts = call.body.parts();
    const Json request = parts.empty() ? Json() : Json::parse(rh::as_text(parts[0]), nullptr, false);
    if (!request.is_object()) return rh::Outcome::failed({rh::Code::bad_arguments, "a control call's body must be one JSON object"});
    const std::string name = request.value("name", "");
    if (call.method == "load") {
        const bool is_class = request.value("kind", "") == "class";
        if (is_class ? classes.count(name) == 0 : functions.count(name) == 0)
            return rh::Outcome::failed({rh::Code::not_found, std::string("the program serves no ") + (is_class ? "class" : "function") + " \"" + name + "\" (it has: " +
                                                                 (is_class ? names_of(classes) : names_of(functions)) + ")"});
        Json methods = Json::object();
        if (!is_class) methods["call"] = {{"signature", "(*args)"}, {"doc", ""}, {"kind", "sync"}};
        return json_outcome({{"methods", methods}, {"doc", ""}});
    }
    if (call.method == "create") return create(request, call.body);
    if (call.method == "delete") {
        const std::unique_lock lock(instances_mutex);
        instances.erase(name);
        return json_outcome(Json::object());
    }
    return rh::Outcome::failed({rh::Code::not_found, "\"_worker\" has no method \"" + call.method + "\""});
}

rh::Outcome Worker::Impl::create(const Json& request, const rh::Body& body) {
    const auto found = classes.find(request.value("class", ""));
    if (found == classes.end()) return rh::Outcome::failed({rh::Code::not_found, "this program serves no such class"});
    rh::Body encoded;
    encoded.encoding = static_cast<rh::Encoding>(request.value("encoding", 0));
    const std::vector<rh::ByteView> parts = body.parts();
    for (std::size_t i = 1; i < parts.size(); ++i) encoded.add(parts[i]);
    if (encoded.part_bytes.empty()) encoded.encoding = rh::Encoding::empty;
    rh::Result<std::pair<List, Map>> arguments = rh::decode_arguments(encoded);
    if (!arguments) return rh::Outcome::failed(arguments.error());
    Result<Methods> made = found->second(arguments->first, arguments->second);
    if (!made) return failed(made.error());
    Json methods = Json::object();
    for (const auto& [name, method] : *made) methods[name] = {{"signature", "(*args)"}, {"doc", ""}, {"kind", "sync"}};
    const std::unique_lock lock(instances_mutex);
    instances[request.value("name", "")] = std::make_shared<const Methods>(std::move(*made));
    return json_outcome({{"methods", methods}, {"doc", ""}});
}

void Worker::Impl::cancel(std::uint64_t id) {
    const std::scoped_lock lock(calls_mutex);
    if (const auto found = calls.find(id); found != calls.end()) found->second = true;
}

void print(std::string_view text) {
    if (t_current.host == nullptr || !t_current.host->output(t_current.id, rh::Channel::out, text)) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
    }
}

bool cancelled() { return t_current.cancelled != nullptr && *t_current.cancelled; }

Worker::Worker() : impl_(std::make_unique<Impl>()) {}
Worker::~Worker() = default;

void Worker::add_function(std::string name, Method function) { impl_->functions[std::move(name)] = std::move(function); }
void Worker::add_class(std::string name, Constructor constructor) { impl_->classes[std::move(name)] = std::move(constructor); }

int Worker::run() {
    const char* socket = std::getenv("ROUNDHOUSE_SOCKET");
    const char* id = std::getenv("ROUNDHOUSE_WORKER");
    if (socket == nullptr || id == nullptr) {
        std::fprintf(stderr, "this program serves Roundhouse calls; a node starts it: deploy it with roundhouse::Cluster::deploy\n");
        return 2;
    }
    rh::Result<std::unique_ptr<rh::worker::Host>> host = rh::worker::Host::connect({socket, id, "c++"}, *impl_);
    if (!host) {
        std::fprintf(stderr, "%s\n", host.error().message.c_str());
        return 1;
    }
    impl_->host = std::move(*host);
    const rh::Result<void> served = impl_->host->serve();
    if (!served) std::fprintf(stderr, "%s\n", served.error().message.c_str());
    // Calls may still run on other threads; nothing of theirs can be sent any more, so there is nothing to wait for.
    std::fflush(nullptr);
    std::_Exit(served ? 0 : 1);
}

}  // namespace roundhouse
