#pragma once

// The subcommands of roundhoused: up, down, keeper, daemon. `up` is what launchers run, so it answers with one line of
// JSON: {} or {"code", "message"}. The daemon itself is a parameter, so that tests can put another in its place.

#include <string>

namespace rh::bin {

struct DaemonArguments {
    std::string state_folder;
    std::string cluster_name;
    std::string socket_path;
    int keeper_fd = -1;
};
using DaemonMain = int (*)(const DaemonArguments& arguments);

// Returns the exit code: 0, 1 when it failed, 2 for a wrong command line.
int run_node_command(int argc, char** argv, DaemonMain daemon_main);

}  // namespace rh::bin
