#include "http/node_routes.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "http/calls.h"
#include "http/metrics.h"
#include "http/node_asking.h"

namespace rh::http {

using net::asio::awaitable;

namespace {

const Fields k_deploy_fields{"name", "callable", "text", "kind", "python", "command", "replace", "env", "cwd", "process", "cpus", "gpus", "memory", "count", "max_concurrency", "max_queue"};
const Fields k_deployment_fields{"kind", "replace", "process", "max_concurrency", "max_queue"};
const Fields k_process_fields{"name", "python", "command", "env", "cwd", "vars", "cpus", "gpus", "memory", "exist_ok"};
const Fields k_named_process_fields{"name", "vars", "exist_ok"};
const Fields k_run_fields{"commands", "kind"};

Headers located(std::string_view route, const std::string& name) {
    Headers headers;
    headers.emplace_back("Location", fmt::format("{}{}", route, name));
    return headers;
}

}  // namespace

awaitable<void> serve_check(Exchange& exchange, std::vector<std::string>) {
    co_await exchange.answer.whole(200, k_json, R"({"status":"ok","version":")" ROUNDHOUSE_VERSION R"("})");
}

awaitable<void> serve_status(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    Asked asked = co_await ask(running, "status", Json::object());
    if (asked.ok() && asked.value.contains("processes")) drop_environments(asked.value["processes"]);
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_metrics(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "status", Json::object());
    if (!asked.ok()) {
        co_await exchange.answer.fail(asked.outcome);
        co_return;
    }
    const std::string text = metrics_text(asked.value, exchange.api.connections(), exchange.connection.shared());
    co_await exchange.answer.whole(200, "text/plain; version=0.0.4; charset=utf-8", text);
}

awaitable<void> serve_services(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    Asked asked = co_await ask(running, "status", Json::object());
    if (!asked.ok()) {
        co_await exchange.answer.fail(asked.outcome);
        co_return;
    }
    const Json all = asked.value["services"];
    asked.value = Json::array();
    for (const Json& service : all) {
        Asked described = co_await ask(running, "describe", named(service.value("name", "")));
        // One that is gone meanwhile, or whose worker has died, is listed with what is known of it.
        asked.value.push_back(described.ok() ? described.value : service);
    }
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_description(Exchange& exchange, std::vector<std::string> names) {
    const Result<void> may = exchange.principal.may_call(names[0]);
    if (!may) {
        Refusal refusal(may.error());
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    Running running(exchange);
    const Asked asked = co_await ask(running, "describe", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_delete(Exchange& exchange, std::vector<std::string> names) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "delete", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_deploy(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_deploy_fields);
    Try<> checked = read ? Try<>() : Try<>(refuse(read.error()));
    Json wanted = read ? *read : Json::object();
    const auto text_of = [&](const char* field) { return wanted.contains(field) && wanted[field].is_string() ? wanted[field].get<std::string>() : std::string(); };
    const auto wrong = [](std::string message) { return refuse(Refusal(Error(Code::bad_arguments, std::move(message)))); };
    const bool program = wanted.contains("command");
    const std::string name = text_of("name").empty() ? text_of("callable") : text_of("name");
    if (checked && name.empty()) checked = wrong("the field \"name\" is missing: what the service is to be called");
    if (checked && program == wanted.contains("text")) checked = wrong("deploying takes a Python file's \"text\" and the \"callable\" in it, or a program's \"command\"");
    if (checked && !program && (text_of("callable").empty() || !wanted["text"].is_string())) checked = wrong("the fields \"text\" and \"callable\" must be texts: a Python file's, and the name of a function or class in it");
    Json request = Json::object();
    copy_fields(wanted, k_deployment_fields, request);
    request["name"] = name;
    request["encoding"] = 0;
    Arguments attachments;
    if (program) {
        if (!request.contains("kind")) request["kind"] = "function";
    } else if (checked) {
        Json source = Json::object();
        source["file"] = name + ".py";
        source["callable"] = text_of("callable");
        request["source"] = std::move(source);
        const std::string text = text_of("text");
        attachments.part_bytes.push_back(text.size());
        attachments.bytes.append(as_byte_view(text));
    }
    Try<Json> start = checked ? start_request(wanted) : Try<Json>(Json::object());
    if (checked && !start) checked = refuse(start.error());
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    Running running(exchange);
    const Asked asked = co_await deploy(running, std::move(*start), std::move(request), std::move(attachments));
    co_await answer_asked(exchange, 201, asked, located("/v1/services/", name));
}

// --- objects -------------------------------------------------------------------------------------------------------

awaitable<void> serve_objects(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    Asked asked = co_await ask(running, "status", Json::object());
    if (!asked.ok()) {
        co_await exchange.answer.fail(asked.outcome);
        co_return;
    }
    const Json all = asked.value["services"];
    asked.value = Json::object();
    for (const Json& service : all) {
        const std::string kind = service.value("kind", "");
        if (kind != "object" && kind != "instance") continue;
        const std::string name = service.value("name", "");
        const Asked described = co_await ask(running, "describe", named(name));
        asked.value[name] = described.ok() && described.value.contains("class") ? described.value["class"] : Json();
    }
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_object(Exchange& exchange, std::vector<std::string> names) {
    const Result<void> may = exchange.principal.may_call(names[0]);
    Try<> checked = may ? Try<>() : Try<>(refuse(Refusal(may.error())));
    const Try<Form> form = form_of(exchange.request);
    if (checked && !form) checked = refuse(form.error());
    const std::string accept = accept_for_worker(exchange.request);
    if (checked && accept.find(k_pickle) != accept.npos) {
        const Result<void> may_pickle = exchange.principal.may(daemon::Scope::deploy, "to be sent a pickle");
        if (!may_pickle) checked = refuse(Refusal(may_pickle.error()));
    }
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    Arguments arguments;
    const std::string text = fmt::format(R"({{"args":[],"kwargs":{{}}{}}})", accept.empty() ? std::string() : fmt::format(",\"accept\":{}", json_string(accept)));
    arguments.part_bytes.push_back(text.size());
    arguments.bytes.append(as_byte_view(text));
    Target target;
    target.service = std::move(names[0]);
    target.method = "@fetch";
    CallOptions options;
    co_await serve_call_of(exchange, std::move(target), std::move(options), std::move(arguments));
}

awaitable<void> serve_put(Exchange& exchange, std::vector<std::string> names) {
    const Request& request = exchange.request;
    Try<> checked;
    std::string process;
    for (const auto& [key, value] : request.query) {
        if (key == "process") {
            process = value;
        } else if (checked) {
            checked = refuse(400, fmt::format("\"{:.64}\" is no option here; \"process\" is", key));
        }
    }
    const std::string type = request.media_type();
    Kept kept(exchange.connection.shared());
    Arguments value;
    if (checked && type == k_json) {
        const Try<JsonBody> body = co_await read_json(exchange, kept);
        if (body) {
            value.part_bytes.push_back(body->text.size());
            value.bytes.append(body->text.view());
        } else {
            checked = refuse(body.error());
        }
    } else if (checked && (type == k_npy || type == k_bytes || type.starts_with("text/"))) {
        const Try<Bytes> body = co_await read_whole(exchange, kept, exchange.body.has_length() ? limits::k_http_kept_bytes_max : limits::k_http_chunked_bytes_max);
        if (body) {
            const std::string marker = fmt::format(R"({{"$part":1,"type":{}}})", json_string(type.starts_with("text/") ? request.header("content-type") : std::string_view(type)));
            value.part_bytes.push_back(marker.size());
            value.part_bytes.push_back(body->size());
            value.bytes.append(as_byte_view(marker));
            value.bytes.append(body->view());
        } else {
            checked = refuse(body.error());
        }
    } else if (checked) {
        checked = refuse(415, fmt::format("an object is application/json, application/x-npy, application/octet-stream or text, not \"{:.64}\"", type));
    }
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    co_await put_value(exchange, std::move(names[0]), std::move(process), std::move(value));
}

awaitable<void> put_value(Exchange& exchange, std::string key, std::string process, Arguments value) {
    const Request& request = exchange.request;
    Json wanted = Json::object();
    if (request.count("roundhouse-python") != 0) wanted["python"] = std::string(request.header("roundhouse-python"));
    Try<Json> start = start_request(wanted);
    if (!start) {
        co_await exchange.answer.refuse(start.error());
        co_return;
    }
    Json deployment = named(key);
    deployment["kind"] = "object";
    deployment["source"] = Json::object();
    deployment["encoding"] = static_cast<int>(Encoding::json);
    Running running(exchange);
    if (!process.empty()) deployment["process"] = process;
    Asked asked = co_await deploy(running, std::move(*start), std::move(deployment), std::move(value));
    if (asked.ok()) {
        asked.value = Json::object();
        asked.value["$ref"] = key;
    }
    co_await answer_asked(exchange, 201, asked, located("/v1/objects/", key));
}

// --- processes -----------------------------------------------------------------------------------------------------

awaitable<void> serve_processes(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    Asked asked = co_await ask(running, "processes", Json::object());
    if (asked.ok()) drop_environments(asked.value);
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_create_process(Exchange& exchange, std::vector<std::string>) {
    const Try<Json> read = co_await read_object(exchange, k_process_fields);
    Try<Json> request = read ? start_request(*read) : Try<Json>(refuse(read.error()));
    if (!request) {
        co_await exchange.answer.refuse(request.error());
        co_return;
    }
    copy_fields(*read, k_named_process_fields, *request);
    Running running(exchange);
    Asked asked = co_await ask(running, "create_process", std::move(*request));
    std::string name;
    if (asked.ok()) {
        asked.value.erase("vars");
        name = asked.value.value("name", "");
    }
    co_await answer_asked(exchange, 201, asked, located("/v1/processes/", name));
}

awaitable<void> serve_kill_process(Exchange& exchange, std::vector<std::string> names) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "kill_process", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_run(Exchange& exchange, std::vector<std::string> names) {
    const Try<Form> form = form_of(exchange.request);
    Try<Json> read = co_await read_object(exchange, k_run_fields);
    Try<> checked = form ? Try<>() : Try<>(refuse(form.error()));
    if (checked && !read) checked = refuse(read.error());
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    (*read)["process"] = names[0];
    (*read)["stream"] = *form != Form::value;
    const std::string text = dump(*read);
    Arguments arguments;
    arguments.part_bytes.push_back(text.size());
    arguments.bytes.append(as_byte_view(text));
    Target target;
    target.service = "_node";
    target.method = "run";
    CallOptions options;
    co_await serve_call_of(exchange, std::move(target), std::move(options), std::move(arguments));
}

}  // namespace rh::http
