#pragma once

// Limits the memory of workers where no cgroup can: looks at what their processes have, more often the closer that is to the
// limit, and says which process is to be ended. It sees memory only when it looks: what is taken faster than that goes beyond
// the limit for as long. Owned by the keeper, which gives it the processes; does nothing while no worker is limited. Linux only.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "isolate/growth.h"
#include "process/keeper_messages.h"
#include "process/tree.h"

namespace rh::isolate {

// What a process has in memory; absent where it has gone. Of what it shares with others, `shared_out` counts its part only,
// which costs the kernel a look at every page.
std::optional<std::uint64_t> process_bytes(const std::string& proc, pid_t pid, bool shared_out);
// The same of a process and those that it has started, as far as they are its children's children still.
std::uint64_t tree_bytes(pid_t pid);

class Monitor {
public:
    struct Verdict {
        std::string worker_id;
        process::ProcessEntry victim;
        bool is_worker = false;  // the worker's own process, and not one that it started
        process::MemoryFacts facts;
    };

    // `node_limit` is for all workers together, 0 for none. `proc` is where processes are looked at.
    explicit Monitor(std::uint64_t node_limit, std::string proc = "/proc") : node_limit_(node_limit), proc_(std::move(proc)) {}

    // `limit` 0: it counts only for the node.
    void add(const std::string& id, pid_t pid, std::uint64_t limit, Clock::time_point now);
    void remove(const std::string& id);

    // When to look next; never without a worker.
    std::optional<Clock::time_point> next() const;
    // Looks at all of them if that is due. `list` finds every process of the node but its daemon.
    using Lister = std::function<std::vector<process::ProcessEntry>()>;
    std::vector<Verdict> look(Clock::time_point now, const Lister& list);
    // What is known of a worker; `kills` counts the verdicts.
    process::MemoryFacts facts(const std::string& id, Clock::time_point now) const;

private:
    struct Watched {
        pid_t pid = 0;
        std::uint64_t limit = 0;
        std::uint64_t used = 0;
        std::uint64_t peak = 0;
        std::uint32_t kills = 0;
        Growth growth;
    };
    struct Part {
        process::ProcessEntry entry;
        std::uint64_t bytes = 0;
    };
    struct Tree {
        std::vector<Part> parts;
        std::uint64_t bytes = 0;
    };

    Tree measure(const std::vector<process::ProcessEntry>& tree, std::uint64_t limit) const;
    Verdict end_largest(const std::string& id, Watched& watched, const Tree& tree, Clock::time_point now, bool for_node);

    const std::uint64_t node_limit_;
    const std::string proc_;
    std::map<std::string, Watched> watched_;
    std::map<pid_t, std::uint64_t> condemned_;  // pid and its start: what it has is on its way back
    Clock::time_point next_{};
};

// How long to wait for the next look: less the less is left, and never so that looking takes a noticeable part of a processor.
std::chrono::milliseconds pause_for(std::uint64_t bytes_left, std::chrono::nanoseconds look_took);

}  // namespace rh::isolate
