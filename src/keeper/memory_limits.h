#pragma once

// What the keeper does about memory: gives each limited worker a cgroup of its own, or watches it where there is none, and knows
// when one ends whether that was for its memory. Owned by the keeper; without a limit on the node or a worker it costs nothing.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "isolate/kernel_kills.h"
#include "isolate/monitor.h"
#include "isolate/node_cgroup.h"
#include "process/keeper_messages.h"

namespace rh::keeper {

class MemoryLimits {
public:
    using Clock = std::chrono::steady_clock;
    using Verdict = isolate::Monitor::Verdict;

    // Makes the node's cgroup, where it may, once what a keeper before this one left is removed. ROUNDHOUSE_MEMORY of this
    // process's environment limits all workers together, and ROUNDHOUSE_MEMORY_BY names the only way that is tried.
    MemoryLimits(const std::string& state_folder, const std::string& cluster_name);

    // What holds for the node; and for each limited worker that lives.
    process::Limited node() const;
    std::vector<process::Limited> workers() const;

    // Prepares for a worker, before its process: the cgroup.procs that it is to join, empty for none.
    std::string admit(const process::Start& start);
    // Its process could not join: cgroups are of no use here, and this worker and all later ones are watched instead.
    void cannot_join(const Error& why);
    // It runs. What to tell the daemon; nothing where it has no limit.
    std::optional<process::Limited> begun(const process::Start& start, pid_t pid, Clock::time_point now);
    // It could not be started.
    void not_begun(const std::string& id);
    // How it ended, as far as memory is concerned. `ours` says that the keeper has sent it a signal.
    process::MemoryFacts ended(const std::string& id, pid_t pid, int signal_number, bool ours, std::uint64_t peak_bytes, Clock::time_point now);
    // Nothing of it is left: its cgroup goes. False while the kernel still finds something in there.
    bool forget(const std::string& id);
    // Which processes are in its cgroup, whatever they have done to look like nobody's.
    std::vector<pid_t> processes(const std::string& id) const;

    // The monitor's next look, and what it finds.
    std::optional<Clock::time_point> next() const { return monitor_.next(); }
    std::vector<Verdict> look(Clock::time_point now, const isolate::Monitor::Lister& list) { return monitor_.look(now, list); }

    // The node has ended.
    void remove();

private:
    struct Worker {
        std::uint64_t limit = 0;
        std::optional<isolate::Cgroup> cgroup;
        bool watched = false;
        isolate::KernelKills::Before before;
    };

    void make_cgroup(const std::string& cluster_name, std::string_view only);
    process::Limited limited(const std::string& id, const Worker& worker) const;

    const std::string state_folder_;
    const std::uint64_t node_limit_;
    process::Enforcer enforcer_ = process::Enforcer::monitor;
    std::optional<isolate::Place> place_;
    std::optional<isolate::NodeCgroup> cgroup_;
    isolate::KernelKills kernel_;
    isolate::Monitor monitor_;
    std::map<std::string, Worker> workers_;
};

}  // namespace rh::keeper
