#pragma once

// Starting one program from the keeper, by fork and exec. The keeper has one thread, so the child may do what it needs
// in between: a session of its own, default signals, its output into files, no inherited descriptors, and death with
// its parent (on Linux). Whatever fails on the way to the program, the parent learns.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace rh::process {

struct Command {
    std::vector<std::string> argv;  // argv[0] is looked up in PATH of `env` when it has no slash
    std::vector<std::string> env;   // KEY=VALUE, the whole environment
    std::string cwd;
    std::string stdout_path;  // opened for appending, created 0600
    std::string stderr_path;
    int inherited_fd = -1;  // becomes the child's descriptor 3; all others are closed
    std::vector<std::int32_t> cpus = {};  // the only ones that it may run on; empty: all (Linux)
    std::string cgroup_procs = {};        // the cgroup.procs of the cgroup that it joins; empty: its parent's (Linux)
};

// The pid of the running program, which the caller must reap. Otherwise Code::io: the message names the program, folder
// or file that was refused, and the fact "errno" says why; the fact "step" is "cgroup" where it could not join that.
Result<pid_t> spawn(const Command& command);

// Keeps a process, and everything that it starts from now on, on those CPUs (Linux); 0: this one. False, and errno, where it cannot.
bool keep_on(pid_t pid, const std::vector<std::int32_t>& cpus);

// `env` without the variables whose names begin with `prefix`.
std::vector<std::string> without_prefix(std::vector<std::string> env, std::string_view prefix);
// `env` without what tells a process its place on a node, which nothing that is no part of that node must inherit. What a
// node is launched with (ROUNDHOUSE_CPUS, ROUNDHOUSE_GPUS, ROUNDHOUSE_MEMORY, ROUNDHOUSE_MEMORY_BY, ROUNDHOUSE_FORK_SERVER) stays.
std::vector<std::string> without_marks(std::vector<std::string> env);
// This process's environment.
std::vector<std::string> current_environment();
// Closes every descriptor from `first` on.
void close_from(int first);
// Gives every signal its default action and blocks none, as a new program expects.
void reset_signals();
// This program's own path, so that a daemon that is restarted after an upgrade is the new one.
std::string own_program();

}  // namespace rh::process
