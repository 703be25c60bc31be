#pragma once

// The routes that ask the node itself: its methods are protocol/node.md's, and each answers a request to its end.

#include <string>
#include <vector>

#include "http/arguments.h"
#include "http/exchange.h"

namespace rh::http {

net::asio::awaitable<void> serve_check(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_status(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_metrics(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_services(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_deploy(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_description(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_delete(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_objects(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_object(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_put(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_processes(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_create_process(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_kill_process(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_run(Exchange& exchange, std::vector<std::string> names);


// Keeps the value (encoding JSON, with its raw parts) under that key, in a process of that name or a worker of its own.
net::asio::awaitable<void> put_value(Exchange& exchange, std::string key, std::string process, Arguments value);

}  // namespace rh::http
