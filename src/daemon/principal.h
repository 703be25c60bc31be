#pragma once

// Who calls, and what they may do. Made where a connection is let in, and asked at every message or request that does
// something.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rh::daemon {

// Each includes those before it. Their numbers are stored with tokens: never renumber.
enum class Scope : std::uint8_t { call = 1, deploy = 2, admin = 3 };

std::string_view scope_name(Scope scope);
Result<Scope> scope_from_name(std::string_view name);

struct Principal {
    std::string name;            // "uid:1000", "token:ci"
    Scope scope = Scope::admin;
    std::string service;         // the only service that it may call; empty: all

    // Code::not_allowed that names the scope which `what` ("to deploy") needs.
    Result<void> may(Scope wanted, std::string_view what) const;
    Result<void> may_call(std::string_view called) const;
    // Whether what it sends may run code of its own, as pickles do before the service sees them.
    bool may_run_code() const { return scope >= Scope::deploy; }
    // The same as a refusal, with the fact data_only=True.
    Result<void> may_pickle() const;
};

}  // namespace rh::daemon
