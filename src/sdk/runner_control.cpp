// What the daemon asks of a C++ worker (protocol/node.md, `_worker`): to make names known, and instances.

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sdk/describe.h"
#include "sdk/runner.h"

namespace rh {

using roundhouse::detail::Arguments;

namespace {

using Json = nlohmann::json;

Outcome json_outcome(const Json& json) { return Outcome::returned(Body::one(Encoding::json, as_byte_view(json.dump(-1, ' ', false, Json::error_handler_t::replace)))); }

Outcome refused(Code code, std::string message) { return Outcome::failed(Error(code, std::move(message))); }

template <class Named>
std::string names_of(const Named& named) {
    std::string names;
    for (const auto& [name, value] : named) names += (names.empty() ? "" : ", ") + name;
    return names.empty() ? "nothing" : names;
}

std::string text_of(const Json& request, const char* key) {
    const auto found = request.find(key);
    return found != request.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::size_t count_of(const Json& request, const char* key) {
    const auto found = request.find(key);
    return found != request.end() && found->is_number_unsigned() ? found->get<std::size_t>() : 0;
}

// What stands behind the request's own part.
Body attached(const Json& request, const Body& body) {
    Body rest;
    rest.encoding = static_cast<Encoding>(std::min<std::size_t>(count_of(request, "encoding"), 3));
    const std::vector<ByteView> parts = body.parts();
    for (std::size_t i = 1; i < parts.size(); ++i) rest.add(parts[i]);
    if (rest.part_bytes.empty()) rest.encoding = Encoding::empty;
    return rest;
}

Json describe_value(const roundhouse::Value& value) {
    return {{"methods", Json::object()}, {"doc", ""}, {"class", value.type()}, {"properties", Json::array()}, {"attributes", Json::array()}};
}

}  // namespace

Outcome CppRunner::control(worker::Incoming& call) {
    const std::vector<ByteView> parts = call.body.parts();
    const Json request = parts.empty() ? Json() : Json::parse(as_text(parts[0]), nullptr, false);
    if (!request.is_object()) return refused(Code::bad_arguments, "a control call's body must be one JSON object");
    if (call.method == "load") return load(request, call.body);
    if (call.method == "create") return create(request, call);
    if (call.method == "rename") return rename(text_of(request, "name"), text_of(request, "to"));
    if (call.method == "delete") {
        const std::string name = text_of(request, "name");
        Living gone;  // destroyed when the lock is no longer held: user code
        {
            const std::unique_lock lock(living_mutex_);
            if (const auto found = living_.find(name); found != living_.end()) gone = std::move(living_.extract(found).mapped());
        }
        host_->limit(name, 0, 0);
        return json_outcome(Json::object());
    }
    if (call.method == "set_env") {
        if (!request.contains("vars") || !request["vars"].is_object()) return refused(Code::bad_arguments, "\"vars\" must be an object");
        for (const auto& [name, value] : request["vars"].items()) {
            if (value.is_string()) {
                ::setenv(name.c_str(), value.get<std::string>().c_str(), 1);
            } else {
                ::unsetenv(name.c_str());
            }
        }
        return json_outcome(Json::object());
    }
    if (call.method == "run") return refused(Code::unsupported, "a C++ program runs no commands: name a process of Python, or none");
    return refused(Code::not_found, "\"_worker\" has no method \"" + call.method + "\"");
}

void CppRunner::keep(const std::string& name, Living living, std::size_t concurrency, std::size_t queue) {
    Living before;  // destroyed when the lock is no longer held
    {
        const std::unique_lock lock(living_mutex_);
        before = std::exchange(living_[name], std::move(living));
    }
    host_->limit(name, concurrency, queue);
}

Outcome CppRunner::load(const Json& request, const Body& body) {
    const std::string name = text_of(request, "name");
    const std::string kind = text_of(request, "kind");
    const std::size_t queue = count_of(request, "max_queue");
    if (kind == "object") {
        PublicResult<Value> value = decode_value(attached(request, body));
        if (!value) return Outcome::failed(engine_error(value.error()));
        const auto kept = std::make_shared<const Value>(std::move(*value));
        keep(name, {nullptr, nullptr, nullptr, kept}, 0, 0);
        return json_outcome(describe_value(*kept));
    }
    const std::string asked = request.contains("source") && request["source"].is_object() ? text_of(request["source"], "callable") : std::string();
    const std::string callable = asked.empty() ? name : asked;
    const std::size_t concurrency = count_of(request, "max_concurrency");
    if (kind == "class") {
        const auto found = classes.find(callable);
        if (found == classes.end()) return refused(Code::not_found, fmt::format("the program serves no class \"{}\" (its classes: {}; its functions: {})", callable, names_of(classes), names_of(functions)));
        keep(name, {nullptr, &found->second, nullptr, nullptr}, concurrency, queue);
        return json_outcome(describe(found->second, false));
    }
    const auto found = functions.find(callable);
    if (found == functions.end()) return refused(Code::not_found, fmt::format("the program serves no function \"{}\" (its functions: {}; its classes: {})", callable, names_of(functions), names_of(classes)));
    keep(name, {&found->second, nullptr, nullptr, nullptr}, concurrency != 0 ? concurrency : found->second.max_concurrency, queue);
    return json_outcome(describe(found->second));
}

Outcome CppRunner::create(const Json& request, worker::Incoming& call) {
    const std::string maker_name = text_of(request, "class");
    const std::string name = text_of(request, "name");
    const PublicResult<Living> maker = find(maker_name);
    if (!maker) return Outcome::failed(engine_error(maker.error()));
    const auto decoded = decode_arguments(attached(request, call.body), [this](const std::string& key) { return resolve(key); });
    if (!decoded) return Outcome::failed(engine_error(decoded.error()));
    if (const std::string method = text_of(request, "method"); !method.empty()) {
        call.service = maker_name;
        call.method = method;
        PublicResult<Value> made = invoke(*maker, call, decoded->arguments, decoded->encoding, "");
        if (!made) return Outcome::failed(engine_error(made.error()));
        const auto kept = std::make_shared<const Value>(std::move(*made));
        keep(name, {nullptr, nullptr, nullptr, kept}, 0, 0);
        return json_outcome(describe_value(*kept));
    }
    if (maker->made_of == nullptr || maker->object != nullptr) return refused(Code::bad_arguments, "\"" + maker_name + "\" is no class: it makes no instances");
    PublicResult<std::shared_ptr<void>> object = construct(*maker->made_of, decoded->arguments);
    if (!object) {
        roundhouse::Error error = object.error();
        error.message = maker_name + "() " + error.message;
        return Outcome::failed(engine_error(error));
    }
    keep(name, {nullptr, maker->made_of, std::move(*object), nullptr}, maker->made_of->max_concurrency, 0);
    return json_outcome(describe(*maker->made_of, true));
}

auto CppRunner::construct(const roundhouse::detail::Class& made, const Arguments& arguments) const -> PublicResult<std::shared_ptr<void>> {
    std::string whys;
    std::shared_ptr<void> object;
    for (const roundhouse::detail::Constructor& constructor : made.constructors) {
        const std::optional<roundhouse::Error> misfit = constructor.run(arguments, object);
        if (!misfit) return object;
        if (made.constructors.size() == 1) return *misfit;
        whys += "\n  " + misfit->message;
    }
    if (!made.constructors.empty()) return roundhouse::Error{"bad_arguments", fmt::format("has {} forms, none of which the arguments fit:{}", made.constructors.size(), whys)};
    const auto plain = default_constructors.find(made.name);
    if (plain == default_constructors.end()) return roundhouse::Error{"bad_arguments", "has no constructor that the program serves"};
    if (!arguments.positional.empty() || !arguments.named.empty()) return roundhouse::Error{"bad_arguments", "takes no arguments"};
    return plain->second();
}

Outcome CppRunner::rename(const std::string& name, const std::string& to) {
    std::size_t concurrency = 0;
    {
        const std::unique_lock lock(living_mutex_);
        const auto found = living_.find(name);
        if (found == living_.end()) return refused(Code::not_found, "this worker does not serve \"" + name + "\"");
        Living living = std::move(living_.extract(found).mapped());
        if (living.function != nullptr) concurrency = living.function->max_concurrency;
        if (living.object != nullptr) concurrency = living.made_of->max_concurrency;
        living_[to] = std::move(living);
        renamed_[name] = to;
    }
    host_->limit(name, 0, 0);
    host_->limit(to, concurrency, 0);
    return json_outcome(Json::object());
}

}  // namespace rh
