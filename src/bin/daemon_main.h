#pragma once

// Wires the daemon together: executor, listener, HTTP server, daemon. `roundhoused daemon` runs it, started by the keeper.

#include "daemon/daemon.h"

namespace rh::bin {

// Serves until the keeper is gone; returns the exit code.
int run_daemon(const daemon::Daemon::Options& options);

}  // namespace rh::bin
