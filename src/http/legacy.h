#pragma once

// Short routes, and Runhouse's own in its envelope `{data, output_type, serialization}` (protocol/http.md), for who still sends
// those.

#include <string>
#include <vector>

#include "http/exchange.h"
#include "http/json_check.h"

namespace rh::http {

// Whether a body is a call in Runhouse's envelope rather than a function's own arguments.
bool is_envelope(const JsonCheck& check, std::string_view text);

// /{service}/{method}: the canonical route, unless the body is an envelope.
net::asio::awaitable<void> serve_short(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_old_check(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_keys(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_get_object(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_certificate(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_post_object(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_rename(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_delete_objects(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_old_create_process(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_old_kill_process(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_env_vars(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run_bash(Exchange& exchange, std::vector<std::string> names);

}  // namespace rh::http
