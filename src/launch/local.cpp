#include "launch/local.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/ids.h"
#include "base/limits.h"
#include "launch/local_names.h"
#include "launch/state_base.h"
#include "process/local_socket.h"
#include "process/node_folder.h"
#include "process/spawn.h"
#include "process/tree.h"

namespace rh::launch {

namespace {

using process::Deadline;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The starter has a deadline of its own and says what happened; only when it is stuck itself is it killed.
constexpr milliseconds k_starter_slack{1500};
constexpr milliseconds k_lock_poll{1};
constexpr std::size_t k_answer_bytes_max = 64 * 1024;

struct Pipe {
    Fd from;
    Fd to;
};

Result<Pipe> make_pipe() {
    int ends[2];
#ifdef __linux__
    const int made = ::pipe2(ends, O_CLOEXEC);
#else
    const int made = ::pipe(ends);
#endif
    if (made != 0) return fail(os_error("cannot make a pipe for roundhoused", errno));
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// posix_spawn, because the caller may be a Python process with threads, between whose fork and exec nothing is safe.
Result<pid_t> spawn_starter(const std::vector<std::string>& arguments, int standard_output, const Sizes& sizes) {
    // A cluster that is started from inside a worker is not part of that worker's node.
    std::vector<std::string> environment = process::without_marks(process::current_environment());
    for (const auto& [variable, size] :
         {std::pair("ROUNDHOUSE_CPUS", sizes.cpus), std::pair("ROUNDHOUSE_GPUS", sizes.gpus), std::pair("ROUNDHOUSE_MEMORY", sizes.memory_bytes)}) {
        if (!size) continue;
        environment = process::without_prefix(std::move(environment), fmt::format("{}=", variable));
        environment.push_back(fmt::format("{}={}", variable, *size));
    }
    std::vector<char*> argv, env;
    for (const auto& text : arguments) argv.push_back(const_cast<char*>(text.c_str()));
    for (const auto& text : environment) env.push_back(const_cast<char*>(text.c_str()));
    argv.push_back(nullptr);
    env.push_back(nullptr);

    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, standard_output, STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    // Ctrl-C in the caller's terminal is for the caller.
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    pid_t child = 0;
    const int why = ::posix_spawn(&child, argv[0], &files, &attributes, argv.data(), env.data());
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    if (why == 0) return child;
    Error error = os_error(fmt::format("cannot run {}", arguments.front()), why);
    error.code = Code::launch_failed;
    return fail(std::move(error));
}

// One line, or what came before the end or the deadline.
std::string read_line(int from, Deadline deadline) {
    std::string line;
    while (line.size() < k_answer_bytes_max && line.find('\n') == line.npos) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
        pollfd waited{from, POLLIN, 0};
        const int ready = ::poll(&waited, 1, static_cast<int>(std::max<decltype(left)>(left, 0)));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) break;
        char chunk[4096];
        const auto count = ::read(from, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        line.append(chunk, static_cast<std::size_t>(count));
    }
    return line;
}

Code code_from_name(const std::string& name) {
    for (std::uint32_t number = 0; number <= static_cast<std::uint32_t>(Code::unsupported); ++number) {
        if (code_name(code_from_number(number)) == name) return code_from_number(number);
    }
    return Code::unknown;
}

// The starter's line: {} or {"code", "message"}.
Result<void> understand(const LocalCluster& cluster, const std::string& line, int status) {
    const auto answer = nlohmann::json::parse(line, nullptr, false);
    if (!answer.is_object())
        return fail(Code::launch_failed,
                    WIFSIGNALED(status) ? fmt::format("the start of cluster {} was ended by signal {}", cluster.name, WTERMSIG(status))
                                        : fmt::format("the start of cluster {} ended with exit code {} and said: {:.1024}",
                                                      cluster.name, WEXITSTATUS(status), line));
    if (answer.empty()) return {};
    const auto text = [&](const char* key) {
        const auto found = answer.find(key);
        return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const Code code = code_from_name(text("code"));
    const bool telling = code == Code::io || code == Code::not_allowed || code == Code::invalid_name;
    return fail(telling ? code : Code::launch_failed, text("message"));
}

bool exists(const std::string& path) {
    struct stat file {};
    return ::lstat(path.c_str(), &file) == 0;
}

// Asks the keeper to end, insists after most of the time, and returns its lock, which nobody holds then.
Result<process::FileLock> end_keeper(const LocalCluster& cluster, milliseconds timeout) {
    const auto begin = steady_clock::now();
    const auto insist_at = begin + timeout * 3 / 4;
    const auto deadline = begin + timeout;
    bool asked = false;
    for (;;) {
        RH_TRY(auto lock, process::FileLock::try_take(process::keeper_lock_path(cluster.state_folder)));
        if (lock) return std::move(*lock);
        const auto now = steady_clock::now();
        const auto record = process::read_keeper_record(cluster.state_folder);
        const auto keeper = record ? process::read_process(record->pid) : std::nullopt;
        if (keeper && keeper->start_time == record->start_time) {
            const bool insist = now >= insist_at;
            if (!asked || insist) process::send_signal(*keeper, insist ? SIGKILL : SIGTERM);
            asked = true;
            process::await_end(*keeper, insist ? deadline : insist_at);
        }
        if (now >= deadline)
            return fail(Code::timeout, fmt::format("the keeper of cluster {} (pid {}) holds {} and does not end: end it by hand",
                                                   cluster.name, record ? record->pid : 0,
                                                   process::keeper_lock_path(cluster.state_folder)));
        std::this_thread::sleep_for(k_lock_poll);
    }
}

}  // namespace

Result<LocalCluster> locate_local(std::string_view name) {
    RH_TRY_VOID(check_name("cluster", name, limits::k_cluster_name_bytes_max));
    RH_TRY(const std::string base, state_base());
    LocalCluster cluster;
    cluster.name = name;
    cluster.state_folder = fmt::format("{}/clusters/{}", base, local_key(base, name));
    if (exists(cluster.state_folder) && !is_stale_link(cluster.state_folder)) RH_TRY_VOID(process::check_private_folder(cluster.state_folder));
    // Whoever started it may have had another runtime folder (a desktop session, a cron job): its keeper says which.
    if (const auto record = process::read_keeper_record(cluster.state_folder); record && exists(record->socket_path)) {
        cluster.socket_path = record->socket_path;
        return cluster;
    }
    RH_TRY(cluster.socket_path, socket_path_for(cluster.name, cluster.state_folder));
    return cluster;
}

Result<void> up_local(const LocalCluster& cluster, std::string_view daemon_binary, milliseconds timeout, const Sizes& sizes) {
    RH_TRY(const bool up, process::accepts_connections(cluster.socket_path));
    if (up) return {};
    drop_stale_link(cluster.state_folder);
    RH_TRY(Pipe answer, make_pipe());
    const std::vector<std::string> arguments = {
        std::string(daemon_binary), "up",       "--state", cluster.state_folder, "--name", cluster.name,
        "--socket",    cluster.socket_path, "--timeout-ms", std::to_string(timeout.count())};
    RH_TRY(const pid_t starter, spawn_starter(arguments, answer.to.get(), sizes));
    answer.to.close();
    const std::string line = read_line(answer.from.get(), steady_clock::now() + timeout + k_starter_slack);
    // After its line it ends by itself; without one it has ended already, or is stuck. It is ours and not reaped, so that
    // its pid is nobody else's.
    if (line.find('\n') == line.npos) ::kill(starter, SIGKILL);
    int status = 0;
    while (::waitpid(starter, &status, 0) < 0 && errno == EINTR) {
    }
    return understand(cluster, line, status);
}

bool is_up_local(const LocalCluster& cluster) { return process::accepts_connections(cluster.socket_path).value_or(false); }

Result<void> down_local(const LocalCluster& cluster, milliseconds timeout) {
    const std::string lock_path = process::keeper_lock_path(cluster.state_folder);
    const std::string start_lock_path = process::start_lock_path(cluster.state_folder);
    if (exists(lock_path) || exists(start_lock_path)) {
        RH_TRY_VOID(process::check_private_folder(cluster.state_folder));
        const auto begin = steady_clock::now();
        // Starters wait from here on, and begin anew when their lock file is gone.
        RH_TRY(auto start_lock, process::FileLock::take(start_lock_path, begin + timeout));
        RH_TRY(auto lock, end_keeper(cluster, std::max(milliseconds(1), timeout - std::chrono::floor<milliseconds>(steady_clock::now() - begin))));
        // A keeper that was killed could end its workers only through the kernel, which does not know their children.
        RH_TRY_VOID(process::sweep_node(cluster.state_folder, steady_clock::now() + std::max(milliseconds(500), timeout / 4)));
        // Both locks are held, so whoever still accepts there is on its way out.
        const auto gone_by = steady_clock::now() + milliseconds(500);
        RH_TRY_VOID(process::remove_stale_socket(cluster.socket_path, gone_by));
        if (const auto record = process::parse_keeper_record(lock.content()); record && record->socket_path != cluster.socket_path)
            RH_TRY_VOID(process::remove_stale_socket(record->socket_path, gone_by));
        lock.remove();
        start_lock.remove();
        return {};
    }
    return process::remove_stale_socket(cluster.socket_path);
}

}  // namespace rh::launch
