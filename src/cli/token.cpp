// `roundhouse token`: who may come over TCP (protocol/node.md). A secret is shown once, by the command that makes it.

#include <fmt/format.h>

#include <charconv>
#include <ctime>

#include "base/ids.h"
#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

struct TokenOptions {
    std::string cluster, name, scope;
    std::optional<std::string> service, expires, output;
    bool header = false;
};

// "30d", "12h", "90m", "45s", "3600"
Result<std::uint64_t> parse_age(const std::string& text) {
    static constexpr std::pair<std::string_view, std::uint64_t> k_units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    for (const auto& [name, seconds] : k_units) {
        if (error == std::errc() && unit == name && number > 0 && number < 100'000'000) return number * seconds;
    }
    return usage_error(fmt::format("{} is no span of time. Try: 30d, 12h, 90m, or seconds", text));
}

std::string when(double seconds) {
    if (seconds <= 0) return "-";
    const auto time = static_cast<std::time_t>(seconds);
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
    return text;
}

Result<void> create(const TokenOptions& options, Context& context) {
    std::uint64_t expires_s = 0;
    if (options.expires) {
        RH_TRY(expires_s, parse_age(*options.expires));
    }
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(Json made, node.ask("token_create", {{"name", options.name}, {"scope", options.scope}, {"service", options.service ? Json(*options.service) : Json()}, {"expires_s", expires_s}}));
    const std::string text = (options.header ? "Authorization: Bearer " : "") + text_of(made, "token") + "\n";
    if (options.output) {
        RH_TRY_VOID(write_token(node, made, *options.output, text));
        made.erase("token");
    }
    if (context.json) {
        context.screen.json(made);
    } else {
        context.screen.out(options.output ? fmt::format("wrote {}\n", *options.output) : text);
    }
    return {};
}

Run declare_create(Options& options) {
    const auto wanted = std::make_shared<TokenOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    wanted->name = fmt::format("token-{}", random_hex(3));
    options.value("--name", "TOKEN", wanted->name, "what the token is called, for you; without it a made-up name");
    options.choice("--scope", {"call", "deploy", "admin"}, wanted->scope, "what it may do; each includes those before it");
    options.value("--service", "SERVICE", wanted->service, "that one alone");
    options.value("--expires", "TIME", wanted->expires, "such as 30d, 12h; without it never");
    options.value("--out", "FILE", wanted->output, "write it there, for this user alone (0600), and not to the screen");
    options.flag("--header", wanted->header, "as the line of a file that `curl -H @FILE` takes");
    return [wanted](Context& context) { return create(*wanted, context); };
}

Result<void> list(const std::string& name, Context& context) {
    RH_TRY(Node node, open_node(name, context.screen));
    RH_TRY(const Json tokens, node.ask("tokens"));
    if (context.json) {
        context.screen.json(tokens);
        return {};
    }
    std::vector<std::vector<std::string>> rows;
    for (const Json& token : tokens) {
        const std::string service = text_of(token, "service");
        rows.push_back({text_of(token, "id"), text_of(token, "name"), text_of(token, "scope"), service.empty() ? "-" : service, when(number_of(token, "created_s")),
                        when(number_of(token, "expires_s")), when(number_of(token, "used_s"))});
    }
    if (rows.empty()) {
        context.screen.out(fmt::format("{} has no tokens. Try: roundhouse token create {}\n", node.place().name, node.place().name));
    } else {
        context.screen.table({"ID", "NAME", "SCOPE", "SERVICE", "CREATED (UTC)", "EXPIRES", "USED"}, rows);
    }
    return {};
}

Run declare_list(Options& options) {
    const auto name = std::make_shared<std::string>();
    options.positional("NAME", *name, "the cluster");
    return [name](Context& context) { return list(*name, context); };
}

Result<void> revoke(const TokenOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY([[maybe_unused]] const Json gone, node.ask("token_revoke", {{"id", options.name}}));
    if (context.json) {
        context.screen.json({{"revoked", options.name}});
    } else {
        context.screen.out(fmt::format("{} is revoked\n", harmless(options.name)));
    }
    return {};
}

Run declare_revoke(Options& options) {
    const auto wanted = std::make_shared<TokenOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("TOKEN", wanted->name, "its id, or its name; never the secret itself");
    return [wanted](Context& context) { return revoke(*wanted, context); };
}

}  // namespace

Result<void> write_token(Node& node, const Json& made, const std::string& path, std::string_view text) {
    Result<void> written = write_secret(path, text);
    if (!written) [[maybe_unused]] const auto gone = node.ask("token_revoke", {{"id", text_of(made, "id")}}, {}, true);
    return written;
}

std::span<const Command> token_commands() {
    static constexpr Command k_commands[] = {
        {"token create", "NAME [OPTION]...", "make a token with which others may call",
         "Printed once, on standard output; the node keeps only its hash. It is for the TCP port (server start): the Unix\n"
         "socket knows its user.",
         "roundhouse token create box --name airflow --scope call --expires 90d --out airflow.token", declare_create},
        {"token list", "NAME", "the tokens of a cluster, without the secrets", "", "roundhouse token list box", declare_list},
        {"token revoke", "NAME TOKEN", "take a token back", "Connections that it let in are ended.", "roundhouse token revoke box airflow", declare_revoke},
    };
    return k_commands;
}

}  // namespace rh::cli
