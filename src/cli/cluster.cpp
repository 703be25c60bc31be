// `roundhouse up`, `down` and `list`: clusters on this machine, and names of those elsewhere.

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

#include "base/limits.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "cli/signals.h"
#include "launch/local_names.h"
#include "launch/state_base.h"
#include "registry/registry.h"

namespace rh::cli {

namespace {

using std::chrono::steady_clock;

bool is_program(const std::string& path) { return ::access(path.c_str(), X_OK) == 0; }

// Python's folders in a prefix, the newest first: an installed wheel has this program in PREFIX/bin and the daemon there.
std::string packaged_daemon(const std::string& prefix) {
    std::vector<std::string> pythons;
    const std::string library = prefix + "lib";
    if (DIR* const folder = ::opendir(library.c_str())) {
        while (const dirent* const entry = ::readdir(folder)) {
            if (std::string_view(entry->d_name).starts_with("python3")) pythons.emplace_back(entry->d_name);
        }
        ::closedir(folder);
    }
    std::sort(pythons.begin(), pythons.end(), std::greater<>());
    for (const std::string& python : pythons) {
        for (const char* const packages : {"site-packages", "dist-packages"}) {
            std::string path = fmt::format("{}/{}/{}/roundhouse/_bin/roundhoused", library, python, packages);
            if (is_program(path)) return path;
        }
    }
    return {};
}

std::string own_path() {
    char path[4096];
    const auto length = ::readlink("/proc/self/exe", path, sizeof path);
    return std::string(path, length > 0 ? static_cast<std::size_t>(length) : 0);
}

Result<void> check_known(const Place& place) {
    struct stat found {};
    if (::stat(place.cluster.state_folder.c_str(), &found) == 0) return {};
    return fail(not_up(place));
}

// How much would end with it, for whoever is asked; empty when nothing lives there.
std::string what_lives(const Place& place, Screen& screen) {
    auto node = Node::open(place, screen);
    if (!node) return {};
    const auto status = node->ask("status");
    if (!status || !status->contains("services")) return {};
    const std::size_t services = (*status)["services"].size();
    std::uint64_t calls = 0;
    for (const Json& service : (*status)["services"]) calls += static_cast<std::uint64_t>(number_of(service, "calls"));
    if (services == 0) return {};
    return fmt::format("{} {} live on {}{}", services, services == 1 ? "service" : "services", place.name,
                       calls == 0 ? "" : fmt::format(", and {} {} in flight", calls, calls == 1 ? "call is" : "calls are"));
}

Result<void> forget(const Place& place) {
    RH_TRY_VOID(launch::delete_local(place.cluster, limits::k_start_timeout));
    RH_TRY(const std::string base, launch::state_base());
    RH_TRY([[maybe_unused]] const bool saved, registry::Registry(base + "/registry.db").forget_cluster(place.name));
    return {};
}

// --- up ------------------------------------------------------------------------------------------------------------

struct UpOptions {
    std::string name;
    std::optional<std::uint64_t> cpus, gpus;
    std::optional<std::string> memory;
};

Result<void> up(const UpOptions& options, Context& context) {
    launch::Sizes sizes{options.cpus, options.gpus, {}};
    if (options.memory) {
        RH_TRY(sizes.memory_bytes, parse_bytes(*options.memory));
    }
    RH_TRY(const Place place, find_local_place(options.name));
    RH_TRY(const bool started, bring_up(place, sizes, context.screen));
    const bool sized = options.cpus || options.gpus || options.memory;
    if (context.json) {
        context.screen.json({{"name", place.name}, {"up", true}, {"started", started}, {"state_folder", place.cluster.state_folder}, {"socket", place.cluster.socket_path}});
    } else {
        context.screen.out(fmt::format("{} is up{}\n", context.screen.bold(place.name), started ? "" : sized ? ", and was before: it keeps the sizes that it has" : ", and was before"));
    }
    return {};
}

Run declare_up(Options& options) {
    const auto wanted = std::make_shared<UpOptions>();
    options.positional("NAME", wanted->name, "what the cluster is called");
    options.value("--cpus", "N", wanted->cpus, "CPUs that it may promise to workers; without it, what the machine has");
    options.value("--gpus", "N", wanted->gpus, "the same of GPUs");
    options.value("--memory", "SIZE", wanted->memory, "the same of memory, such as 2GiB, for all of them together");
    return [wanted](Context& context) { return up(*wanted, context); };
}

// --- down ----------------------------------------------------------------------------------------------------------

struct DownOptions {
    std::vector<std::string> names;
    bool all = false, yes = false, forget = false;
};

Result<void> down(const DownOptions& options, Context& context) {
    std::vector<std::string> names = options.names;
    if (options.all) {
        if (!names.empty()) return usage_error("--all and names contradict each other. Try: leave one of them out");
        RH_TRY(const auto clusters, launch::list_local());
        for (const auto& cluster : clusters) {
            if (options.forget || launch::is_up_local(cluster)) names.push_back(cluster.name);
        }
        if (names.empty() && !context.json) context.screen.out("no cluster is up\n");
    } else if (names.empty()) {
        return usage_error("NAME is missing: which cluster is to end? Try: a name, or --all");
    }
    return end_clusters(names, {options.yes, options.forget, false}, context);
}

Run declare_down(Options& options) {
    const auto wanted = std::make_shared<DownOptions>();
    options.positional("NAME", wanted->names, "the clusters to end", false);
    options.flag("-a,--all", wanted->all, "every cluster of yours on this machine");
    options.flag("-y,--yes", wanted->yes, "do not ask");
    options.flag("--delete", wanted->forget, "its state folder, logs and saved name go as well");
    return [wanted](Context& context) { return down(*wanted, context); };
}

// --- list ----------------------------------------------------------------------------------------------------------

Result<void> list(bool up_only, Context& context) {
    std::map<std::string, Json> rows;
    RH_TRY(const auto clusters, launch::list_local());
    for (const auto& cluster : clusters)
        rows[cluster.name] = {{"name", cluster.name}, {"launcher", "local"}, {"up", launch::is_up_local(cluster)}, {"saved", false}, {"state_folder", cluster.state_folder}, {"url", nullptr}};
    RH_TRY(const std::string base, launch::state_base());
    const auto saved = registry::Registry(base + "/registry.db").clusters();
    if (!saved) context.screen.err(fmt::format("roundhouse: saved names are left out: {}\n", saved.error().message));
    for (const auto& cluster : saved.value_or(std::vector<registry::SavedCluster>())) {
        Json& row = rows[cluster.name];
        if (row.is_null()) row = {{"name", cluster.name}, {"launcher", cluster.launcher}, {"up", false}, {"state_folder", nullptr}, {"url", nullptr}};
        row["saved"] = true;
        if (const auto place = saved_place(cluster); place && !row["state_folder"].is_string()) {
            row["launcher"] = "elsewhere";
            row["up"] = nullptr;
            row["url"] = place->url;
        }
    }
    for (const Place& place : places_elsewhere()) {
        std::string name = place.name;
        // A variable does not tell how the name is written; a cluster that is known here does.
        for (const auto& [known, row] : rows) {
            if (variable_of(known) == variable_of(name)) name = known;
        }
        if (name == place.name) std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        rows[name] = {{"name", name}, {"launcher", "elsewhere"}, {"up", nullptr}, {"saved", false}, {"state_folder", nullptr}, {"url", place.url}};
    }
    Json all = Json::array();
    std::vector<std::vector<std::string>> table;
    for (const auto& [name, row] : rows) {
        if (up_only && row["up"] == false) continue;
        all.push_back(row);
        const std::string state = row["up"].is_null() ? "-" : row["up"] == true ? "up" : "down";
        table.push_back({name, state, row["launcher"], row["saved"] == true ? "yes" : "no", row["url"].is_string() ? row["url"] : row["state_folder"].is_string() ? row["state_folder"] : Json("-")});
    }
    if (context.json) {
        context.screen.json(all);
    } else if (table.empty()) {
        context.screen.out(up_only ? "no cluster is up. Try: roundhouse up NAME\n" : "no cluster is known here. Try: roundhouse up NAME\n");
    } else {
        context.screen.table({"NAME", "STATE", "LAUNCHER", "SAVED", "WHERE"}, table);
    }
    return {};
}

Run declare_list(Options& options) {
    const auto up_only = std::make_shared<bool>(false);
    options.flag("-u,--up", *up_only, "those that are up only");
    return [up_only](Context& context) { return list(*up_only, context); };
}

}  // namespace

std::string daemon_binary() {
    if (const char* const chosen = std::getenv("ROUNDHOUSE_DAEMON"); chosen != nullptr && *chosen != '\0') return chosen;
    const std::string self = own_path();
    const std::string folder = self.substr(0, self.rfind('/') + 1);
    if (is_program(folder + "roundhoused")) return folder + "roundhoused";
    if (folder.size() > 1) {
        const std::string prefix = folder.substr(0, folder.rfind('/', folder.size() - 2) + 1);
        if (std::string packaged = packaged_daemon(prefix); !packaged.empty()) return packaged;
    }
    return folder + "roundhoused";
}

Result<bool> bring_up(const Place& place, const launch::Sizes& sizes, Screen& screen) {
    if (launch::is_up_local(place.cluster)) return false;
    const auto begin = steady_clock::now();
    screen.progress(fmt::format("starting {} ...", place.name));
    const Result<void> started = launch::up_local(place.cluster, daemon_binary(), limits::k_start_timeout, sizes);
    screen.progress("");
    if (!started) return fail(started.error());
    if (signals_caught() > 0) return fail(interrupted_error(last_signal()));
    screen.note(fmt::format("{} started in {}", place.name, seconds_text(std::chrono::duration<double>(steady_clock::now() - begin).count())));
    return true;
}

Result<void> end_clusters(const std::vector<std::string>& names, const Ending& ending, Context& context) {
    std::vector<Place> places;
    for (const std::string& name : names) {
        RH_TRY(Place place, find_local_place(name));
        RH_TRY_VOID(check_known(place));
        places.push_back(std::move(place));
    }
    if (!ending.yes && context.screen.asks()) {
        std::string question;
        for (const Place& place : places) {
            const std::string lives = what_lives(place, context.screen);
            if (!lives.empty()) question += lives + ". ";
        }
        if (ending.forget) question += "Logs and saved names go as well. ";
        if (!question.empty() && !context.screen.confirmed(question + "End it all?")) return fail(Code::cancelled, "nothing was ended");
    }
    Json ended = Json::array();
    for (const Place& place : places) {
        const bool was_up = launch::is_up_local(place.cluster);
        if (was_up) context.screen.progress(fmt::format("ending {} ...", place.name));
        if (was_up && ending.unlisten) {
            // A node that does not answer is ended all the same.
            if (auto node = Node::open(place, context.screen)) [[maybe_unused]] const auto closed = node->ask("unlisten");
        }
        const Result<void> done = ending.forget ? forget(place) : launch::down_local(place.cluster, limits::k_start_timeout);
        context.screen.progress("");
        if (!done) return fail(done.error());
        ended.push_back({{"name", place.name}, {"ended", was_up}});
        if (!context.json) context.screen.out(fmt::format("{} is down{}{}\n", context.screen.bold(place.name), was_up ? "" : ", and was before", ending.forget ? "; its state is gone" : ""));
    }
    if (context.json) context.screen.json(ended);
    return {};
}

Result<std::uint64_t> parse_bytes(const std::string& text) {
    static constexpr std::pair<std::string_view, double> k_units[] = {
        {"", 1.0},    {"b", 1.0},    {"k", 1e3},          {"kb", 1e3},         {"m", 1e6},          {"mb", 1e6},         {"g", 1e9},           {"gb", 1e9},          {"t", 1e12},
        {"tb", 1e12}, {"ki", 0x1p10}, {"kib", 0x1p10}, {"mi", 0x1p20}, {"mib", 0x1p20}, {"gi", 0x1p30}, {"gib", 0x1p30}, {"ti", 0x1p40}, {"tib", 0x1p40}};
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string unit(end, text.data() + text.size());
    std::erase(unit, ' ');
    std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const auto& [name, factor] : k_units) {
        if (error == std::errc() && unit == name && number > 0 && number * factor >= 1 && number * factor < 0x1p60) return static_cast<std::uint64_t>(number * factor);
    }
    return usage_error(fmt::format("{} is no amount of memory. Try: 512MiB, 2GiB, or a number of bytes", text));
}

std::span<const Command> cluster_commands() {
    static constexpr Command k_commands[] = {
        {"up", "NAME [OPTION]...", "bring a cluster up, unless it is",
         "A plain name is a cluster on this machine: a daemon of yours that starts workers, in a few hundredths of a second,\n"
         "without privileges. One that is up is left as it is.",
         "roundhouse up box --cpus 4 --memory 8GiB", declare_up},
        {"down", "[NAME]... [OPTION]...", "end a cluster and everything on it",
         "Ends its services, calls and processes. On a terminal it asks first when something lives there.",
         "roundhouse down box\nroundhouse down --all --yes", declare_down},
        {"list", "[OPTION]...", "every cluster that is known here, up or not",
         "Clusters on this machine, those that Python programs saved, and those elsewhere that variables\n"
         "(ROUNDHOUSE_CLUSTER_NAME) tell of; whether these are up is not asked.",
         "roundhouse list --up", declare_list},
    };
    return k_commands;
}

}  // namespace rh::cli
