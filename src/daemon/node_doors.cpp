#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/fd.h"
#include "base/ids.h"
#include "daemon/node.h"
#include "daemon/requests.h"
#include "process/spawn.h"
#include "process/text_file.h"

namespace rh::daemon {

namespace {

// What protocol/node.md gives to other scopes than deploy.
constexpr std::array<std::string_view, 3> k_for_callers{"describe", "status", "processes"};
constexpr std::array<std::string_view, 7> k_for_admins{"listen", "unlisten", "stop", "upgrade", "token_create", "tokens", "token_revoke"};

Scope scope_for(std::string_view method) {
    const auto is_in = [&](const auto& methods) { return std::find(methods.begin(), methods.end(), method) != methods.end(); };
    if (is_in(k_for_callers)) return Scope::call;
    return is_in(k_for_admins) ? Scope::admin : Scope::deploy;
}

// Without its hash.
Json token_json(const store::Token& token) {
    return {{"id", token.id}, {"name", token.name}, {"scope", scope_name(static_cast<Scope>(token.scope))}, {"service", token.service.empty() ? Json() : Json(token.service)},
            {"created_s", token.created_s}, {"expires_s", token.expires_s}, {"used_s", token.used_s}};
}

// A call whose result is kept under a name that nobody chose: no more than calling, where its arguments run no code.
bool is_call(const Json& request) {
    const auto method = field<std::string>(request, "method", std::string());
    const auto name = field<std::string>(request, "name", std::string());
    const auto process = field<std::string>(request, "process", std::string());
    const auto encoding = field<std::uint64_t>(request, "encoding", static_cast<std::uint64_t>(Encoding::pickle));
    if (!method || !name || !process || !encoding) return false;
    return !method->empty() && method->front() != '@' && name->empty() && process->empty() && *encoding != static_cast<std::uint64_t>(Encoding::pickle);
}

// What runs there from now on is whoever's who may write that file.
Result<void> check_program(const std::string& path) {
    struct stat file {};
    if (!path.starts_with('/')) return fail(Code::bad_arguments, fmt::format("\"program\" must be a path from the root on, not \"{:.256}\"", path));
    if (::stat(path.c_str(), &file) != 0) return fail(os_error(fmt::format("there is no program {}", path), errno));
    if (!S_ISREG(file.st_mode) || ::access(path.c_str(), X_OK) != 0) return fail(Code::bad_arguments, fmt::format("{} is no program", path));
    if ((file.st_uid != 0 && file.st_uid != ::geteuid()) || (file.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(Code::not_allowed, fmt::format("{} belongs to another user, or others may write it: it will not be run. Try: chmod go-w {}", path, path));
    return {};
}

}  // namespace

Result<void> Node::may(const Principal& principal, std::string_view method, const Json& request) const {
    if (!principal.service.empty() && method == "describe") {
        RH_TRY(const auto name, field<std::string>(request, "name"));
        return principal.may_call(name);
    }
    if (method == "create" && is_call(request)) {
        RH_TRY(const auto service, field<std::string>(request, "class"));
        return principal.may_call(service);
    }
    return principal.may(scope_for(method), fmt::format("to \"{:.64}\"", method));
}

Outcome Node::listen(const Json& request) {
    const Result<void> listening = doors_.listening.listen(request);
    return listening ? json_outcome(doors_.listening.description()) : Outcome::failed(listening.error());
}

Outcome Node::upgrade(const Json& request, const Principal& principal) {
    const auto program = field<std::string>(request, "program", process::own_program());
    if (!program) return Outcome::failed(program.error());
    // A path of this machine is for those who are on it.
    if (!principal.name.starts_with("uid:")) return Outcome::failed(Error(Code::not_allowed, "\"upgrade\" is for the node's own user, over its Unix socket"));
    if (const auto checked = check_program(*program); !checked) return Outcome::failed(checked.error());
    workers_.upgrade(*program);
    return json_outcome({{"pid", ::getpid()}, {"version", ROUNDHOUSE_VERSION}, {"program", *program}});
}

// Made when it is first asked for; its worker reads the file.
Outcome Node::webhook_secret() {
    const std::string path = about_.state_folder + "/webhook.secret";
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file && errno != EEXIST) return Outcome::failed(os_error("cannot make " + path, errno));
    std::string secret = random_hex(32);
    if (file && ::write(file.get(), secret.data(), secret.size()) != static_cast<ssize_t>(secret.size())) {
        const int why = errno;
        ::unlink(path.c_str());
        return Outcome::failed(os_error("cannot write " + path, why));
    }
    if (!file) secret = process::read_text(path).value_or("");
    return json_outcome(Json(secret));
}

Outcome Node::unlisten() {
    const Result<void> done = doors_.listening.unlisten();
    return done ? json_outcome(Json::object()) : Outcome::failed(done.error());
}

Outcome Node::token_create(const Json& request) {
    const auto made = [&]() -> Result<Tokens::Made> {
        Tokens::Wanted wanted;
        RH_TRY(wanted.name, field<std::string>(request, "name", std::string()));
        RH_TRY(const auto scope, field<std::string>(request, "scope", std::string("call")));
        RH_TRY(wanted.scope, scope_from_name(scope));
        RH_TRY(wanted.service, field<std::string>(request, "service", std::string()));
        RH_TRY(const std::uint64_t lasts, amount(request, "expires_s", 0, std::uint64_t{1} << 40));
        wanted.lasts_s = static_cast<std::int64_t>(lasts);
        return doors_.tokens.create(wanted);
    }();
    if (!made) return Outcome::failed(made.error());
    Json answer = token_json(made->token);
    answer["token"] = made->text;
    return json_outcome(answer);
}

Outcome Node::tokens() const {
    Json all = Json::array();
    for (const store::Token& token : doors_.tokens.all()) all.push_back(token_json(token));
    return json_outcome(all);
}

Outcome Node::token_revoke(const Json& request) {
    const auto id = field<std::string>(request, "id");
    const Result<void> done = id ? doors_.tokens.revoke(*id) : fail(id.error());
    return done ? json_outcome(Json::object()) : Outcome::failed(done.error());
}

}  // namespace rh::daemon
