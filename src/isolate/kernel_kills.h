#pragma once

// What the kernel tells of processes that it killed because memory was short: in its log, where that may be read, and in the
// counters of the machine and of the cgroup around the node, which is how a container's end is known from inside. Linux only.

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "isolate/cgroup.h"

namespace rh::isolate {

// The process that a line of the kernel's log says was killed for memory.
struct Killed {
    pid_t pid = 0;
    std::string name;
};
std::optional<Killed> parse_kill(std::string_view line);

// The kernel's log from now on. Where it may not be read, it is empty.
class KernelLog {
public:
    KernelLog();
    // What came since the last time; remembers a bounded number.
    void read();
    const std::deque<Killed>& kills() const { return kills_; }
    // Forgets them.
    void clear() { kills_.clear(); }

private:
    Fd file_;
    std::deque<Killed> kills_;
};

class KernelKills {
public:
    // `around` is the cgroup in which those processes are that have none of their own.
    explicit KernelKills(std::optional<Cgroup> around);

    // To be taken when a process begins, and given back when it was killed by nobody of ours.
    struct Before {
        std::optional<std::uint64_t> around;
    };
    Before before();
    // Whether the kernel did it for memory. Its log is proof; a counter of the cgroup around that moved while it lived is as good
    // as that; where there is neither, the machine's counter must have moved lately, and the process have been no small one.
    bool did_it(pid_t pid, const Before& before, std::uint64_t peak_bytes);
    // What the cgroup around may have.
    std::optional<std::uint64_t> limit_around() const;

private:
    std::optional<std::uint64_t> machine() const;

    KernelLog log_;
    const std::optional<Cgroup> around_;
    std::optional<std::uint64_t> machine_;  // as last seen
    std::uint64_t machine_bytes_ = 0;
};

}  // namespace rh::isolate
