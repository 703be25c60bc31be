#include "http/node_asking.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

#include "base/limits.h"

namespace rh::http {

using daemon::CallRequest;
using net::asio::awaitable;

namespace {

const Fields k_amount_fields{"cpus", "gpus", "memory", "count"};

Json own_environment() {
    Json all = Json::object();
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::size_t equals = text.find('=');
        if (equals != text.npos && equals != 0) all[std::string(text.substr(0, equals))] = std::string(text.substr(equals + 1));
    }
    return all;
}

}  // namespace

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json named(const std::string& name) {
    Json request = Json::object();
    request["name"] = name;
    return request;
}

void copy_fields(const Json& from, const Fields& fields, Json& to) {
    for (const std::string_view field : fields) {
        if (const auto found = from.find(field); found != from.end()) to[std::string(field)] = *found;
    }
}

awaitable<Asked> ask(Running& running, std::string method, Json request, Arguments attachments) {
    const std::string text = dump(request);
    Bytes bytes(as_byte_view(text));
    bytes.append(attachments.bytes.view());
    attachments.bytes = std::move(bytes);
    attachments.part_bytes.insert(attachments.part_bytes.begin(), text.size());
    CallRequest call;
    call.service = "_node";
    call.method = std::move(method);
    Asked asked;
    const Try<> opened = co_await running.open(std::move(call), std::move(attachments));
    if (!opened) {
        asked.outcome = Outcome::failed(opened.error().error);
        co_return asked;
    }
    asked.outcome = co_await running.outcome(limits::k_http_json_bytes_max);
    if (asked.ok()) asked.value = Json::parse(as_text(asked.outcome.body.bytes.view()), nullptr, false);
    co_return asked;
}

awaitable<void> answer_asked(Exchange& exchange, int status, const Asked& asked, Headers headers) {
    if (!asked.ok()) {
        co_await exchange.answer.fail(asked.outcome);
        co_return;
    }
    const std::string text = dump(asked.value);
    co_await exchange.answer.whole(status, k_json, text, std::move(headers));
}

void drop_environments(Json& processes) {
    for (auto& [name, process] : processes.items()) process.erase("vars");
}

awaitable<Try<Json>> read_object(Exchange& exchange, const Fields& known) {
    const std::string type = exchange.request.media_type();
    if (exchange.request.has_body() && type != k_json) co_return refuse(415, fmt::format("the body must be application/json, not \"{:.64}\"", type));
    Kept kept(exchange.connection.shared());
    const Try<JsonBody> body = co_await read_json(exchange, kept);
    if (!body) co_return refuse(body.error());
    if (body->check.kind() != JsonCheck::Kind::object) co_return refuse(400, "the body must be one JSON object");
    Json object = Json::parse(as_text(body->text.view()), nullptr, false);
    if (!object.is_object()) co_return refuse(400, "the body must be one JSON object");
    for (const auto& [key, value] : object.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end())
            co_return refuse(Refusal(Error(Code::bad_arguments, fmt::format("\"{:.64}\" is no field of this request; it has {}", key, fmt::join(known, ", ")))));
    }
    co_return object;
}

Try<Json> start_request(const Json& wanted) {
    const auto wrong = [](std::string_view field, std::string_view what) { return refuse(Refusal(Error(Code::bad_arguments, fmt::format("the field \"{}\" must be {}", field, what)))); };
    Json request = Json::object();
    if (wanted.contains("command")) {
        request["command"] = wanted["command"];
    } else {
        const Json python = wanted.value("python", Json("python3"));
        if (!python.is_string() || python.get_ref<const std::string&>().empty()) return wrong("python", "the path or name of an interpreter");
        request["command"] = Json::array({python, "-m", "roundhouse._worker"});
        request["import_path"] = Json::array();
    }
    Json env = own_environment();
    const Json given = wanted.value("env", Json::object());
    if (!given.is_object()) return wrong("env", "an object of names and texts");
    for (const auto& [key, value] : given.items()) {
        if (!value.is_string()) return wrong("env", "an object of names and texts");
        env[key] = value;
    }
    request["env"] = std::move(env);
    const char* const home = std::getenv("HOME");
    request["cwd"] = wanted.value("cwd", Json(home != nullptr && ::access(home, X_OK) == 0 ? home : "/"));
    copy_fields(wanted, k_amount_fields, request);
    return request;
}

awaitable<Asked> deploy(Running& running, Json start, Json request, Arguments attachments) {
    if (!request.contains("process")) {
        Asked started = co_await ask(running, "start", std::move(start));
        if (!started.ok()) co_return started;
        request["workers"] = started.value["workers"];
    }
    Asked deployed = co_await ask(running, "deploy", std::move(request), std::move(attachments));
    co_return deployed;
}

}  // namespace rh::http
