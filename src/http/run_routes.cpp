#include "http/run_routes.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "http/node_asking.h"
#include "http/stream.h"

namespace rh::http {

using daemon::CallEvent;
using daemon::CallRequest;
using net::asio::awaitable;

namespace {

constexpr std::string_view k_async = "respond-async";
// What a long poll may wait at most; the client asks again.
constexpr double k_wait_max_s = 300;
constexpr std::uint64_t k_attempt_max = std::uint64_t{1} << 32;
constexpr std::uint64_t k_offset_max = std::uint64_t{1} << 60;

bool responds_async(const Request& request) {
    std::string_view preferences = request.header("prefer");
    while (!preferences.empty()) {
        const std::size_t comma = std::min(preferences.find(','), preferences.size());
        std::string word = lower(preferences.substr(0, std::min(preferences.find(';'), comma)));
        std::erase(word, ' ');
        if (word == k_async) return true;
        preferences.remove_prefix(std::min(comma + 1, preferences.size()));
    }
    return false;
}

std::string_view query_value(const Request& request, std::string_view name) {
    for (const auto& [key, value] : request.query) {
        if (key == name) return value;
    }
    return {};
}

bool has(const Request& request, std::string_view name) {
    return std::any_of(request.query.begin(), request.query.end(), [&](const auto& entry) { return entry.first == name; });
}

// Seconds of the query, 0 where they are not there.
Try<double> query_seconds(const Request& request, std::string_view name, double most) {
    if (!has(request, name)) return 0;
    const std::string_view text = query_value(request, name);
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number) || number < 0)
        return refuse(400, fmt::format("\"{}\" is a number of seconds, not \"{:.64}\"", name, text));
    return std::min(number, most);
}

// A whole number of the query, 0 where it is not there.
Try<std::uint64_t> query_whole(const Request& request, std::string_view name, std::uint64_t least, std::uint64_t most) {
    if (!has(request, name)) return 0;
    const std::string_view text = query_value(request, name);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < least || number > most)
        return refuse(400, fmt::format("\"{}\" is a whole number from {} to {}, not \"{:.64}\"", name, least, most, text));
    return number;
}

Try<bool> query_flag(const Request& request, std::string_view name) {
    if (!has(request, name)) return false;
    const std::string word = lower(query_value(request, name));
    if (word == "true" || word == "1" || word.empty()) return true;
    if (word == "false" || word == "0") return false;
    return refuse(400, fmt::format("\"{}\" is true or false, not \"{:.64}\"", name, word));
}

std::string place_of_run(const std::string& name) { return "/v1/runs/" + name; }

Json request_of(const std::string& name, std::uint64_t attempt, std::uint64_t offset) {
    Json request = named(name);
    request["attempt"] = attempt;
    request["offset"] = offset;
    return request;
}

// Stands outside the coroutine: g++ 12 cannot compile a nested initializer list within one.
Json accepted(const Json& begun, const std::string& place) {
    return {{"run", begun.value("name", Json())}, {"attempt", begun.value("attempt", Json())}, {"how", begun.value("how", Json())}, {"state", begun.value("state", Json())},
            {"status", place}, {"result", place + "/result"}, {"logs", place + "/logs"}};
}

Json start_of(const std::string& name, const Target& target, const CallOptions& options, Encoding encoding) {
    Json request = named(name);
    request["service"] = target.service;
    request["method"] = target.method;
    request["encoding"] = static_cast<int>(encoding);
    request["timeout_ms"] = options.timeout_ms;
    request["kill"] = options.kill;
    return request;
}

bool goes_on(const CallEvent& event) {
    return event.outcome.kind == Outcome::Kind::failed && event.outcome.error.code == Code::timeout && event.outcome.error.fact("still_running") == "True";
}

// Opens a call of "_node" about a run, for who reads its events.
awaitable<Try<>> open_asking(Running& running, std::string method, Json request, std::uint64_t deadline_ms) {
    Arguments arguments;
    const std::string text = dump(request);
    arguments.bytes.append(as_byte_view(text));
    arguments.part_bytes.push_back(text.size());
    CallRequest call;
    call.service = "_node";
    call.method = std::move(method);
    call.deadline_ms = deadline_ms;
    const Try<> opened = co_await running.open(std::move(call), std::move(arguments));
    co_return opened;
}

// What came of the run; 202 with what it is while it goes on.
awaitable<void> answer_run(Exchange& exchange, std::string name, std::uint64_t attempt, std::uint64_t wait_ms, bool waits) {
    Running running(exchange);
    Json request = request_of(name, attempt, 0);
    request["wait"] = waits;
    const Try<> opened = co_await open_asking(running, "run_result", std::move(request), wait_ms);
    if (!opened) {
        co_await exchange.answer.refuse(opened.error());
        co_return;
    }
    for (;;) {
        std::optional<CallEvent> event = co_await running.next();
        if (!event || (event->kind != CallEvent::Kind::result && event->kind != CallEvent::Kind::aborted)) continue;
        if (goes_on(*event)) {
            const Asked asked = co_await ask(running, "run_get", named(name));
            co_await answer_asked(exchange, 202, asked);
            co_return;
        }
        const Encoding encoding = event->outcome.body.encoding;
        if (event->outcome.kind == Outcome::Kind::returned && encoding != Encoding::json && encoding != Encoding::empty) {
            Refusal refusal(Error(Code::not_serializable, fmt::format("the result of the run \"{}\" is no JSON, because it was started from Python, which can read it", name)).with("of", "result"));
            co_await exchange.answer.refuse(std::move(refusal));
            co_return;
        }
        co_await answer_result(exchange, running, std::move(*event), false);
        co_return;
    }
}

}  // namespace

bool wants_run(const Request& request) {
    return request.method == "POST" && (!request.header("idempotency-key").empty() || !request.header("roundhouse-webhook").empty() || responds_async(request));
}

awaitable<void> serve_run_of(Exchange& exchange, Target target, CallOptions options, Arguments arguments) {
    if (target.method.empty()) target.method = "call";
    std::string name(exchange.request.header("idempotency-key"));
    if (name.empty()) name = fmt::format("{:.100}-{}", target.service, random_hex(6));
    const Encoding encoding = arguments.part_bytes.empty() ? Encoding::empty : Encoding::json;
    Asked begun;
    {
        Running running(exchange);
        Json request = start_of(name, target, options, encoding);
        if (const std::string_view webhook = exchange.request.header("roundhouse-webhook"); !webhook.empty()) request["webhook"] = webhook;
        begun = co_await ask(running, "run_start", std::move(request), std::move(arguments));
    }
    if (!begun.ok()) {
        co_await exchange.answer.fail(begun.outcome);
        co_return;
    }
    if (!responds_async(exchange.request)) {
        co_await answer_run(exchange, std::move(name), begun.value.value("attempt", std::uint64_t{0}), 0, true);
        co_return;
    }
    const std::string place = place_of_run(name);
    Headers headers;
    headers.emplace_back("Location", place);
    headers.emplace_back("Preference-Applied", std::string(k_async));
    const std::string text = dump(accepted(begun.value, place));
    co_await exchange.answer.whole(202, k_json, text, std::move(headers));
}

awaitable<void> serve_run_list(Exchange& exchange, std::vector<std::string>) {
    const Try<std::uint64_t> limit = query_whole(exchange.request, "limit", 1, limits::k_runs_listed_max);
    if (!limit) {
        co_await exchange.answer.refuse(limit.error());
        co_return;
    }
    Json request = Json::object();
    if (*limit > 0) request["limit"] = *limit;
    Running running(exchange);
    const Asked asked = co_await ask(running, "run_list", std::move(request));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_run_status(Exchange& exchange, std::vector<std::string> names) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "run_get", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_run_result(Exchange& exchange, std::vector<std::string> names) {
    const Try<double> wait = query_seconds(exchange.request, "wait", k_wait_max_s);
    const Try<std::uint64_t> attempt = query_whole(exchange.request, "attempt", 1, k_attempt_max);
    if (!wait || !attempt) {
        Refusal refusal = !wait ? wait.error() : attempt.error();
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    co_await answer_run(exchange, std::move(names[0]), *attempt, static_cast<std::uint64_t>(std::ceil(*wait * 1000)), *wait > 0);
}

awaitable<void> serve_run_logs(Exchange& exchange, std::vector<std::string> names) {
    const Try<std::uint64_t> offset = query_whole(exchange.request, "offset", 0, k_offset_max);
    const Try<std::uint64_t> attempt = query_whole(exchange.request, "attempt", 1, k_attempt_max);
    const Try<bool> follow = query_flag(exchange.request, "follow");
    if (!offset || !attempt || !follow) {
        Refusal refusal = !offset ? offset.error() : !attempt ? attempt.error() : follow.error();
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    Json request = request_of(names[0], *attempt, *offset);
    request["follow"] = *follow;
    Running running(exchange);
    const Try<> opened = co_await open_asking(running, "run_logs", std::move(request), 0);
    if (!opened) {
        co_await exchange.answer.refuse(opened.error());
        co_return;
    }
    std::optional<CallEvent> event = co_await running.next();
    while (!event) event = co_await running.next();
    if (event->kind == CallEvent::Kind::result && event->outcome.kind != Outcome::Kind::returned) {
        co_await exchange.answer.fail(event->outcome);
        co_return;
    }
    const Try<Form> form = form_of(exchange.request);
    if (form && *form != Form::value) {
        ItemStream stream(exchange, running, *form, true);
        co_await stream.run(std::move(event));
        co_return;
    }
    exchange.answer.begin_stream(200, "text/plain; charset=utf-8");
    exchange.answer.wait_for_ever();
    for (;;) {
        if (event && event->kind == CallEvent::Kind::output) {
            exchange.answer.add(as_text(event->bytes.view()));
            const bool listens = co_await exchange.answer.flush();
            if (!listens) co_return;
            running.call().took_output(event->bytes.size());
        } else if (event && (event->kind == CallEvent::Kind::result || event->kind == CallEvent::Kind::aborted)) {
            if (event->outcome.kind != Outcome::Kind::returned) exchange.answer.break_off();
            if (event->outcome.kind == Outcome::Kind::returned) co_await exchange.answer.end();
            co_return;
        }
        event = co_await running.next();
    }
}

awaitable<void> serve_run_cancel(Exchange& exchange, std::vector<std::string> names) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "run_cancel", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

awaitable<void> serve_run_forget(Exchange& exchange, std::vector<std::string> names) {
    Running running(exchange);
    const Asked asked = co_await ask(running, "run_forget", named(names[0]));
    co_await answer_asked(exchange, 200, asked);
}

}  // namespace rh::http
