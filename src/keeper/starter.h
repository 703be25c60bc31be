#pragma once

// `roundhoused up`: makes sure that a node runs, whoever else tries the same, and returns once its daemon accepts. Runs
// in a process of its own, so that the keeper it leaves behind is forked from something small with one thread.

#include "base/result.h"
#include "keeper/keeper.h"

namespace rh::keeper {

// Closes every descriptor of this process but the standard ones.
Result<void> start_node(const Options& options, process::Deadline deadline);

}  // namespace rh::keeper
