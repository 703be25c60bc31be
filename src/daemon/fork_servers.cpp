#include "daemon/fork_servers.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/limits.h"
#include "daemon/requests.h"
#include "isolate/monitor.h"

namespace rh::daemon {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t k_imports_max = 10'000;
constexpr std::string_view k_argument = "--fork-server";

std::string_view name_of(std::string_view variable) { return variable.substr(0, variable.find('=')); }

// The folders that hold packages, whatever else there is on the path.
std::vector<std::string_view> packages_in(const std::vector<std::string>& path) {
    std::vector<std::string_view> found;
    for (const std::string_view entry : path) {
        if (entry.ends_with("/site-packages") || entry.ends_with("/dist-packages")) found.push_back(entry);
    }
    return found;
}

}  // namespace

struct ForkServers::Server {
    std::string id;
    std::int32_t pid = 0;
    Forkable like;  // what it was begun for
    // What it has said.
    bool ready = false;
    Json modules = Json::array();
    Json after_fork = Json::object();
    std::uint64_t forks = 0;
    std::set<std::string, std::less<>> read;
    std::vector<std::string> prefixes;
    std::set<std::string, std::less<>> own;
    Clock::time_point wanted_at = Clock::now();
    bool is_of_its_folder = false;
    bool ending = false;

    // Whether a variable's value is in what it has imported.
    bool matters(std::string_view name) const {
        if (read.count(name) != 0) return true;
        return own.count(name) == 0 && std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return name.starts_with(prefix); });
    }
    bool fits(const std::vector<std::string>& env) const {
        std::set<std::string_view> ours;
        std::set<std::string_view> theirs;
        for (const std::string& entry : like.env) {
            if (matters(name_of(entry))) ours.insert(entry);
        }
        for (const std::string& entry : env) {
            if (matters(name_of(entry))) theirs.insert(entry);
        }
        return ours == theirs;
    }
    bool is_like(const Forkable& wanted) const {
        return !ending && like.program() == wanted.program() && packages_in(like.import_path) == packages_in(wanted.import_path) && (!is_of_its_folder || like.cwd == wanted.cwd) &&
               fits(wanted.env);
    }
};

ForkServers::ForkServers(Workers& workers, std::string folder) : workers_(workers), folder_(std::move(folder)) {
    workers_.on_fork_servers([this](const process::KeeperMessage& message) { return on_keeper(message); });
}

ForkServers::~ForkServers() = default;

ForkServers::Server* ForkServers::find(const Forkable& wanted) {
    const auto found = std::find_if(servers_.begin(), servers_.end(), [&](const auto& each) { return each.second->is_like(wanted); });
    return found == servers_.end() ? nullptr : found->second.get();
}

std::string ForkServers::choose(const Forkable& wanted) {
    Server* const server = find(wanted);
    if (server == nullptr) return "";
    server->wanted_at = Clock::now();
    return server->ready ? server->id : "";
}

std::string ForkServers::imports_path_of(const std::string& worker_id) const { return fmt::format("{}/{}.imports", folder_, worker_id); }

void ForkServers::forget(const Worker& worker) {
    // One that lived for a single call has not been asked yet.
    if (worker.forkable != nullptr) learn_from(worker);
    ::unlink(imports_path_of(worker.id).c_str());
}

void ForkServers::learn_from(const Worker& worker) {
    if (!workers_.can_fork()) return;
    std::ifstream file(imports_path_of(worker.id));
    std::vector<std::string> modules;
    for (std::string name; modules.size() < k_imports_max && std::getline(file, name);) modules.push_back(name);
    if (!file.is_open()) return;
    const Forkable& like = *worker.forkable;
    if (find(like) == nullptr) begin(like);
    Server* const server = find(like);
    if (server == nullptr) return;
    if (!modules.empty()) workers_.tell_fork_server({server->id, dump(Json{{"import", modules}, {"import_path", like.import_path}})});
}

// One that dies of what it imports would do so again.
bool ForkServers::may_begin() {
    while (!deaths_.empty() && deaths_.front() < Clock::now() - limits::k_fork_server_idle) deaths_.pop_front();
    return deaths_.size() < limits::k_fork_server_deaths_max;
}

void ForkServers::begin(const Forkable& like) {
    if (!may_begin()) return;
    const auto living = std::count_if(servers_.begin(), servers_.end(), [](const auto& each) { return !each.second->ending; });
    if (static_cast<std::size_t>(living) >= limits::k_fork_servers_max) {
        Server* oldest = nullptr;
        for (const auto& [id, server] : servers_) {
            if (!server->ending && (oldest == nullptr || server->wanted_at < oldest->wanted_at)) oldest = server.get();
        }
        oldest->ending = true;
        workers_.end_left(oldest->id);
    }
    auto server = std::make_unique<Server>();
    server->id = Workers::new_id();
    server->like = like;
    const std::string output = fmt::format("{}/{}.fork-server", folder_, server->id);
    process::Start start{server->id, like.program(), like.env, like.cwd, output, output};
    start.argv.emplace_back(k_argument);
    start.is_fork_server = true;
    if (!process::check_start(start)) return;
    spdlog::info("fork server {} begins, of {}", server->id, like.argv.front());
    servers_.emplace(server->id, std::move(server));
    workers_.begin_fork_server(std::move(start));
}

bool ForkServers::on_keeper(const process::KeeperMessage& message) {
    if (const auto* start = std::get_if<process::Start>(&message); start != nullptr && start->is_fork_server) {
        // Of a daemon before this one.
        auto& server = servers_[start->id];
        server = std::make_unique<Server>();
        server->id = start->id;
        server->like = {start->argv, start->env, start->cwd, {}};
        return true;
    }
    const auto known = [this](const std::string& id) {
        const auto found = servers_.find(id);
        return found == servers_.end() ? nullptr : found->second.get();
    };
    if (const auto* started = std::get_if<process::Started>(&message)) {
        Server* const server = known(started->id);
        if (server != nullptr) server->pid = started->pid;
        return server != nullptr;
    }
    if (const auto* told = std::get_if<process::Tell>(&message)) {
        if (Server* const server = known(told->id)) hear(*server, told->text);
        return true;
    }
    const auto* failed = std::get_if<process::StartFailed>(&message);
    const auto* exited = std::get_if<process::Exited>(&message);
    const std::string id = failed != nullptr ? failed->id : exited != nullptr ? exited->id : "";
    Server* const server = known(id);
    if (server == nullptr) return false;
    spdlog::info("fork server {} has ended", id);
    const bool by_itself = exited != nullptr && exited->exit_code == 0;
    if (!server->ending && !by_itself) deaths_.push_back(Clock::now());
    ::unlink(fmt::format("{}/{}.fork-server", folder_, id).c_str());
    servers_.erase(id);
    return true;
}

void ForkServers::hear(Server& server, const std::string& text) {
    try {
        const Json said = Json::parse(text);
        server.ready = !said.at("busy").get<bool>();
        server.modules = said.at("modules");
        server.after_fork = said.at("after_fork");
        server.forks = said.at("forks");
        server.read = said.at("read").get<std::set<std::string, std::less<>>>();
        server.prefixes = said.at("prefixes").get<std::vector<std::string>>();
        server.is_of_its_folder = said.at("cwd");
        server.own = said.at("own").get<std::set<std::string, std::less<>>>();
        if (server.like.import_path.empty()) server.like.import_path = said.at("packages").get<std::vector<std::string>>();
    } catch (const Json::exception& error) {
        spdlog::warn("what fork server {} says cannot be read: {}", server.id, error.what());
    }
}

bool ForkServers::end_idle() {
    const auto oldest = Clock::now() - limits::k_fork_server_idle;
    for (const auto& [id, server] : servers_) {
        if (server->ending || server->wanted_at >= oldest) continue;
        server->ending = true;
        workers_.end_left(id);
    }
    return !servers_.empty();
}

Json ForkServers::status() const {
    Json all = Json::array();
    for (const auto& [id, server] : servers_) {
        all.push_back({{"pid", server->pid}, {"python", server->like.argv.front()}, {"ready", server->ready}, {"modules", server->modules}, {"after_fork", server->after_fork},
                       {"forks", server->forks}, {"memory", server->pid != 0 ? isolate::tree_bytes(server->pid) : 0}});
    }
    return all;
}

}  // namespace rh::daemon
