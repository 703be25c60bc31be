#include "http/documents.h"

#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "http/node_asking.h"
#include "http/openapi.h"
#include "http/page.h"

namespace rh::http {

using net::asio::awaitable;

namespace {

std::string url_of(const Exchange& exchange) {
    const net::Door* const door = exchange.connection.door();
    return fmt::format("{}://{}", door != nullptr && door->tls ? "https" : "http", door == nullptr ? std::string_view("localhost") : exchange.request.header("host"));
}

Json with_schemas(const std::string& name) {
    Json request = named(name);
    request["schemas"] = true;
    return request;
}

}  // namespace

awaitable<void> serve_openapi(Exchange& exchange, std::vector<std::string>) {
    Running running(exchange);
    const Asked status = co_await ask(running, "status", Json::object());
    if (!status.ok()) {
        co_await exchange.answer.fail(status.outcome);
        co_return;
    }
    Json descriptions = Json::array();
    const Json services = status.value["services"];
    for (const Json& service : services) {
        const std::string name = service.value("name", "");
        const Asked described = co_await ask(running, "describe", with_schemas(name));
        if (described.ok()) descriptions.push_back(described.value);
    }
    const std::string text = dump(openapi_of_server(descriptions, url_of(exchange)));
    co_await exchange.answer.whole(200, k_json, text);
}

awaitable<void> serve_openapi_of(Exchange& exchange, std::vector<std::string> names) {
    const Result<void> may = exchange.principal.may_call(names[0]);
    if (!may) {
        Refusal refusal(may.error());
        co_await exchange.answer.refuse(std::move(refusal));
        co_return;
    }
    Running running(exchange);
    const Asked described = co_await ask(running, "describe", with_schemas(names[0]));
    if (!described.ok()) {
        co_await exchange.answer.fail(described.outcome);
        co_return;
    }
    const std::string text = dump(openapi_of_service(described.value, url_of(exchange)));
    co_await exchange.answer.whole(200, k_json, text);
}

awaitable<void> serve_page(Exchange& exchange, std::vector<std::string> names) {
    if (!names.empty()) {
        if (const Result<void> valid = check_name("service", names[0], limits::k_name_bytes_max); !valid) {
            Refusal refusal(valid.error());
            co_await exchange.answer.refuse(std::move(refusal));
            co_return;
        }
    }
    Headers headers;
    headers.emplace_back("Content-Security-Policy", std::string(docs_page_policy()));
    headers.emplace_back("Referrer-Policy", "no-referrer");
    co_await exchange.answer.whole(200, "text/html; charset=utf-8", docs_page(), std::move(headers));
}

}  // namespace rh::http
