#pragma once

// Who may come in (protocol/http.md, Who may): looked at before anything else of a request is.

#include "daemon/api.h"
#include "http/connection.h"
#include "http/refusal.h"
#include "http/request.h"

namespace rh::http {

// Whether the request is one that a page of another site could not have made. Nothing of it has been believed before this.
Try<> check_site(const Connection& connection, const Request& request);
// Who it is. `open` says that the route needs nobody's word.
net::asio::awaitable<Try<daemon::Principal>> let_in(daemon::Api& api, Connection& connection, const Request& request, bool open);

}  // namespace rh::http
