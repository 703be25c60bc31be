#pragma once

// Becoming the keeper: what a freshly forked process does before it looks after a node.

#include <string>

#include "keeper/keeper.h"
#include "process/spawn.h"

namespace rh::keeper {

// Makes this process the keeper of a node whose lock it holds: a session of its own, default signals, output into the
// daemon's log. The caller has closed what the keeper should not hold. Returns the exit code.
int run_keeper(Options options, process::FileLock lock, Fd starter);

using process::own_program;

}  // namespace rh::keeper
