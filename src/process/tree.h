#pragma once

// Which processes belong to a node or a worker, and ending them, through /proc. Everything started on a node carries
// k_node_variable and, when it came from a worker, k_worker_variable in its environment; where a program wiped those,
// parents and sessions tell. Where there is no /proc (macOS) nothing is found. Entries are snapshots: a signal is sent
// only to the very process that was seen, never to another one that got its pid since.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "process/node_folder.h"

namespace rh::process {

inline constexpr std::string_view k_node_variable = "ROUNDHOUSE_NODE";      // the node's state folder
inline constexpr std::string_view k_worker_variable = "ROUNDHOUSE_WORKER";  // the worker's id
// The name that a keeper gives itself. A cluster that was started from inside a worker has a keeper of its own, which
// is nobody's to kill but its launcher's.
inline constexpr std::string_view k_keeper_process_name = "rh-keeper";

struct ProcessEntry {
    pid_t pid = 0;
    pid_t parent = 0;
    pid_t session = 0;
    char state = '?';
    std::uint64_t start_time = 0;
    std::string name;

    bool is_zombie() const { return state == 'Z' || state == 'X'; }
};

// Every process on this machine, in no order; and one of them.
std::vector<ProcessEntry> list_processes();
std::optional<ProcessEntry> read_process(pid_t pid);

// True when the process began with exactly `name`=`value` in its environment; false when that cannot be read.
bool has_environment(pid_t pid, std::string_view name, std::string_view value);

// The living processes below `root`, without `root`, without zombies, and without another node's keeper and what is
// below it.
std::vector<ProcessEntry> descendants(const std::vector<ProcessEntry>& all, pid_t root);

// Which of `below` (a keeper's descendants) came from the worker: it has that pid or session, or its id in its
// environment, or descends from one that does. `session` 0 leaves the first two out.
std::vector<ProcessEntry> worker_tree(const std::vector<ProcessEntry>& below, std::string_view worker_id, pid_t session);

// False when the process is gone or may not be signalled.
bool send_signal(const ProcessEntry& process, int signal_number);

// Waits until the process has ended, reaped or not; false when it still lives at `deadline`.
bool await_end(const ProcessEntry& process, Deadline deadline);

// The processes of this user's that carry the node's mark, with their descendants; never the calling process.
std::vector<ProcessEntry> node_processes(const std::string& state_folder);
// Kills what a node left whose keeper was killed, until nothing is found, and removes its cgroup. Code::timeout names what would not die.
Result<void> sweep_node(const std::string& state_folder, Deadline deadline);

}  // namespace rh::process
