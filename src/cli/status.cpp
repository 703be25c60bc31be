// `roundhouse status` and `ps`: what a node tells about itself.

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "cli/nouns.h"
#include "cli/screen.h"
#include "launch/local_names.h"

namespace rh::cli {

namespace {

// Where a version of the node does not know of listening, it does not listen.
Result<Json> status_of(Node& node) {
    RH_TRY(Json status, node.ask("status"));
    const auto listening = node.ask("listening");
    status["name"] = node.place().name;
    status["up"] = true;
    status["listening"] = listening && listening->is_object() && !listening->empty() ? *listening : Json();
    return status;
}

// Those that are up on this machine, or the one that is named.
Result<std::vector<Node>> nodes_of(const std::string& name, Screen& screen) {
    std::vector<Node> nodes;
    if (!name.empty() || inside_worker()) {
        RH_TRY(Node node, open_node(name, screen));
        nodes.push_back(std::move(node));
        return nodes;
    }
    RH_TRY(const auto clusters, launch::list_local());
    for (const auto& cluster : clusters) {
        // One that ends just now is not up.
        if (auto node = Node::open({cluster.name, true, cluster, "", "", ""}, screen)) nodes.push_back(std::move(*node));
    }
    return nodes;
}

std::string language_of(const Json& object) {
    const std::string language = text_of(object, "language");
    return language.empty() ? "-" : language;
}

std::string free_of(const Json& resources, const char* all, const char* unused) {
    const auto count = [&](const char* key) { return resources.contains(key) && resources[key].is_array() ? resources[key].size() : 0; };
    return fmt::format("{} ({} free)", count(all), count(unused));
}

// What a fork server has imported, and what it leaves to the workers and why.
std::string warm_of(const Json& server) {
    const Json modules = server.value("modules", Json::array());
    std::string text = modules.empty() ? "an interpreter" : fmt::format("{}", fmt::join(modules.get<std::vector<std::string>>(), ", "));
    text += fmt::format(" (pid {:.0f}, {:.0f} forked)", number_of(server, "pid"), number_of(server, "forks"));
    for (const auto& [module, why] : server.value("after_fork", Json::object()).items()) text += fmt::format("; not {}, as {}", module, why.get<std::string>());
    return text;
}

void print_status(const Json& status, Screen& screen) {
    const auto line = [&](std::string_view what, const std::string& text) { screen.out(fmt::format("  {:<11}{}\n", what, harmless(text))); };
    screen.out(fmt::format("{} is {} for {}\n", screen.bold(harmless(text_of(status, "name"))), screen.green("up"), seconds_text(number_of(status, "uptime_s"))));
    line("version", text_of(status, "version"));
    line("daemon", fmt::format("pid {:.0f}, keeper {:.0f}", number_of(status, "pid"), number_of(status, "keeper_pid")));
    line("state", text_of(status, "state_folder"));
    const Json& listening = status["listening"];
    line("listens", listening.is_object() ? fmt::format("at {}{}", text_of(listening, "url"), text_of(listening, "pin").empty() ? "" : ", pin " + text_of(listening, "pin")) : "on its Unix socket only");
    if (const auto found = status.find("resources"); found != status.end() && found->is_object()) {
        const Json& resources = *found;
        line("CPUs", free_of(resources, "cpus", "cpus_free"));
        line("GPUs", free_of(resources, "gpus", "gpus_free"));
        line("memory", fmt::format("{} ({} not promised)", bytes_text(number_of(resources, "memory")), bytes_text(number_of(resources, "memory_free"))));
    }
    for (const Json& server : status.value("fork_servers", Json::array())) line("warm", warm_of(server));
    const Json services = status.value("services", Json::array());
    std::uint64_t calls = 0;
    for (const Json& service : services) calls += static_cast<std::uint64_t>(number_of(service, "calls"));
    line("calls", fmt::format("{:.0f} so far, {} in flight", number_of(status, "calls"), calls));
    if (services.empty()) {
        line("services", "none yet");
        return;
    }
    screen.out("\n");
    std::vector<std::vector<std::string>> rows;
    for (const Json& service : services)
        rows.push_back({text_of(service, "name"), text_of(service, "kind"), language_of(service), fmt::format("{:.0f}", number_of(service, "workers")),
                        fmt::format("{:.0f}", number_of(service, "calls")), service.value("alive", true) ? "yes" : "no"});
    screen.table({"SERVICE", "KIND", "LANGUAGE", "WORKERS", "CALLS", "ALIVE"}, rows);
}

Result<void> status(const std::string& name, Context& context) {
    RH_TRY(std::vector<Node> nodes, nodes_of(name, context.screen));
    Json all = Json::array();
    for (Node& node : nodes) {
        RH_TRY(Json told, status_of(node));
        if (!context.json) {
            if (!all.empty()) context.screen.out("\n");
            print_status(told, context.screen);
        }
        all.push_back(std::move(told));
    }
    if (context.json) context.screen.json(name.empty() ? all : all.front());
    if (nodes.empty()) return fail(Code::not_found, "no cluster is up here. Try: roundhouse up NAME, or `roundhouse list` for those that are down");
    return {};
}

Run declare_status(Options& options) {
    const auto name = std::make_shared<std::string>();
    options.positional("NAME", *name, "the cluster; without it, every one that is up on this machine", false);
    return [name](Context& context) { return status(*name, context); };
}

// --- ps ------------------------------------------------------------------------------------------------------------

// What the process has in memory, as far as this machine can tell.
Json resident(const Place& place, double pid) {
    if (!place.local) return nullptr;
    std::ifstream file(fmt::format("/proc/{:.0f}/statm", pid));
    std::uint64_t pages = 0, in_memory = 0;
    if (!(file >> pages >> in_memory)) return nullptr;
    return in_memory * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Result<void> ps(const std::string& name, Context& context) {
    RH_TRY(std::vector<Node> nodes, nodes_of(name, context.screen));
    Json all = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (Node& node : nodes) {
        RH_TRY(const Json told, node.ask("status"));
        std::map<std::string, double> uptimes;
        for (const Json& worker : told.value("workers", Json::array())) uptimes[text_of(worker, "id")] = number_of(worker, "uptime_s");
        for (const Json& service : told.value("services", Json::array())) {
            const double pid = number_of(service, "pid");
            const bool alive = service.value("alive", true);
            const Json memory = alive ? resident(node.place(), pid) : Json();
            const std::string worker = text_of(service, "worker");
            all.push_back({{"cluster", node.place().name}, {"service", service.value("name", Json())}, {"kind", service.value("kind", Json())}, {"language", service.value("language", Json())},
                           {"process", service.value("process", Json())}, {"worker", worker}, {"pid", service.value("pid", Json())}, {"workers", service.value("workers", Json())},
                           {"calls", service.value("calls", Json())}, {"alive", alive}, {"memory", memory}});
            const std::string process = text_of(service, "process");
            rows.push_back({node.place().name, text_of(service, "name"), text_of(service, "kind"), language_of(service), process.empty() ? "-" : process,
                            alive ? fmt::format("{:.0f}", pid) : "dead", fmt::format("{:.0f}", number_of(service, "workers")), fmt::format("{:.0f}", number_of(service, "calls")),
                            memory.is_number() ? bytes_text(memory.get<double>()) : "-", uptimes.count(worker) != 0 ? seconds_text(uptimes[worker]) : "-"});
        }
    }
    if (context.json) {
        context.screen.json(all);
    } else if (rows.empty()) {
        context.screen.out(nodes.empty() ? "no cluster is up here. Try: roundhouse up NAME\n" : "nothing lives here yet. Try: roundhouse run FILE::FUNCTION --on NAME --keep\n");
    } else {
        context.screen.table({"CLUSTER", "SERVICE", "KIND", "LANGUAGE", "PROCESS", "PID", "WORKERS", "CALLS", "MEMORY", "UPTIME"}, rows);
    }
    return {};
}

Run declare_ps(Options& options) {
    const auto name = std::make_shared<std::string>();
    options.positional("NAME", *name, "the cluster; without it, every one that is up on this machine", false);
    return [name](Context& context) { return ps(*name, context); };
}

}  // namespace

std::span<const Command> status_commands() {
    static constexpr Command k_commands[] = {
        {"status", "[NAME]", "how a cluster is, what it has and who lives there",
         "Asks its daemon. A cluster that is not up is an error, with exit code 3.", "roundhouse status box\nroundhouse status box --json", declare_status},
        {"ps", "[NAME]", "services, their workers, and calls in flight",
         "One line for each service. MEMORY is what the process of its worker has in memory now.", "roundhouse ps box", declare_ps},
    };
    return k_commands;
}

}  // namespace rh::cli
