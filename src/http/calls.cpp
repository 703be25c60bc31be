#include "http/calls.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "http/run_routes.h"
#include "http/stream.h"

namespace rh::http {

using daemon::CallEvent;
using daemon::CallRequest;
using daemon::MethodFacts;
using daemon::Scope;
using net::asio::awaitable;
using Json = nlohmann::json;

namespace {

// {"$part": 1, "type": ..}, which says that a result is the part behind it, is shorter than that.
constexpr std::size_t k_marker_bytes_max = 1024;

std::string media_type_of_marker(std::string_view text) {
    const Json marker = Json::parse(text, nullptr, false);
    if (!marker.is_object() || !marker.contains("$part")) return {};
    const auto type = marker.find("type");
    const std::string found = type != marker.end() && type->is_string() ? type->get<std::string>() : std::string(k_bytes);
    const bool clean = std::all_of(found.begin(), found.end(), [](char c) { return c >= ' ' && c < 0x7f; });
    return clean ? found : std::string(k_bytes);
}

// One event after the other of a body, written as it comes.
awaitable<void> write_rest(Exchange& exchange, Running& running, std::uint64_t left) {
    while (left != 0) {
        std::optional<CallEvent> event = co_await running.next();
        if (!event) continue;
        if (event->kind == CallEvent::Kind::output) {
            running.call().took_output(event->bytes.size());
            continue;
        }
        const bool fits = event->kind == CallEvent::Kind::more && event->bytes.size() <= left;
        const ByteView written = fits ? event->bytes.view() : ByteView();
        const bool listens = co_await exchange.answer.write(written);
        if (!fits || !listens) {
            exchange.answer.break_off();
            co_return;
        }
        left -= event->bytes.size();
        running.call().took_body(event->bytes.size());
    }
}

// A result whose first part says what the second is.
awaitable<void> answer_beside(Exchange& exchange, Running& running, const std::vector<std::uint64_t>& parts, Bytes begun) {
    Bytes marker = std::move(begun);
    while (marker.size() < parts[0]) {
        std::optional<CallEvent> event = co_await running.next();
        if (!event) continue;
        if (event->kind == CallEvent::Kind::output) running.call().took_output(event->bytes.size());
        if (event->kind == CallEvent::Kind::aborted) {
            co_await exchange.answer.fail(event->outcome);
            co_return;
        }
        if (event->kind != CallEvent::Kind::more) continue;
        marker.append(event->bytes.view());
        running.call().took_body(event->bytes.size());
    }
    const std::string type = media_type_of_marker(as_text(marker.view().first(parts[0])));
    if (type.empty()) {
        Refusal refusal(Error(Code::unsupported, "the result has parts beside it that JSON has no place for: ask for a reference with remote=true"));
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    const ByteView there = marker.view().subspan(parts[0]);
    exchange.answer.begin(200, type, parts[1]);
    const bool listens = co_await exchange.answer.write(there);
    if (!listens) co_return;
    co_await write_rest(exchange, running, parts[1] - there.size());
}

awaitable<void> answer_value(Exchange& exchange, Running& running, bool generator) {
    for (;;) {
        std::optional<CallEvent> event = co_await running.next();
        if (!event) continue;
        if (event->kind == CallEvent::Kind::output) {
            running.call().took_output(event->bytes.size());
        } else if (event->kind == CallEvent::Kind::item) {
            ItemStream stream(exchange, running, Form::value, false);
            co_await stream.run(std::move(event));
            co_return;
        } else if (event->kind == CallEvent::Kind::result) {
            co_await answer_result(exchange, running, std::move(*event), generator);
            co_return;
        } else if (event->kind == CallEvent::Kind::aborted) {
            co_await exchange.answer.fail(event->outcome);
            co_return;
        }
    }
}

std::string place_of(std::string_view route, std::string_view name) {
    std::string place(route);
    for (const char c : name) {
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' || c == '~';
        place += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return place;
}

Try<> check_get(const Exchange& exchange, const Target& target, const std::optional<MethodFacts>& facts) {
    const bool is_get = exchange.request.method == "GET" || exchange.request.method == "HEAD";
    if (!is_get || (exchange.connection.door() != nullptr && exchange.connection.door()->runhouse) || (facts && facts->readonly)) return {};
    return refuse(Refusal(405, Code::protocol, fmt::format("\"{}\" may change something: call {} with POST, or mark it with @rh.readonly", target.service, target.method)).with("Allow", "POST"));
}

bool is_constructor(const Exchange& exchange, const Target& target) {
    if (!target.method.empty()) return false;
    const std::optional<MethodFacts> facts = exchange.api.method(target.service, "call");
    return facts && facts->service_kind == "class";
}

}  // namespace

awaitable<void> answer_result(Exchange& exchange, Running& running, CallEvent event, bool generator) {
    if (event.outcome.kind != Outcome::Kind::returned) {
        co_await exchange.answer.fail(event.outcome);
        co_return;
    }
    const std::vector<std::uint64_t> parts = event.outcome.body.part_bytes;
    const Encoding encoding = event.outcome.body.encoding;
    if (parts.empty() || encoding == Encoding::empty) {
        co_await exchange.answer.whole(200, k_json, generator ? "[]" : "null");
        co_return;
    }
    if (encoding != Encoding::json) {
        Refusal refusal(Error(Code::unsupported, "the worker answered a call in JSON in another encoding"));
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    const std::uint64_t begun_bytes = event.bytes.size();
    if (parts.size() == 2 && parts[0] <= k_marker_bytes_max) {
        co_await answer_beside(exchange, running, parts, std::move(event.bytes));
        running.call().took_body(begun_bytes);
        co_return;
    }
    if (parts.size() != 1) {
        Refusal refusal(Error(Code::unsupported, "the result has parts beside it that JSON has no place for: ask for a reference with remote=true"));
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    exchange.answer.begin(200, k_json, parts[0]);
    const bool listens = co_await exchange.answer.write(event.bytes.view());
    if (!listens) co_return;
    running.call().took_body(begun_bytes);
    co_await write_rest(exchange, running, parts[0] - begun_bytes);
}

Error no_such_service(std::string_view service) {
    return Error(Code::not_found, fmt::format("there is no service \"{:.128}\" here", service)).with("name", std::string(service.substr(0, limits::k_name_bytes_max))).with("started", "no");
}

Try<Form> form_of(const Request& request) {
    for (const std::string& type : accepted_types(request.header("accept"))) {
        if (type == k_events) return Form::events;
        if (type == k_lines) return Form::lines;
        if (type == "*/*" || type == "application/*" || type == k_json || type == k_bytes || type == k_npy || type == k_pickle || type.starts_with("text/")) return Form::value;
    }
    return refuse(406, fmt::format("nothing that can be answered is of the type \"{:.128}\": accept application/json, text/event-stream, application/x-ndjson, application/x-npy, "
                                   "application/octet-stream or application/x-pickle", request.header("accept")));
}

Try<CallOptions> check_call(const Exchange& exchange, const Target& target) {
    const Request& request = exchange.request;
    const bool is_post = request.method == "POST";
    const Result<void> may = exchange.principal.may_call(target.service);
    if (!may) return refuse(Refusal(may.error()));
    const std::optional<MethodFacts> facts = exchange.api.method(target.service, target.method);
    if (!facts) return refuse(Refusal(no_such_service(target.service)));
    if (const auto checked = check_get(exchange, target, facts); !checked) return refuse(checked.error());
    if (const Try<Form> form = form_of(request); !form) return refuse(form.error());
    if (accept_for_worker(request).find(k_pickle) != std::string::npos) {
        const Result<void> may_pickle = exchange.principal.may(Scope::deploy, "to be sent a pickle");
        if (!may_pickle) return refuse(Refusal(may_pickle.error()));
    }
    Try<CallOptions> options = options_of(request, is_post && is_json_or_nothing(request));
    if (!options) return options;
    const bool creates = options->remote || is_constructor(exchange, target);
    if (creates && !is_post) return refuse(Refusal(405, Code::protocol, "an object is made with POST").with("Allow", "POST"));
    // What a call keeps under a name that nobody chose is no more than a call.
    const bool only_calls = !is_constructor(exchange, target) && options->name.empty() && options->process.empty();
    if ((creates && !only_calls) || options->kill) {
        const Result<void> may_deploy = exchange.principal.may(Scope::deploy, creates && !only_calls ? "to keep an object on the node" : "to end a worker with its call");
        if (!may_deploy) return refuse(Refusal(may_deploy.error()));
    }
    return options;
}

awaitable<void> serve_call(Exchange& exchange, Target target) {
    Try<CallOptions> options = check_call(exchange, target);
    if (!options) {
        co_await exchange.answer.refuse(options.error());
        co_return;
    }
    const bool creates = options->remote || is_constructor(exchange, target);
    const bool runs = !creates && wants_run(exchange.request);
    // Named, because g++ 12 ends what a conditional in a co_await has made twice.
    std::string accept = creates || runs ? std::string() : accept_for_worker(exchange.request);
    const std::uint64_t kept_max = creates || runs ? limits::k_http_kept_bytes_max : 0;
    Kept kept(exchange.connection.shared());
    Arguments arguments;
    if (exchange.request.method == "POST") {
        Try<Arguments> read = co_await read_arguments(exchange, kept, std::move(accept), kept_max);
        if (!read) {
            co_await exchange.answer.refuse(read.error());
            co_return;
        }
        arguments = std::move(*read);
    } else {
        arguments = arguments_of_query(exchange.request, accept);
    }
    co_await serve_checked(exchange, std::move(target), std::move(*options), std::move(arguments));
}

awaitable<void> serve_checked(Exchange& exchange, Target target, CallOptions options, Arguments arguments) {
    const bool creates = options.remote || is_constructor(exchange, target);
    if (creates) {
        co_await serve_create(exchange, std::move(target), std::move(options), std::move(arguments));
    } else if (wants_run(exchange.request)) {
        co_await serve_run_of(exchange, std::move(target), std::move(options), std::move(arguments));
    } else {
        co_await serve_call_of(exchange, std::move(target), std::move(options), std::move(arguments));
    }
}

awaitable<void> serve_call_of(Exchange& exchange, Target target, CallOptions options, Arguments arguments) {
    if (target.method.empty()) target.method = "call";
    const Try<Form> form = form_of(exchange.request);
    const std::optional<MethodFacts> facts = exchange.api.method(target.service, target.method);
    CallRequest call;
    call.service = std::move(target.service);
    call.method = std::move(target.method);
    call.deadline_ms = options.timeout_ms;
    call.kill = options.kill;
    Running running(exchange);
    const Try<> opened = co_await running.open(std::move(call), std::move(arguments));
    if (!opened) {
        co_await exchange.answer.refuse(opened.error());
        co_return;
    }
    if (!form || *form == Form::value) {
        co_await answer_value(exchange, running, facts && facts->generator);
        co_return;
    }
    std::optional<CallEvent> event = running.next_now();
    if (event && event->kind == CallEvent::Kind::result && event->outcome.kind == Outcome::Kind::failed) {
        // It was refused before it began, which a status says better than an event.
        co_await exchange.answer.fail(event->outcome);
        co_return;
    }
    ItemStream stream(exchange, running, *form, options.logs.value_or(true));
    co_await stream.run(std::move(event));
}

awaitable<void> serve_create(Exchange& exchange, Target target, CallOptions options, Arguments arguments) {
    const bool instance = target.method.empty() && !options.remote;
    if (target.method.empty()) {
        const std::optional<MethodFacts> facts = exchange.api.method(target.service, "call");
        if (facts && facts->service_kind != "class") target.method = "call";
    }
    Json request = Json::object();
    request["class"] = target.service;
    request["method"] = target.method.empty() ? Json() : Json(target.method);
    request["name"] = options.name.empty() ? Json() : Json(options.name);
    request["process"] = options.process.empty() ? Json() : Json(options.process);
    request["encoding"] = arguments.part_bytes.empty() ? 0 : static_cast<int>(Encoding::json);
    const std::string text = request.dump();
    arguments.part_bytes.insert(arguments.part_bytes.begin(), text.size());
    Bytes bytes(as_byte_view(text));
    bytes.append(arguments.bytes.view());
    arguments.bytes = std::move(bytes);
    CallRequest call;
    call.service = "_node";
    call.method = "create";
    call.deadline_ms = options.timeout_ms;
    call.kill = options.kill;
    Running running(exchange);
    const Try<> opened = co_await running.open(std::move(call), std::move(arguments));
    if (!opened) {
        co_await exchange.answer.refuse(opened.error());
        co_return;
    }
    const Outcome outcome = co_await running.outcome(limits::k_http_json_bytes_max);
    if (outcome.kind != Outcome::Kind::returned) {
        co_await exchange.answer.fail(outcome);
        co_return;
    }
    const std::string described(as_text(outcome.body.bytes.view()));
    const Json description = Json::parse(described, nullptr, false);
    const std::string name = description.is_object() ? description.value("name", "") : "";
    Headers headers;
    headers.emplace_back("Location", place_of(instance ? "/v1/services/" : "/v1/objects/", name));
    const std::string reference = fmt::format("{{\"$ref\":{}}}", json_string(name));
    const std::string_view text_of_answer = instance ? described : reference;
    co_await exchange.answer.whole(201, k_json, text_of_answer, std::move(headers));
}

}  // namespace rh::http
