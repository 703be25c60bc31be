#include "http/guard.h"

#include <fmt/format.h>
#include <unistd.h>

namespace rh::http {

using net::asio::awaitable;

Try<> check_site(const Connection& connection, const Request& request) {
    const net::Door* const door = connection.door();
    if (door == nullptr) return {};
    const std::string_view host = request.header("host");
    if (!door->is_named(host)) return refuse(Refusal::broken(421, fmt::format("this node is not \"{:.128}\": use the host of the URL that `listening` shows", host)));
    const std::string own = fmt::format("{}://{}", door->tls ? "https" : "http", lower(host));
    for (const auto& [name, value] : request.headers) {
        const bool foreign = (name == "origin" && lower(value) != own) || (name == "sec-fetch-site" && (lower(value) == "cross-site" || lower(value) == "same-site"));
        if (!foreign) continue;
        Refusal refusal(403, Code::not_allowed, "a page of another site may not use this node");
        refusal.ends = true;
        return refuse(std::move(refusal));
    }
    return {};
}

awaitable<Try<daemon::Principal>> let_in(daemon::Api& api, Connection& connection, const Request& request, bool open) {
    daemon::Principal principal;
    if (connection.door() == nullptr) {
        if (connection.peer().uid != ::geteuid()) {
            Refusal refusal(403, Code::not_allowed, fmt::format("this node belongs to user {}; you are user {}", ::geteuid(), connection.peer().uid));
            refusal.ends = true;
            co_return refuse(std::move(refusal));
        }
        principal.name = fmt::format("uid:{}", connection.peer().uid);
        principal.scope = daemon::Scope::admin;
        co_return principal;
    }
    if (open) {
        principal.name = "anybody";
        principal.scope = daemon::Scope::call;
        co_return principal;
    }
    std::string token;
    if (request.count("authorization") == 1) {
        const std::string_view value = request.header("authorization");
        constexpr std::string_view k_scheme = "bearer ";
        if (lower(value.substr(0, k_scheme.size())) == k_scheme) token = std::string(value.substr(k_scheme.size()));
    }
    Result<daemon::Principal> known = co_await api.authenticate(std::move(token), connection.peer().address);
    if (known) {
        connection.welcome();
        co_return std::move(*known);
    }
    Refusal refusal(known.error());
    if (refusal.error.code == Code::not_allowed) {
        refusal.status = 401;
        refusal.headers.emplace_back("WWW-Authenticate", "Bearer");
    }
    co_return refuse(std::move(refusal));
}

}  // namespace rh::http
