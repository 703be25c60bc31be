#include "http/routes.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "http/calls.h"
#include "http/documents.h"
#include "http/guard.h"
#include "http/legacy.h"
#include "http/node_routes.h"
#include "http/run_routes.h"

namespace rh::http {

using daemon::Scope;
using net::asio::awaitable;

namespace {

using Serve = awaitable<void> (*)(Exchange&, std::vector<std::string>);

// A route of the table: "*" stands for any one segment, which is passed on. A route without a `what` looks itself at who calls.
struct Route {
    std::string_view method;
    std::string_view pattern;
    Serve serve;
    std::optional<Scope> scope;
    std::string_view what;
    bool open = false;  // needs nobody's word
};

awaitable<void> call_method(Exchange& exchange, std::vector<std::string> names) {
    Target target;
    target.service = std::move(names[0]);
    target.method = names.size() > 1 ? std::move(names[1]) : std::string();
    co_await serve_call(exchange, std::move(target));
}

const Route k_routes[] = {
    {"GET", "/v1/check", serve_check, {}, "", true},
    {"GET", "/v1/status", serve_status, Scope::call, "to see the status"},
    {"GET", "/metrics", serve_metrics, Scope::call, "to see the metrics"},
    {"GET", "/v1/services", serve_services, Scope::call, "to list services"},
    {"POST", "/v1/services", serve_deploy, Scope::deploy, "to deploy"},
    {"GET", "/v1/services/*", serve_description, {}, ""},
    {"DELETE", "/v1/services/*", serve_delete, Scope::deploy, "to delete a service"},
    {"POST", "/v1/services/*", call_method, {}, ""},
    {"GET", "/v1/services/*/openapi.json", serve_openapi_of, {}, ""},
    {"GET", "/v1/services/*/*", call_method, {}, ""},
    {"POST", "/v1/services/*/*", call_method, {}, ""},
    {"GET", "/v1/objects", serve_objects, Scope::call, "to list objects"},
    {"GET", "/v1/objects/*", serve_object, {}, ""},
    {"PUT", "/v1/objects/*", serve_put, Scope::deploy, "to keep an object"},
    {"DELETE", "/v1/objects/*", serve_delete, Scope::deploy, "to delete an object"},
    {"GET", "/v1/processes", serve_processes, Scope::call, "to list processes"},
    {"POST", "/v1/processes", serve_create_process, Scope::deploy, "to create a process"},
    {"DELETE", "/v1/processes/*", serve_kill_process, Scope::deploy, "to end a process"},
    {"POST", "/v1/processes/*/run", serve_run, Scope::deploy, "to run commands"},
    {"GET", "/v1/runs", serve_run_list, {}, ""},
    {"GET", "/v1/runs/*", serve_run_status, {}, ""},
    {"DELETE", "/v1/runs/*", serve_run_forget, {}, ""},
    {"GET", "/v1/runs/*/result", serve_run_result, {}, ""},
    {"GET", "/v1/runs/*/logs", serve_run_logs, {}, ""},
    {"POST", "/v1/runs/*/cancel", serve_run_cancel, {}, ""},
    {"GET", "/v1/openapi.json", serve_openapi, Scope::call, "to list services"},
    {"GET", "/docs", serve_page, {}, "", true},
    // Runhouse's.
    {"GET", "/check", serve_old_check, {}, "", true},
    {"GET", "/status", serve_status, Scope::call, "to see the status"},
    {"GET", "/keys", serve_keys, Scope::call, "to list services"},
    {"GET", "/processes", serve_processes, Scope::call, "to list processes"},
    {"GET", "/object", serve_get_object, {}, ""},
    {"POST", "/object", serve_post_object, Scope::deploy, "to keep an object"},
    {"GET", "/cert", serve_certificate, {}, "", true},
    {"POST", "/rename", serve_rename, Scope::deploy, "to rename a service"},
    {"POST", "/delete_object", serve_delete_objects, Scope::deploy, "to delete objects"},
    {"POST", "/create_process", serve_old_create_process, Scope::deploy, "to create a process"},
    {"POST", "/kill_process", serve_old_kill_process, Scope::deploy, "to end a process"},
    {"POST", "/env_vars", serve_env_vars, Scope::deploy, "to set variables"},
    {"POST", "/run_bash", serve_run_bash, Scope::deploy, "to run commands"},
    // Short ones, behind all others.
    {"GET", "/*/openapi.json", serve_openapi_of, {}, ""},
    {"GET", "/*/docs", serve_page, {}, "", true},
    {"GET", "/*/*", serve_short, {}, ""},
    {"POST", "/*/*", serve_short, {}, ""},
};

std::optional<std::vector<std::string>> match(std::string_view pattern, const std::vector<std::string>& path) {
    std::vector<std::string> names;
    std::size_t at = 0;
    pattern.remove_prefix(1);
    while (!pattern.empty()) {
        const std::size_t slash = pattern.find('/');
        const std::string_view segment = pattern.substr(0, slash);
        pattern = slash == pattern.npos ? std::string_view() : pattern.substr(slash + 1);
        if (at == path.size()) return std::nullopt;
        if (segment == "*") {
            names.push_back(path[at]);
        } else if (segment != path[at]) {
            return std::nullopt;
        }
        ++at;
    }
    if (at != path.size()) return std::nullopt;
    return names;
}

bool is_own(std::string_view first) {
    return std::any_of(std::begin(k_routes), std::end(k_routes), [&](const Route& route) {
        const std::string_view begins = route.pattern.substr(1);
        return begins.substr(0, begins.find('/')) == first;
    });
}

Try<> check_names(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        if (name.size() > limits::k_name_bytes_max) return refuse(Refusal(Error(Code::invalid_name, fmt::format("a name in the path has {} bytes; at most {} are allowed", name.size(), limits::k_name_bytes_max))));
    }
    return {};
}

struct Found {
    const Route* route = nullptr;
    std::vector<std::string> names;
    std::string allowed;  // methods that the path has
};

bool may_get(const Exchange& exchange, const std::vector<std::string>& names) {
    const std::optional<daemon::MethodFacts> facts = exchange.api.method(names[0], names.size() > 1 ? names[1] : "");
    return (exchange.connection.door() != nullptr && exchange.connection.door()->runhouse) || (facts && facts->readonly);
}

Found find(const Exchange& exchange) {
    const Request& request = exchange.request;
    Found found;
    const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
    for (const Route& route : k_routes) {
        std::optional<std::vector<std::string>> names = match(route.pattern, request.path);
        // What begins like a route of the node's own is never somebody's service.
        if (!names || (route.pattern.starts_with("/*") && is_own(request.path.front()))) continue;
        // What a GET may not call has none.
        const bool calls = route.serve == call_method || route.serve == serve_short;
        if (calls && route.method == "GET" && method != "GET" && !may_get(exchange, *names)) continue;
        // A method of such a name has its canonical route.
        if (route.pattern == "/*/*" && (request.path.back() == "docs" || request.path.back() == "openapi.json")) continue;
        if (found.allowed.find(route.method) == found.allowed.npos) found.allowed += fmt::format("{}{}", found.allowed.empty() ? "" : ", ", route.method);
        if (route.method == "GET" && found.allowed.find("HEAD") == found.allowed.npos) found.allowed += ", HEAD";
        if (found.route != nullptr || route.method != method) continue;
        found.route = &route;
        found.names = std::move(*names);
    }
    return found;
}

}  // namespace

awaitable<void> serve(Exchange& exchange) {
    const Request& request = exchange.request;
    Try<> checked = check_site(exchange.connection, request);
    Found found;
    if (checked) {
        found = find(exchange);
        const bool open = found.route != nullptr && found.route->open;
        Try<daemon::Principal> known = co_await let_in(exchange.api, exchange.connection, request, open);
        if (known) {
            exchange.principal = std::move(*known);
        } else {
            checked = refuse(known.error());
        }
    }
    if (checked && found.route == nullptr) {
        if (found.allowed.empty()) {
            const Error error(Code::not_found, fmt::format("there is nothing at {:.256}: GET /v1/openapi.json lists what there is", request.target));
            checked = refuse(Refusal(error));
        } else {
            Refusal refusal(405, Code::protocol, fmt::format("{} is not for {:.256}", request.method, request.target));
            refusal.headers.emplace_back("Allow", found.allowed);
            checked = refuse(std::move(refusal));
        }
    }
    if (checked && found.route->scope) {
        const Result<void> may = exchange.principal.may(*found.route->scope, found.route->what);
        if (!may) checked = refuse(Refusal(may.error()));
    }
    if (checked) checked = check_names(found.names);
    if (!checked) {
        co_await exchange.answer.refuse(checked.error());
        co_return;
    }
    co_await found.route->serve(exchange, std::move(found.names));
}

}  // namespace rh::http
