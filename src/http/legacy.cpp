#include "http/legacy.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/limits.h"
#include "http/calls.h"
#include "http/node_asking.h"
#include "http/node_routes.h"

namespace rh::http {

using net::asio::awaitable;

namespace {

constexpr std::array<std::string_view, 6> k_envelope{"data", "serialization", "run_name", "stream_logs", "save", "remote"};
const Fields k_object_fields{"key", "serialized_data", "serialization", "process_name"};
const Fields k_rename_fields{"key", "new_key"};
const Fields k_delete_fields{"keys"};
const Fields k_create_process_fields{"process_name", "name", "env_vars", "exist_ok", "python", "command", "env", "cwd", "cpus", "gpus", "memory", "compute", "runtime_env"};
const Fields k_kill_process_fields{"process_name"};
const Fields k_env_fields{"process_name", "env_vars"};
const Fields k_run_bash_fields{"command", "process", "require_outputs", "run_name", "node_ip_or_idx"};

Arguments of_text(const std::string& text) {
    Arguments arguments;
    arguments.part_bytes.push_back(text.size());
    arguments.bytes.append(as_byte_view(text));
    return arguments;
}

// {"args": .., "kwargs": ..} of an envelope's data, and how its answer is to be wrapped.
struct Envelope {
    Arguments arguments;
    CallOptions options;
    bool wrapped = false;
};

Try<Envelope> read_envelope(std::string_view text, const std::string& accept) {
    const auto wrong = [](std::string message) { return refuse(Refusal(Error(Code::bad_arguments, std::move(message)))); };
    if (text.size() > limits::k_http_chunked_bytes_max) return refuse(413, fmt::format("a call in this form may have {} bytes: use /v1/services", limits::k_http_chunked_bytes_max));
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return refuse(400, "the body must be one JSON object");
    Envelope envelope;
    Json data = json.value("data", Json());
    const Json serialization = json.value("serialization", Json());
    const std::string how = serialization.is_string() ? serialization.get<std::string>() : "none";
    if (!serialization.is_null() && how != "none" && how != "json")
        return refuse(400, fmt::format("the serialization \"{:.32}\" is not understood here: \"json\" and \"none\" are, and pickles are sent as application/x-pickle", how));
    envelope.wrapped = how == "json";
    if (envelope.wrapped && data.is_string()) data = Json::parse(data.get<std::string>(), nullptr, false);
    if (data.is_null()) data = Json::object();
    if (!data.is_object()) return wrong("\"data\" must be {\"args\": [..], \"kwargs\": {..}}");
    Json call = Json::object();
    call["args"] = data.value("args", Json::array());
    call["kwargs"] = data.value("kwargs", Json::object());
    if (!call["args"].is_array() || !call["kwargs"].is_object()) return wrong("\"data\" must be {\"args\": [..], \"kwargs\": {..}}");
    if (!accept.empty()) call["accept"] = accept;
    const Json remote = json.value("remote", Json(false));
    envelope.options.remote = remote.is_boolean() && remote.get<bool>();
    const Json logs = json.value("stream_logs", Json(false));
    envelope.options.logs = logs.is_boolean() && logs.get<bool>();
    envelope.arguments = of_text(dump(call));
    return envelope;
}

awaitable<void> serve_wrapped(Exchange& exchange, Target target, Envelope envelope) {
    daemon::CallRequest call;
    call.service = std::move(target.service);
    call.method = std::move(target.method);
    Running running(exchange);
    const Try<> opened = co_await running.open(std::move(call), std::move(envelope.arguments));
    if (!opened) {
        co_await exchange.answer.refuse(opened.error());
        co_return;
    }
    Asked asked;
    asked.outcome = co_await running.outcome(limits::k_http_json_bytes_max);
    if (asked.ok()) {
        const auto parts = asked.outcome.body.parts();
        asked.value = Json::object();
        asked.value["data"] = parts.empty() ? std::string("null") : std::string(as_text(parts.front()));
        asked.value["output_type"] = "result_serialized";
        asked.value["serialization"] = "json";
    }
    co_await answer_asked(exchange, 200, asked);
}

std::string text_of(const Json& json, const char* field) {
    const auto found = json.find(field);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A request whose body became `request`, asked and answered.
awaitable<void> pass_on(Exchange& exchange, std::string method, Json request) {
    Running running(exchange);
    const Asked asked = co_await ask(running, std::move(method), std::move(request));
    co_await answer_asked(exchange, 200, asked);
}

}  // namespace

bool is_envelope(const JsonCheck& check, std::string_view text) {
    if (check.kind() != JsonCheck::Kind::object || check.member_count() == 0 || check.member_count() > k_envelope.size()) return false;
    bool serialized = false;
    for (const JsonCheck::Member& member : check.members()) {
        if (std::find(k_envelope.begin(), k_envelope.end(), member.key) == k_envelope.end()) return false;
        if (member.key == "serialization") serialized = text.substr(member.value_begin, member.value_end - member.value_begin).starts_with('"');
    }
    for (const JsonCheck::Member& member : check.members()) {
        if (member.key != "data") continue;
        const std::string_view value = text.substr(member.value_begin, member.value_end - member.value_begin);
        if (value == "null" || (serialized && value.starts_with('"'))) continue;
        JsonCheck inner;
        if (!inner.feed(as_byte_view(value)) || inner.kind() != JsonCheck::Kind::object || inner.member_count() > 2) return false;
        for (const JsonCheck::Member& each : inner.members()) {
            if (each.key != "args" && each.key != "kwargs") return false;
        }
    }
    return true;
}

awaitable<void> serve_short(Exchange& exchange, std::vector<std::string> names) {
    Target target;
    target.service = std::move(names[0]);
    target.method = std::move(names[1]);
    const Request& request = exchange.request;
    if (request.method != "POST" || !request.has_body() || request.media_type() != k_json) {
        co_await serve_call(exchange, std::move(target));
        co_return;
    }
    Try<CallOptions> options = check_call(exchange, target);
    if (!options) {
        co_await exchange.answer.refuse(options.error());
        co_return;
    }
    Kept kept(exchange.connection.shared());
    const Try<JsonBody> body = co_await read_json(exchange, kept);
    if (!body) {
        co_await exchange.answer.refuse(body.error());
        co_return;
    }
    const std::string accept = accept_for_worker(request);
    if (!is_envelope(body->check, as_text(body->text.view()))) {
        Try<Arguments> arguments = arguments_of_json(*body, accept);
        if (!arguments) {
            co_await exchange.answer.refuse(arguments.error());
            co_return;
        }
        co_await serve_checked(exchange, std::move(target), std::move(*options), std::move(*arguments));
        co_return;
    }
    Try<Envelope> envelope = read_envelope(as_text(body->text.view()), accept);
    if (!envelope) {
        co_await exchange.answer.refuse(envelope.error());
        co_return;
    }
    if (envelope->wrapped && !envelope->options.remote) {
        co_await serve_wrapped(exchange, std::move(target), std::move(*envelope));
    } else {
        co_await serve_checked(exchange, std::move(target), std::move(envelope->options), std::move(envelope->arguments));
    }
}

awaitable<void> serve_old_check(Exchange& exchange, std::vector<std::string>) {
    co_await exchange.answer.whole(200, k_json, R"({"rh_version":")" ROUNDHOUSE_VERSION R"("})");
}

awaitable<void> serve_keys(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    Asked asked = co_await ask(running, "status", Json::object());
    if (asked.ok()) {
        const Json services = asked.value["services"];
        asked.value = Json::array();
        for (const Json& service : services) asked.value.push_back(service.value("name", ""));
    }
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_get_object(Exchange& exchange, std::vector<std::string>) {
    std::vector<std::string> names;
    for (const auto& [key, value] : exchange.request.query) {
        if (key == "key") names.push_back(value);
    }
    if (names.size() != 1) {
        Refusal refusal(400, Code::protocol, "say which object: /object?key=NAME");
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    co_await serve_object(exchange, std::move(names));
}

awaitable<void> serve_certificate(Exchange& exchange, std::vector<std::string>) {
    const net::Door* const door = exchange.connection.door();
    if (door == nullptr || door->certificate.empty()) {
        Refusal refusal(Error(Code::not_found, "this connection has no TLS, and so no certificate"));
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    co_await exchange.answer.whole(200, "application/x-pem-file", door->certificate);
}

awaitable<void> serve_post_object(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_object_fields);
    if (!read) {
        co_await exchange.answer.refuse(read.error());
        co_return;
    }
    const std::string how = read->value("serialization", Json()).is_string() ? text_of(*read, "serialization") : "json";
    Json value = read->value("serialized_data", Json());
    Try<> checked;
    if (how != "json" && how != "none") checked = refuse(400, fmt::format("the serialization \"{:.32}\" is not understood here: \"json\" and \"none\" are", how));
    if (checked && how == "json") {
        // A JSON text inside the JSON.
        if (value.is_string()) value = Json::parse(text_of(*read, "serialized_data"), nullptr, false);
        if (value.is_discarded()) checked = refuse(400, "\"serialized_data\" is not JSON: with \"serialization\": \"none\" it is the value itself");
    }
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    co_await put_value(exchange, text_of(*read, "key"), text_of(*read, "process_name"), of_text(dump(value)));
}

awaitable<void> serve_rename(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_rename_fields);
    if (!read) {
        co_await exchange.answer.refuse(read.error());
        co_return;
    }
    Json request = named(text_of(*read, "key"));
    request["to"] = text_of(*read, "new_key");
    co_await pass_on(exchange, "rename", std::move(request));
}

awaitable<void> serve_delete_objects(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_delete_fields);
    const Json keys = read ? read->value("keys", Json::array()) : Json::array();
    Try<> checked = read ? Try<>() : Try<>(refuse(read.error()));
    const bool texts = keys.is_array() && std::all_of(keys.begin(), keys.end(), [](const Json& key) { return key.is_string(); });
    if (checked && !texts) checked = refuse(Refusal(Error(Code::bad_arguments, "\"keys\" must be a list of names; an empty one means all")));
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    if (keys.empty()) {
        co_await pass_on(exchange, "clear", Json::object());
        co_return;
    }
    Running running(exchange);
    Asked asked;
    Json deleted = Json::array();
    for (const Json& key : keys) {
        asked = co_await ask(running, "delete", named(key.get<std::string>()));
        if (!asked.ok()) break;
        deleted.push_back(key);
    }
    asked.value = std::move(deleted);
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_old_create_process(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_create_process_fields);
    Try<Json> request = read ? start_request(*read) : Try<Json>(refuse(read.error()));
    if (!request) {
        co_await exchange.answer.refuse(request.error());
        co_return;
    }
    const std::string name = text_of(*read, "process_name");
    (*request)["name"] = name.empty() ? text_of(*read, "name") : name;
    (*request)["vars"] = read->value("env_vars", Json::object());
    (*request)["exist_ok"] = read->value("exist_ok", Json(false));
    Running running(exchange);
    Asked asked = co_await ask(running, "create_process", std::move(*request));
    if (asked.ok()) asked.value.erase("vars");
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_old_kill_process(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_kill_process_fields);
    if (!read) {
        co_await exchange.answer.refuse(read.error());
        co_return;
    }
    co_await pass_on(exchange, "kill_process", named(text_of(*read, "process_name")));
}

awaitable<void> serve_env_vars(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_env_fields);
    if (!read) {
        co_await exchange.answer.refuse(read.error());
        co_return;
    }
    Json request = Json::object();
    const std::string process = text_of(*read, "process_name");
    request["process"] = process.empty() ? Json() : Json(process);
    request["vars"] = read->value("env_vars", Json::object());
    co_await pass_on(exchange, "set_env", std::move(request));
}

awaitable<void> serve_run_bash(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_run_bash_fields);
    if (!read) {
        co_await exchange.answer.refuse(read.error());
        co_return;
    }
    const Json command = read->value("command", Json());
    Json request = Json::object();
    request["process"] = text_of(*read, "process");
    request["kind"] = "bash";
    request["stream"] = false;
    request["commands"] = command.is_array() ? command : Json::array({command});
    co_await pass_on(exchange, "run", std::move(request));
}

}  // namespace rh::http
