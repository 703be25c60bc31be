#pragma once

// What tells of the services that are here: OpenAPI documents, and the page on which they are tried.

#include <string>
#include <vector>

#include "http/exchange.h"

namespace rh::http {

net::asio::awaitable<void> serve_openapi(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_openapi_of(Exchange& exchange, std::vector<std::string> names);
net::asio::awaitable<void> serve_page(Exchange& exchange, std::vector<std::string> names);

}  // namespace rh::http
