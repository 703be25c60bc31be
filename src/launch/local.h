#pragma once

// Local clusters: a keeper and a daemon on this machine, in a state folder of their own. Nothing to install, no root.
// up() is safe against any number of starters at once, stale locks and stale sockets.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rh::launch {

struct LocalCluster {
    std::string name;
    std::string state_folder;  // $ROUNDHOUSE_STATE/clusters/NAME, or its default; another one after a rename (local_names.h)
    std::string socket_path;   // in the runtime folder: socket paths may have 107 bytes
};

// What a cluster may have of its machine. What is absent is what the machine shows.
struct Sizes {
    std::optional<std::uint64_t> cpus;
    std::optional<std::uint64_t> gpus;
    std::optional<std::uint64_t> memory_bytes;  // of all workers together (keeper/memory_limits.h)
};

// Where the cluster of that name lives on this machine, whether or not it runs. Code::invalid_name for a bad name.
Result<LocalCluster> locate_local(std::string_view name);

// Starts keeper and daemon unless they run, and waits until the daemon answers. `daemon_binary` is the path of
// roundhoused. Code::launch_failed with the reason and the end of the daemon's log otherwise. The sizes are for a cluster
// that is launched by this call; one that is up keeps its own.
Result<void> up_local(const LocalCluster& cluster, std::string_view daemon_binary, std::chrono::milliseconds timeout, const Sizes& sizes = {});

// True when its daemon accepts connections.
bool is_up_local(const LocalCluster& cluster);

// Ends everything on it and waits until no process, socket or lock is left; also when the daemon or keeper was killed.
Result<void> down_local(const LocalCluster& cluster, std::chrono::milliseconds timeout);

}  // namespace rh::launch
