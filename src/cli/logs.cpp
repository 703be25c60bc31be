// `roundhouse logs`: what workers wrote to their descriptors 1 and 2. The daemon has no method for that in this version, so
// these are the files in the state folder (DIR/workers/ID.out and ID.err), and only of clusters on this machine. The daemon
// punches holes into their fronts beyond a bound, which are skipped.

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <map>
#include <set>

#include "base/fd.h"
#include "base/limits.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "cli/signals.h"
#include "process/node_folder.h"

namespace rh::cli {

namespace {

// Files do not tell everywhere that they grew, so one looks; nobody notices a tenth of a second.
constexpr int k_look_ms = 100;
constexpr std::size_t k_line_bytes_max = 64 * 1024;

struct LogOptions {
    std::string cluster, service;
    std::optional<std::uint64_t> tail;
    bool follow = false, daemon = false;
};

struct Source {
    std::string worker;
    std::string service;
    std::string channel;
    Fd file;
    off_t at = 0;
    std::string line{};  // its beginning, whose end has not come
};

class Logs {
public:
    Logs(const Place& place, const LogOptions& options, Context& context) : place_(place), options_(options), context_(context) {}

    Result<void> show() {
        if (options_.daemon) {
            add("daemon", "daemon", "err", process::daemon_log_path(place_.cluster.state_folder));
        } else {
            RH_TRY_VOID(look());
        }
        if (sources_.empty() && !options_.follow) return nothing();
        for (Source& source : sources_) read(source, options_.tail);
        while (options_.follow && !context_.screen.closed()) {
            context_.screen.flush();
            ::poll(nullptr, 0, k_look_ms);
            if (signals_caught() > 0) return fail(interrupted_error(last_signal()));
            if (!options_.daemon) RH_TRY_VOID(look());
            for (Source& source : sources_) read(source, std::nullopt);
            if (!launch::is_up_local(place_.cluster)) break;
        }
        for (Source& source : sources_) {
            if (!source.line.empty()) print(source, source.line);
        }
        return context_.screen.closed() ? Result<void>(fail(interrupted_error(SIGPIPE))) : Result<void>();
    }

private:
    Result<void> nothing() {
        if (options_.service.empty()) return {};
        return fail(Code::not_found, fmt::format("there is no log of a service {} on {}. Try: `roundhouse ps {}` for what lives there, or no service for every worker's", options_.service, place_.name, place_.name));
    }

    // The services of a worker; of one that has ended the node has forgotten them.
    void learn() {
        services_.clear();
        auto node = Node::open(place_, context_.screen);
        if (!node) return;
        const auto status = node->ask("status");
        if (!status) return;
        for (const Json& service : status->value("services", Json::array())) {
            std::string& names = services_[text_of(service, "worker")];
            names += (names.empty() ? "" : ",") + text_of(service, "name");
        }
    }

    bool wanted(const std::string& names) const {
        if (options_.service.empty()) return true;
        return ("," + names + ",").find("," + options_.service + ",") != std::string::npos;
    }

    // Takes in the files that are new. Those of one worker come together, the oldest first.
    Result<void> look() {
        const std::string folder = place_.cluster.state_folder + "/workers";
        std::vector<std::string> names;
        if (DIR* const opened = ::opendir(folder.c_str())) {
            while (const dirent* const entry = ::readdir(opened)) {
                const std::string name = entry->d_name;
                if ((name.ends_with(".out") || name.ends_with(".err")) && seen_.count(name) == 0) names.push_back(name);
            }
            ::closedir(opened);
        }
        if (names.empty()) return {};
        std::sort(names.begin(), names.end());
        learn();
        for (const std::string& name : names) {
            const std::string worker = name.substr(0, name.size() - 4);
            const auto found = services_.find(worker);
            const std::string services = found == services_.end() ? "" : found->second;
            // One that starts has no service yet: it is looked at again.
            if (!wanted(services)) continue;
            seen_.insert(name);
            add(worker, services, name.substr(name.size() - 3), folder + "/" + name);
        }
        return {};
    }

    void add(const std::string& worker, const std::string& service, std::string channel, const std::string& path) {
        Source source{worker, service, std::move(channel), Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))};
        if (source.file) sources_.push_back(std::move(source));
    }

    void read(Source& source, std::optional<std::uint64_t> tail) {
#ifdef SEEK_DATA
        const off_t from = ::lseek(source.file.get(), source.at, SEEK_DATA);
        if (from > source.at) source.at = from;
#endif
        char buffer[64 * 1024];
        std::deque<std::string> kept;
        for (;;) {
            const auto count = ::pread(source.file.get(), buffer, sizeof buffer, source.at);
            if (count <= 0) break;
            source.at += count;
            for (std::string_view text(buffer, static_cast<std::size_t>(count)); !text.empty();) {
                const auto end = text.find('\n');
                source.line.append(text.substr(0, end));
                text.remove_prefix(end == text.npos ? text.size() : end + 1);
                if (end == text.npos && source.line.size() < k_line_bytes_max) break;
                if (!tail) {
                    print(source, source.line);
                } else {
                    kept.push_back(source.line);
                    if (kept.size() > *tail) kept.pop_front();
                }
                source.line.clear();
            }
            if (context_.screen.closed()) return;
        }
        for (const std::string& line : kept) print(source, line);
        if (!options_.follow && !source.line.empty()) {
            print(source, source.line);
            source.line.clear();
        }
    }

    void print(const Source& source, const std::string& line) {
        if (context_.json) {
            context_.screen.json({{"cluster", place_.name}, {"worker", source.worker}, {"service", source.service.empty() ? Json() : Json(source.service)}, {"channel", source.channel == "out" ? "stdout" : "stderr"}, {"line", line}});
            return;
        }
        const std::string prefix = options_.daemon || !options_.service.empty() ? "" : context_.screen.dim(fmt::format("{} | ", source.service.empty() ? source.worker : source.service));
        context_.screen.out(prefix + line + "\n");
    }

    const Place& place_;
    const LogOptions& options_;
    Context& context_;
    std::vector<Source> sources_;
    std::set<std::string> seen_;
    std::map<std::string, std::string> services_;
};

Result<void> logs(const LogOptions& options, Context& context) {
    RH_TRY(const Place place, find_place(options.cluster));
    if (!place.local)
        return fail(Code::unsupported, fmt::format("the logs of cluster {} are files on its own machine: run `roundhouse logs` there. What a call prints comes with the call", place.name));
    if (::access(place.cluster.state_folder.c_str(), R_OK) != 0) return fail(not_up(place));
    return Logs(place, options, context).show();
}

Run declare_logs(Options& options) {
    const auto wanted = std::make_shared<LogOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("SERVICE", wanted->service, "of its worker only", false);
    options.flag("-f,--follow", wanted->follow, "go on until Ctrl-C or the end of the cluster");
    options.value("-n,--tail", "LINES", wanted->tail, "the last lines of each file only");
    options.flag("--daemon", wanted->daemon, "the daemon's own log");
    return [wanted](Context& context) { return logs(*wanted, context); };
}

}  // namespace

std::span<const Command> log_commands() {
    static constexpr Command k_commands[] = {
        {"logs", "[OPTION]... NAME [SERVICE]", "what workers wrote to their own stdout and stderr",
         "C code, child processes, crashes, and threads that outlived their call. What a method prints belongs to its call and\n"
         "went to whoever made it. These are files in the state folder of a cluster on this machine.",
         "roundhouse logs -f box train", declare_logs},
    };
    return k_commands;
}

}  // namespace rh::cli
