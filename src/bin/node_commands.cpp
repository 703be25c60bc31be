#include "bin/node_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "keeper/run.h"
#include "keeper/starter.h"
#include "launch/local.h"
#include "process/spawn.h"

namespace rh::bin {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view k_usage =
    "roundhoused: the server of a Roundhouse node. `roundhouse up NAME` starts one; by hand:\n"
    "  roundhoused up     --state DIR --name NAME --socket PATH [--timeout-ms N]   start keeper and daemon, wait until they serve\n"
    "  roundhoused down   --state DIR --name NAME --socket PATH [--timeout-ms N]   end everything on the node\n"
    "  roundhoused keeper --state DIR --name NAME --socket PATH                    be the keeper, in the foreground\n"
    "  roundhoused daemon --state DIR --name NAME --socket PATH --keeper-fd N      be the daemon; its keeper runs this\n"
    "  roundhoused --version\n";

struct Arguments {
    std::string command;
    std::string state_folder;
    std::string cluster_name;
    std::string socket_path;
    int keeper_fd = -1;
    milliseconds timeout = limits::k_start_timeout;
};

Result<int> parse_number(const std::string& option, const std::string& text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && number >= 0) return number;
    return fail(Code::bad_arguments, fmt::format("{} takes a whole number, not \"{}\"", option, text));
}

Result<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    arguments.command = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const std::string option = argv[i];
        if (i + 1 == argc) return fail(Code::bad_arguments, fmt::format("{} needs a value", option));
        const std::string value = argv[i + 1];
        if (option == "--state") {
            arguments.state_folder = value;
        } else if (option == "--name") {
            arguments.cluster_name = value;
        } else if (option == "--socket") {
            arguments.socket_path = value;
        } else if (option == "--keeper-fd") {
            RH_TRY(arguments.keeper_fd, parse_number(option, value));
        } else if (option == "--timeout-ms") {
            RH_TRY(const int number, parse_number(option, value));
            arguments.timeout = milliseconds(number);
        } else {
            return fail(Code::bad_arguments, fmt::format("there is no option {}: see roundhoused --help", option));
        }
    }
    RH_TRY_VOID(check_name("cluster", arguments.cluster_name, limits::k_cluster_name_bytes_max));
    for (const auto& [option, path] : {std::pair("--state", &arguments.state_folder), std::pair("--socket", &arguments.socket_path)}) {
        if (!path->starts_with('/')) return fail(Code::bad_arguments, fmt::format("{} needs an absolute path, not \"{}\"", option, *path));
    }
    return arguments;
}

// One write, so that whoever reads the line gets it whole.
int answer(const Result<void>& result) {
    nlohmann::json line = nlohmann::json::object();
    if (!result) line = {{"code", code_name(result.error().code)}, {"message", result.error().message}};
    // A log's tail may hold bytes that are no UTF-8.
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    return result ? 0 : 1;
}

// What a process shows in /proc/PID/environ is what it was started with, so a keeper that was started by hand from inside
// a worker would look like one of that worker's processes and be ended with it, unless it begins again without the marks.
void shed_marks(char** argv) {
    const auto before = process::current_environment();
    const auto env = process::without_marks(before);
    if (env.size() == before.size()) return;
    std::vector<char*> pointers;
    for (const auto& entry : env) pointers.push_back(const_cast<char*>(entry.c_str()));
    pointers.push_back(nullptr);
    ::execve(keeper::own_program().c_str(), argv, pointers.data());
}

keeper::Options keeper_options(const Arguments& arguments) {
    return {arguments.state_folder, arguments.cluster_name, arguments.socket_path, {keeper::own_program(), "daemon"}};
}

Result<process::FileLock> take_node(const Arguments& arguments) {
    RH_TRY_VOID(process::make_private_folder(arguments.state_folder));
    RH_TRY(auto lock, process::FileLock::try_take(process::keeper_lock_path(arguments.state_folder)));
    if (!lock) return fail(Code::name_taken, fmt::format("cluster {} has a keeper already", arguments.cluster_name));
    if (!lock->content().empty()) RH_TRY_VOID(process::sweep_node(arguments.state_folder, steady_clock::now() + arguments.timeout));
    return std::move(*lock);
}

int run_keeper_here(const Arguments& arguments) {
    auto lock = take_node(arguments);
    if (!lock) return answer(fail(std::move(lock.error())));
    return keeper::run_keeper(keeper_options(arguments), std::move(*lock), Fd());
}

}  // namespace

int run_node_command(int argc, char** argv, DaemonMain daemon_main) {
    const std::string_view first = argc > 1 ? argv[1] : "--help";
    if (first == "--version") {
        std::puts("roundhoused " ROUNDHOUSE_VERSION);
        return 0;
    }
    if (first == "--help" || first == "-h") {
        std::fwrite(k_usage.data(), 1, k_usage.size(), stdout);
        return argc > 1 ? 0 : 2;
    }
    const auto arguments = parse(argc, argv);
    if (!arguments) {
        answer(fail(arguments.error()));
        return 2;
    }
    if (first == "up") {
        shed_marks(argv);
        return answer(keeper::start_node(keeper_options(*arguments), steady_clock::now() + arguments->timeout));
    }
    if (first == "down")
        return answer(launch::down_local({arguments->cluster_name, arguments->state_folder, arguments->socket_path}, arguments->timeout));
    if (first == "keeper") {
        shed_marks(argv);
        return run_keeper_here(*arguments);
    }
    if (first == "daemon") return daemon_main({arguments->state_folder, arguments->cluster_name, arguments->socket_path, arguments->keeper_fd});
    answer(fail(Code::bad_arguments, fmt::format("there is no command {}: see roundhoused --help", first)));
    return 2;
}

}  // namespace rh::bin
