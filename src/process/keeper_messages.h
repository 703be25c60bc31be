#pragma once

// What the daemon and its keeper say to each other over a socketpair. The keeper parents every process on the node, so
// the daemon asks it to start and signal them, and it tells how they ended, whoever else has died meanwhile. No I/O here.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace rh::process {

// Who sees to it that a worker keeps to its memory, or has ended it for that. Never renumber.
enum class Enforcer : std::uint8_t {
    nobody = 0,
    cgroup2 = 1,
    cgroup1 = 2,
    monitor = 3,  // the keeper's own (isolate/monitor.h)
    kernel = 4,   // nobody of ours: the machine, or the container around the node, had no memory left
};
std::string_view enforcer_name(Enforcer enforcer);
// And the inverse: nobody for what is none.
Enforcer enforcer_of(std::string_view name);
// The only one that a keeper is to try, by name, and then for its daemon the one that it is.
inline constexpr std::string_view k_memory_variable = "ROUNDHOUSE_MEMORY_BY";

// What is known of a worker's memory.
struct MemoryFacts {
    Enforcer enforced_by = Enforcer::nobody;
    bool is_node_limit = false;      // the limit is all workers' together
    std::uint64_t limit_bytes = 0;   // 0: not known
    std::uint64_t peak_bytes = 0;    // 0: not known
    std::uint64_t growth_bytes = 0;  // in the last `growth_ms`, which are 0 where nobody has followed it
    std::uint32_t growth_ms = 0;
    std::uint32_t kills = 0;         // how many of its processes were killed for memory, since it began
};

// Daemon to keeper.
struct Start {
    std::string id;                 // the worker's
    std::vector<std::string> argv;  // argv[0] is looked up in PATH of `env` when it has no slash
    std::vector<std::string> env;   // KEY=VALUE, the whole environment
    std::string cwd;
    std::string stdout_path;  // opened for appending, created 0600
    std::string stderr_path;
    std::vector<std::int32_t> cpus = {};  // the only ones that it may run on; empty: all (Linux)
    std::uint64_t memory_bytes = 0;       // that it and all that comes from it may have; 0: no limit of its own
    // To be forked from that process, which the keeper has started as a fork server; where it cannot, it is started as any other.
    std::string fork_server = {};
    std::vector<std::string> import_path = {};  // what a forked one will import from: nothing there may be hidden by what it has already
    bool is_fork_server = false;                // it speaks with the keeper over its descriptor 3, and other workers are forked from it
};
// Sends `signal_number` to the worker itself.
struct Signal {
    std::string id;
    std::int32_t signal_number = 0;
};
// Ends the worker and every process that came from it, orphans included: SIGTERM, and after `grace_ms` SIGKILL.
struct End {
    std::string id;
    std::uint32_t grace_ms = 0;
};
// Ends the node: every process, the daemon last; then the keeper removes what it made and exits.
struct Shutdown {};
// Puts a daemon of that program in the place of this one, now; where it does not stay up, one of the program before.
struct Upgrade {
    std::string program;  // a path
};

// Keeper to daemon.
struct Started {
    std::string id;
    std::int32_t pid = 0;
};
struct StartFailed {
    std::string id;
    std::int32_t error_number = 0;
    std::string what;  // "cannot run /no/such/python: No such file or directory"
};
struct Exited {
    std::string id;
    std::int32_t pid = 0;
    std::int32_t exit_code = -1;      // -1 when a signal ended it
    std::int32_t signal_number = 0;   // 0 when it exited
    std::uint64_t peak_memory_kib = 0;  // ru_maxrss
    MemoryFacts memory = {};            // where somebody watched over it, or the kernel ended it for its memory
};
// Sent first to each daemon: which workers of one before it live.
struct Inventory {
    std::vector<Started> workers;
    bool is_first = false;  // there was none before it: whatever its state folder tells of ended with another keeper
};

// Who limits that worker's memory, and how: sent behind its Started, and to a restarted daemon of each that lives. With an
// empty id: who does so for the node from now on, where that has changed since the daemon began.
struct Limited {
    std::string id;
    MemoryFacts memory;  // who and how much; the rest is empty
    std::string cgroup;  // its folder; empty without one
};
// The monitor ends a process that came from that worker, and is not the worker itself. Sent before the signal.
struct OverLimit {
    std::string id;
    std::int32_t pid = 0;
    std::string name;  // of the process
    MemoryFacts memory;
};

// What the daemon and a fork server say to each other, in both directions: the keeper passes it on unread, and tells a restarted
// daemon the last that each has said.
struct Tell {
    std::string id;  // the fork server's
    std::string text;
};
// Set for a daemon whose keeper knows fork servers: one of an earlier version may outlive an upgrade.
inline constexpr std::string_view k_forks_variable = "ROUNDHOUSE_FORKS";

using KeeperMessage = std::variant<Start, Signal, End, Shutdown, Upgrade, Started, StartFailed, Exited, Inventory, Limited, OverLimit, Tell>;

// A longer message is refused by the decoder. What a process may take as arguments and environment is less by far.
inline constexpr std::size_t k_keeper_message_bytes_max = 16 * 1024 * 1024;

// Code::limit_exceeded for a Start that is too long to send: its arguments and environment are a deployer's.
Result<void> check_start(const Start& start);

// Appends the message to `out`, length first. A message longer than the bound is a bug of the sender's.
void append_keeper_message(Bytes& out, const KeeperMessage& message);

class KeeperDecoder {
public:
    void feed(ByteView bytes);
    // True and sets `message` when a whole one is there; false when more bytes are needed.
    Result<bool> next(KeeperMessage& message);

private:
    Bytes buffer_;
    std::size_t used_ = 0;
};

}  // namespace rh::process
