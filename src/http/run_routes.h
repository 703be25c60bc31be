#pragma once

// Runs over HTTP (protocol/http.md, Runs): a call that asks for one by its headers, and the routes of what has come of it.

#include "http/calls.h"

namespace rh::http {

// Whether the request wants its call to be a run: by `Idempotency-Key`, whose value is the run's name, or `Prefer: respond-async`.
bool wants_run(const Request& request);
// The same, begun: 202 with its place where it is not to be waited for, else its result.
net::asio::awaitable<void> serve_run_of(Exchange& exchange, Target target, CallOptions options, Arguments arguments);

net::asio::awaitable<void> serve_run_list(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_status(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_result(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_logs(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_cancel(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_forget(Exchange& exchange, std::vector<std::string> names);

}  // namespace rh::http
