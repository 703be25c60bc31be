#pragma once

// Which request goes where: the table of all routes (protocol/http.md), and what each needs.

#include <string>
#include <vector>

#include "http/exchange.h"

namespace rh::http {

// Serves one request, to the end of its answer. `exchange.principal` is found out here.
net::asio::awaitable<void> serve(Exchange& exchange);

}  // namespace rh::http
