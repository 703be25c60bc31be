// `roundhouse server` and `export`: the TCP port of a node, and what others need to reach it (protocol/node.md, Listening).

#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <thread>

#include "base/ids.h"
#include "base/limits.h"
#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "cli/signals.h"
#include "launch/local.h"
#include "process/node_folder.h"

namespace rh::cli {

namespace {

// Where Runhouse's server was, so that what pointed there still does.
constexpr std::uint64_t k_port = 32300;
// The cluster of a server that was given no name.
constexpr std::string_view k_name = "default";

struct ServerOptions {
    std::string name{k_name}, host = "127.0.0.1";
    std::optional<std::uint64_t> port;
    std::optional<std::string> certificate, key;
    std::vector<std::string> names;
    bool tls = false, runhouse = false, yes = false;
};

Json listen_request(const ServerOptions& options) {
    Json request{{"host", options.host}, {"port", options.port.value_or(k_port)}, {"tls", options.tls ? Json(true) : Json()}, {"names", options.names}, {"runhouse", options.runhouse}};
    if (options.certificate) request["certificate"] = *options.certificate;
    if (options.key) request["key"] = *options.key;
    return request;
}

Json shown(const std::string& name, const Json& listener) {
    Json row{{"name", name}, {"up", true}};
    for (const char* const key : {"host", "port", "tls", "url", "pin"}) row[key] = listener.is_object() ? listener.value(key, Json()) : Json();
    return row;
}

void print_listener(const std::string& name, const Json& listener, Context& context) {
    if (context.json) return context.screen.json(shown(name, listener));
    const std::string url = text_of(listener, "url"), pin = text_of(listener, "pin");
    if (url.empty()) {
        context.screen.out(fmt::format("{} is up, and listens on its Unix socket only\n", context.screen.bold(name)));
        return;
    }
    context.screen.out(fmt::format("{} listens at {}\n", context.screen.bold(name), url));
    if (!pin.empty()) context.screen.out(fmt::format("its key's pin is {}\n", pin));
    context.screen.note(fmt::format("whoever comes there needs a token: roundhouse token create {}", name));
}

Result<void> check_options(const ServerOptions& options) {
    if (options.port.value_or(0) > 65535) return usage_error(fmt::format("{} is no port: they end at 65535", *options.port));
    if (options.certificate.has_value() != options.key.has_value()) return usage_error("--certificate and --key belong together: give both, or neither, and the node makes its own");
    return {};
}

Result<void> start(const ServerOptions& options, Context& context) {
    RH_TRY_VOID(check_options(options));
    RH_TRY(const Place place, find_local_place(options.name));
    RH_TRY([[maybe_unused]] const bool started, bring_up(place, {}, context.screen));
    RH_TRY(Node node, Node::open(place, context.screen));
    RH_TRY(const Json listener, node.ask("listen", listen_request(options)));
    print_listener(place.name, listener, context);
    return {};
}

void declare_listening(Options& options, const std::shared_ptr<ServerOptions>& wanted) {
    options.value("--host", "ADDRESS", wanted->host, "where to listen (127.0.0.1); anything but loopback is TLS");
    options.value("--port", "PORT", wanted->port, "which port (32300); 0: one that is free");
    options.flag("--tls", wanted->tls, "TLS on loopback as well");
    options.value("--certificate", "FILE", wanted->certificate, "a certificate of your own, instead of one that the node makes");
    options.value("--key", "FILE", wanted->key, "its private key");
    options.value("--names", "NAME", wanted->names, "a host name for the certificate that the node makes; may be given again");
    options.flag("--runhouse", wanted->runhouse, "GET calls methods, as Runhouse's server had it");
}

Run declare_start(Options& options) {
    const auto wanted = std::make_shared<ServerOptions>();
    options.positional("NAME", wanted->name, "the cluster (default)", false);
    declare_listening(options, wanted);
    return [wanted](Context& context) { return start(*wanted, context); };
}

Result<void> stop(const ServerOptions& options, Context& context) { return end_clusters({options.name}, {options.yes, false, true}, context); }

Run declare_stop(Options& options) {
    const auto wanted = std::make_shared<ServerOptions>();
    options.positional("NAME", wanted->name, "the cluster (default)", false);
    options.flag("-y,--yes", wanted->yes, "do not ask");
    return [wanted](Context& context) { return stop(*wanted, context); };
}

// The daemon starts listening again by itself: what was asked for is kept with its state.
Result<void> restart(const ServerOptions& options, Context& context) {
    RH_TRY(const Place place, find_local_place(options.name));
    Json listener;
    {
        RH_TRY(Node node, Node::open(place, context.screen));
        RH_TRY(listener, node.ask("listening"));
        RH_TRY(const Json status, node.ask("status"));
        const std::size_t services = status.value("services", Json::array()).size();
        if (services != 0 && !options.yes && context.screen.asks() && !context.screen.confirmed(fmt::format("{} {} on {} will end. Go on?", services, services == 1 ? "service" : "services", place.name)))
            return fail(Code::cancelled, "nothing was restarted");
    }
    context.screen.progress(fmt::format("ending {} ...", place.name));
    RH_TRY_VOID(launch::down_local(place.cluster, limits::k_start_timeout));
    RH_TRY(const Place again, find_local_place(options.name));
    RH_TRY([[maybe_unused]] const bool started, bring_up(again, {}, context.screen));
    RH_TRY(Node node, Node::open(again, context.screen));
    if (listener.is_object() && !listener.empty()) {
        RH_TRY(const Json now, node.ask("listening"));
        if (now.is_object() && !now.empty()) {
            listener = now;
        } else {
            RH_TRY(listener, node.ask("listen", {{"host", listener["host"]}, {"port", listener["port"]}, {"tls", listener["tls"]}}));
        }
    }
    print_listener(again.name, listener, context);
    return {};
}

Run declare_restart(Options& options) {
    const auto wanted = std::make_shared<ServerOptions>();
    options.positional("NAME", wanted->name, "the cluster (default)", false);
    options.flag("-y,--yes", wanted->yes, "do not ask");
    return [wanted](Context& context) { return restart(*wanted, context); };
}

Run declare_server_status(Options& options) {
    const auto wanted = std::make_shared<ServerOptions>();
    options.positional("NAME", wanted->name, "the cluster (default)", false);
    return [wanted](Context& context) -> Result<void> {
        RH_TRY(Node node, open_node(wanted->name, context.screen));
        RH_TRY(const Json listener, node.ask("listening"));
        print_listener(node.place().name, listener, context);
        return {};
    };
}

// --- upgrade -----------------------------------------------------------------------------------------------------------

struct UpgradeOptions {
    std::string name{k_name};
    std::optional<std::string> program;
};

Result<void> upgrade(const UpgradeOptions& options, Context& context) {
    const std::string program = std::filesystem::weakly_canonical(options.program.value_or(daemon_binary()));  // as a daemon says it
    RH_TRY(Node node, open_node(options.name, context.screen));
    RH_TRY(const Json before, node.ask("status"));
    context.screen.progress(fmt::format("upgrading {} ...", node.place().name));
    const Result<Json> asked = node.ask("upgrade", {{"program", program}});
    // The daemon may be gone before its answer has left.
    if (!asked && asked.error().code != Code::node_lost) return fail(asked.error());
    const auto due = std::chrono::steady_clock::now() + limits::k_start_timeout;
    Json now = before;
    while (now["pid"] == before["pid"]) {
        if (std::chrono::steady_clock::now() >= due) return fail(Error(Code::timeout, fmt::format("no other daemon has come within {}", seconds_text(std::chrono::duration<double>(limits::k_start_timeout).count()))).with("still_running", "True"));
        if (signals_caught() > 0) return fail(interrupted_error(last_signal()));
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        Result<Json> status = node.ask("status");
        if (!status && status.error().code != Code::node_lost) return fail(status.error());
        if (status) now = std::move(*status);
    }
    context.screen.progress("");
    if (text_of(now, "program") != program) {
        const std::string log = process::daemon_log_path(text_of(now, "state_folder"));
        return fail(Code::launch_failed, fmt::format("a daemon of {} does not stay up: {} goes on with {}, and nothing was lost. {} ends:\n{}", program, node.place().name, text_of(now, "program"), log, process::file_tail(log, 2048)));
    }
    if (context.json) {
        context.screen.json({{"name", node.place().name}, {"version_before", before["version"]}, {"version", now["version"]}, {"program", program}, {"services", now["services"].size()}});
        return {};
    }
    const std::size_t services = now["services"].size();
    context.screen.out(fmt::format("{} is {} now, and was {}; {} {} went on\n", context.screen.bold(node.place().name), text_of(now, "version"), text_of(before, "version"), services, services == 1 ? "service" : "services"));
    return {};
}

Run declare_upgrade(Options& options) {
    const auto wanted = std::make_shared<UpgradeOptions>();
    options.positional("NAME", wanted->name, "the cluster (default)", false);
    options.value("--program", "FILE", wanted->program, "the roundhoused that is to run (that beside this command)");
    return [wanted](Context& context) { return upgrade(*wanted, context); };
}

// --- export --------------------------------------------------------------------------------------------------------

struct ExportOptions {
    std::string name, scope;
    std::optional<std::string> service, output;
};

Result<void> write_export(const ExportOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.name, context.screen));
    const std::string& name = node.place().name;
    RH_TRY(const Json listener, node.ask("listening"));
    if (text_of(listener, "url").empty())
        return fail(Code::not_found, fmt::format("cluster {} listens on its Unix socket only, which other machines do not reach. Try: roundhouse server start {} --host ADDRESS", name, name));
    const std::string called = fmt::format("export-{}", random_hex(3));
    RH_TRY(const Json made, node.ask("token_create", {{"name", called}, {"scope", options.scope}, {"service", options.service ? Json(*options.service) : Json()}, {"expires_s", 0}}));
    Json told{{"url", text_of(listener, "url")}, {"pin", text_of(listener, "pin")}, {"token", text_of(made, "token")}};
    // What stands in single quotes is taken by a shell as it is, and none of these holds one.
    const std::string line = fmt::format("export {}='{}'\n", variable_of(name), told.dump());
    if (options.output) {
        RH_TRY_VOID(write_token(node, made, *options.output, line));
    }
    if (context.json) {
        told["name"] = name;
        if (options.output) told.erase("token");
        context.screen.json(told);
    } else if (options.output) {
        context.screen.out(fmt::format("wrote {}: {}\n", *options.output, variable_of(name)));
    } else {
        context.screen.out(line);
    }
    return {};
}

Run declare_export(Options& options) {
    const auto wanted = std::make_shared<ExportOptions>();
    options.positional("NAME", wanted->name, "the cluster, which must listen (server start)");
    options.choice("--scope", {"call", "deploy", "admin"}, wanted->scope, "what the token in it may do");
    options.value("--service", "SERVICE", wanted->service, "that one alone");
    options.value("--out", "FILE", wanted->output, "write it there, for this user alone (0600), and not to the screen");
    return [wanted](Context& context) { return write_export(*wanted, context); };
}

}  // namespace

std::span<const Command> export_commands() {
    static constexpr Command k_commands[] = {
        {"export", "NAME [OPTION]...", "write what another machine needs to call this cluster",
         "A line for a shell that sets ROUNDHOUSE_CLUSTER_NAME: address, pin of the key, and a token that is made for it.\n"
         "Where that is set, the name means this cluster, here and in Python.",
         "roundhouse export box --out box.env", declare_export},
    };
    return k_commands;
}

std::span<const Command> server_commands() {
    static constexpr Command k_commands[] = {
        {"server start", "[NAME] [OPTION]...", "bring a cluster up and open a TCP port for HTTP and clients elsewhere",
         "Whoever comes to that port needs a token. Listening again changes the port; connections that are open stay.",
         "roundhouse server start box --host 0.0.0.0 --port 32300", declare_start},
        {"server stop", "[NAME] [OPTION]...", "close the port and end the cluster", "As down; and when the cluster is brought up again it does not listen.", "roundhouse server stop box", declare_stop},
        {"server restart", "[NAME] [OPTION]...", "end it, bring it up again and open the same port", "Everything that lives there ends. Tokens stay.", "roundhouse server restart box --yes", declare_restart},
        {"server upgrade", "[NAME] [--program FILE]", "put the daemon of this version in the place of the one that runs",
         "Everything goes on: services, calls and whoever waits for them, runs. A daemon that does not stay up is taken back.\n"
         "Workers keep the version that they were started with until they are deployed again.",
         "roundhouse server upgrade box", declare_upgrade},
        {"server status", "[NAME]", "where it listens", "", "roundhouse server status box", declare_server_status},
    };
    return k_commands;
}

}  // namespace rh::cli
