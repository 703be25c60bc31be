// The command line: local clusters by name.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "launch/local.h"

namespace {

constexpr std::string_view k_usage =
    "usage: roundhouse COMMAND\n"
    "  up NAME       start the local cluster NAME unless it runs\n"
    "  status NAME   say whether it runs, and where its state is\n"
    "  down NAME     end it with everything on it\n"
    "  --version\n";

// The daemon stands beside this program, in a build folder as in an installation.
std::string daemon_binary() {
    char path[4096];
    const auto length = ::readlink("/proc/self/exe", path, sizeof path);
    const std::string self(path, length > 0 ? static_cast<std::size_t>(length) : 0);
    return self.substr(0, self.rfind('/') + 1) + "roundhoused";
}

int refuse(const rh::Error& error) {
    fmt::print(stderr, "roundhouse: {}: {}\n", rh::code_name(error.code), error.message);
    return 1;
}

int run(std::string_view command, std::string_view name) {
    const auto cluster = rh::launch::locate_local(name);
    if (!cluster) return refuse(cluster.error());
    rh::Result<void> done;
    if (command == "up") done = rh::launch::up_local(*cluster, daemon_binary(), rh::limits::k_start_timeout);
    if (command == "down") done = rh::launch::down_local(*cluster, rh::limits::k_start_timeout);
    if (!done) return refuse(done.error());
    const bool up = rh::launch::is_up_local(*cluster);
    fmt::print("{}: {}\n  state   {}\n  socket  {}\n", cluster->name, up ? "up" : "down", cluster->state_folder, cluster->socket_path);
    return command == "status" && !up ? 3 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view command = argc > 1 ? argv[1] : "--help";
    if (command == "--version") {
        fmt::print("roundhouse " ROUNDHOUSE_VERSION "\n");
        return 0;
    }
    if (argc == 3 && (command == "up" || command == "status" || command == "down")) return run(command, argv[2]);
    const bool asked = argc > 1 && (command == "--help" || command == "-h");
    fmt::print(asked ? stdout : stderr, "{}", k_usage);
    return asked ? 0 : 2;
}
