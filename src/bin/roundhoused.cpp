// The one binary of a node: daemon, keeper, and what starts and ends them.

#include "bin/daemon_main.h"
#include "bin/node_commands.h"

int main(int argc, char** argv) {
    return rh::bin::run_node_command(argc, argv, [](const rh::bin::DaemonArguments& arguments) {
        rh::daemon::Daemon::Options options;
        options.cluster_name = arguments.cluster_name;
        options.state_folder = arguments.state_folder;
        options.socket_path = arguments.socket_path;
        options.keeper_fd = arguments.keeper_fd;
        return rh::bin::run_daemon(options);
    });
}
