#include "sdk/runner.h"

#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <thread>
#include <typeinfo>

#include "sdk/crash.h"

namespace rh {

using roundhouse::CurrentCall;
using roundhouse::Failure;
using roundhouse::Map;
using roundhouse::detail::Arguments;
using roundhouse::detail::Callable;

namespace {

std::string type_name(const std::type_info& type) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
    std::string_view readable = status == 0 ? name.get() : type.name();
    // What std::throw_with_nested makes of a type.
    constexpr std::string_view k_nested = "std::_Nested_exception<";
    if (readable.starts_with(k_nested) && readable.ends_with('>')) readable = readable.substr(k_nested.size(), readable.size() - k_nested.size() - 1);
    return std::string(readable);
}

// What it says, and what it was thrown from (std::throw_with_nested), innermost last.
void add_causes(const std::exception& error, std::string& text, int depth) {
    text += fmt::format("{}{}: {}\n", depth == 0 ? "" : "  because of ", type_name(typeid(error)), error.what());
    if (depth >= 16) return;
    try {
        std::rethrow_if_nested(error);
    } catch (const std::exception& cause) {
        add_causes(cause, text, depth + 1);
    } catch (...) {
        text += "  because of something that is no std::exception\n";
    }
}

Outcome raised(std::string type, std::string message, std::string traceback) {
    Outcome outcome;
    outcome.kind = Outcome::Kind::raised;
    outcome.raised = {std::move(type), std::move(message), std::move(traceback)};
    return outcome;
}

// An error that user code returned may have a code of its own.
Outcome failed(const roundhouse::Error& error) {
    Error made = engine_error(error);
    if (made.code == Code::unknown && error.code != "unknown") return raised(error.code, error.message, error.fact("traceback"));
    return Outcome::failed(std::move(made));
}

// Sends the items of the call that this thread runs.
class Items final : public roundhouse::detail::Emitter {
public:
    Items(worker::Host& host, std::uint64_t id, Encoding encoding, std::string_view accept) : host_(host), id_(id), encoding_(encoding), accept_(accept) {}

    bool wait() override { return host_.exchange().room(id_, true) == worker::Room::open; }
    bool send(roundhouse::Value item) override {
        const auto encoded = encode_answer(item, encoding_, accept_);
        if (!encoded) throw Failure(encoded.error());
        Body body = encoded->body();
        if (const std::optional<worker::Room> room = host_.exchange().gather(id_, body)) {
            return *room == worker::Room::open || (*room == worker::Room::none && wait());
        }
        return host_.exchange().item(id_, std::move(body), true) == worker::Room::open;
    }

private:
    worker::Host& host_;
    const std::uint64_t id_;
    const Encoding encoding_;
    const std::string_view accept_;
};

template <class Named>
std::string names_of(const Named& named) {
    std::string names;
    for (const auto& [name, value] : named) names += (names.empty() ? "" : ", ") + name;
    return names.empty() ? "nothing" : names;
}

}  // namespace

Result<void> CppRunner::serve(const std::string& socket, const std::string& worker_id) {
    worker_id_ = worker_id;
    RH_TRY(host_, worker::Host::connect({.socket_path = socket, .worker_id = worker_id, .language = "c++", .begun_path = shm::begun_path_of_this_worker()}, *this));
    return host_->serve();
}

bool CppRunner::start_thread() {
    try {
        // Ends with the host, which the process outlives only by _exit.
        std::thread([this] {
            prepare_crash_thread();
            host_->serve_more();
        }).detach();
        return true;
    } catch (const std::system_error&) {
        return false;  // no more threads are to be had
    }
}

std::vector<std::string> CppRunner::services() {
    const std::shared_lock lock(living_mutex_);
    std::vector<std::string> names;
    for (const auto& [name, living] : living_) names.push_back(name);
    return names;
}

void CppRunner::cancel(std::uint64_t id) {
    const std::scoped_lock lock(calls_mutex_);
    if (const auto found = calls_.find(id); found != calls_.end()) found->second->cancelled = true;
}

std::optional<Outcome> CppRunner::run(worker::Incoming& call) {
    call.has_begun();
    const auto state = std::make_shared<CurrentCall::State>();
    state->host = host_.get();
    state->id = call.id;
    state->parents.push_back(fmt::format("{}/{}", worker_id_, call.id));
    state->parents.insert(state->parents.end(), call.parents.begin(), call.parents.end());
    state->label = call.service + "." + call.method;
    {
        const std::scoped_lock lock(calls_mutex_);
        calls_.emplace(call.id, state);
    }
    Outcome outcome = answer(call, state);
    std::fflush(stdout);
    const std::scoped_lock lock(calls_mutex_);
    calls_.erase(call.id);
    return outcome;
}

Outcome CppRunner::answer(worker::Incoming& call, const std::shared_ptr<CurrentCall::State>& state) {
    const CurrentCall::Inside inside(state);
    const auto is_cancel = [&] { return Outcome::failed(Error(Code::cancelled, "the call was cancelled").with("started", "yes")); };
    try {
        Outcome outcome = call.service == "_worker" ? control(call) : call_user(call);
        return state->heard ? is_cancel() : std::move(outcome);
    } catch (const roundhouse::Cancelled& error) {
        if (state->cancelled) return is_cancel();
        return raised(type_name(typeid(error)), error.what(), "");
    } catch (const Failure& failure) {
        return failed(failure.error());
    } catch (const std::exception& error) {
        std::string text = fmt::format("in {}, a C++ worker:\n", state->label);
        add_causes(error, text, 0);
        return raised(type_name(typeid(error)), error.what(), text);
    } catch (abi::__forced_unwind&) {
        throw;  // the thread is being cancelled
    } catch (...) {
        const std::type_info* const type = abi::__cxa_current_exception_type();
        return raised(type != nullptr ? type_name(*type) : "unknown", "something that is no std::exception was thrown", "");
    }
}

// --- a user's call -------------------------------------------------------------------------------------------------

auto CppRunner::find(const std::string& name) -> PublicResult<Living> {
    const std::shared_lock lock(living_mutex_);
    auto found = living_.find(name);
    if (found == living_.end()) {
        if (const auto now = renamed_.find(name); now != renamed_.end()) found = living_.find(now->second);
    }
    if (found == living_.end()) return roundhouse::Error{"not_found", fmt::format("this worker does not serve \"{}\" (it has: {})", name, names_of(living_))};
    return found->second;
}

Outcome CppRunner::call_user(worker::Incoming& call) {
    const PublicResult<Living> living = find(call.service);
    if (!living) return failed(living.error());
    const auto arguments = decode_arguments(std::move(call.body), [this](const std::string& key) { return resolve(key); });
    if (!arguments) return failed(arguments.error());
    const PublicResult<Value> result = invoke(*living, call, arguments->arguments, arguments->encoding, arguments->accept);
    if (!result) return failed(result.error());
    if (result->is<std::nullptr_t>()) return Outcome::returned({});
    const auto encoded = encode_answer(*result, arguments->encoding, arguments->accept);
    if (!encoded) {
        roundhouse::Error error = encoded.error();
        error.message = fmt::format("the result of {}.{} cannot be sent: {}", call.service, call.method, error.message);
        return failed(error);
    }
    return Outcome::returned(encoded->body());
}

auto CppRunner::invoke(const Living& living, const worker::Incoming& call, const Arguments& arguments, Encoding encoding, std::string_view accept) -> PublicResult<Value> {
    if (call.method.starts_with('@')) return call_every(living, call.service, call.method, arguments);
    const auto no_method = [&](const std::string& has) {
        return roundhouse::Error{"not_found", fmt::format("\"{}\" has no method \"{}\" ({})", call.service, call.method, has)};
    };
    if (living.function != nullptr) {
        if (call.method != "call") return no_method("it is a function, whose only method is \"call\"");
        return call_overloads(living.function->overloads, nullptr, call.service, call, arguments, encoding, accept);
    }
    if (living.made_of == nullptr) return no_method("it is a value: fetch it");
    const auto found = living.made_of->methods.find(call.method);
    if (found == living.made_of->methods.end()) return no_method("it has: " + names_of(living.made_of->methods));
    const bool is_static = found->second.front().is_static;
    if (living.object == nullptr && !is_static) return no_method("the class itself has none: make an instance of it");
    return call_overloads(found->second, living.object.get(), call.service + "." + call.method, call, arguments, encoding, accept);
}

auto CppRunner::call_overloads(const std::vector<Callable>& overloads, void* self, const std::string& called, const worker::Incoming& call, const Arguments& arguments,
                               Encoding encoding, std::string_view accept) -> PublicResult<Value> {
    Items items(*host_, call.id, encoding, accept);
    std::string whys;
    for (const Callable& callable : overloads) {
        PublicResult<Value> result{Value()};
        const std::optional<roundhouse::Error> misfit = callable.run(self, arguments, items, result);
        if (!misfit) return result;
        if (overloads.size() == 1) return roundhouse::Error{misfit->code, called + "() " + misfit->message, misfit->facts};
        whys += "\n  " + misfit->message;
    }
    return roundhouse::Error{"bad_arguments", fmt::format("{}() has {} forms, none of which the arguments fit:{}", called, overloads.size(), whys)};
}

// What every instance answers to (protocol/node.md).
auto CppRunner::call_every(const Living& living, const std::string& service, const std::string& method, const Arguments& arguments) const -> PublicResult<Value> {
    if (method == "@fetch") {
        if (living.value != nullptr) return *living.value;
        return roundhouse::Error{"unsupported", fmt::format("\"{}\" lives in a C++ program and cannot be copied from it: call its methods", service)};
    }
    if ((method != "@get" && method != "@set") || living.object == nullptr)
        return roundhouse::Error{"not_found", fmt::format("\"{}\" has no method \"{}\"", service, method)};
    const std::size_t wanted = method == "@get" ? 1 : 2;
    if (arguments.positional.size() != wanted || !arguments.positional[0].is<std::string>())
        return roundhouse::Error{"bad_arguments", method + (wanted == 1 ? " takes a property's name" : " takes a property's name and a value")};
    const std::string& name = arguments.positional[0].get<std::string>();
    const auto found = living.made_of->properties.find(name);
    if (found == living.made_of->properties.end())
        return roundhouse::Error{"not_found", fmt::format("\"{}\" has no property \"{}\" (it has: {})", service, name, names_of(living.made_of->properties))};
    if (method == "@get") return found->second.get(living.object.get());
    if (!found->second.set) return roundhouse::Error{"not_allowed", fmt::format("the property \"{}\" of \"{}\" can only be read", name, service)};
    if (auto error = found->second.set(living.object.get(), arguments.positional[1])) return roundhouse::detail::within(*error, "the property \"" + name + "\"");
    return Value();
}

// A value that was kept, for an argument that refers to it: here, or anywhere else on the node.
auto CppRunner::resolve(const std::string& key) -> PublicResult<Value> {
    if (const PublicResult<Living> living = find(key); living && living->value != nullptr) return *living->value;
    std::optional<roundhouse::Cluster> node;
    {
        const std::scoped_lock lock(node_mutex_);
        if (!node_) {
            PublicResult<roundhouse::Cluster> here = roundhouse::Cluster::here();
            if (!here) return here.error();
            node_ = std::move(*here);
        }
        node = node_;
    }
    return node->fetch(key);
}

}  // namespace rh
