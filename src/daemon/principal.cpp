#include "daemon/principal.h"

#include <fmt/format.h>

#include "store/journal.h"

namespace rh::daemon {

std::string_view scope_name(Scope scope) {
    switch (scope) {
        case Scope::call: return "call";
        case Scope::deploy: return "deploy";
        case Scope::admin: return "admin";
    }
    return "call";
}

Result<Scope> scope_from_name(std::string_view name) {
    for (const Scope scope : {Scope::call, Scope::deploy, Scope::admin}) {
        if (name == scope_name(scope)) return scope;
    }
    return fail(Code::bad_arguments, fmt::format("there is no scope \"{:.32}\": call, deploy and admin are the ones", name));
}

Result<void> Principal::may(Scope wanted, std::string_view what) const {
    if (scope >= wanted && service.empty()) return {};
    if (!service.empty()) return fail(Code::not_allowed, fmt::format("{} is for calling the service \"{}\" only, not {}", name, service, what));
    return fail(Code::not_allowed, fmt::format("{} has the scope {}, and needs {} {}: make a token with `roundhouse token create --scope {}`", name, scope_name(scope),
                                               scope_name(wanted), what, scope_name(wanted)));
}

Result<void> Principal::may_call(std::string_view called) const {
    // What works for the node itself reaches addresses and folders that nobody may name who may only call.
    if (called == store::k_webhook_service || called == store::k_store_service) return may(Scope::deploy, fmt::format("to call \"{}\"", called));
    if (service.empty() || service == called) return {};
    return fail(Code::not_allowed, fmt::format("{} is for calling the service \"{}\" only, not \"{:.128}\"", name, service, called));
}

Result<void> Principal::may_pickle() const {
    if (may_run_code()) return {};
    return fail(Error(Code::not_allowed, fmt::format("{} has the scope {}, and a pickle runs code, which needs deploy: send JSON or MessagePack, or make a token with "
                                                     "`roundhouse token create --scope deploy`", name, scope_name(scope)))
                    .with("started", "no")
                    .with("data_only", "True"));
}

}  // namespace rh::daemon
