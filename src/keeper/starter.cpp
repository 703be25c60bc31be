#include "keeper/starter.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <thread>

#include "keeper/run.h"
#include "process/local_socket.h"
#include "process/spawn.h"

namespace rh::keeper {

namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

// A daemon is ready some milliseconds after its start, so a finer step than this would save nothing.
constexpr microseconds k_look_again{300};
constexpr microseconds k_look_again_rarely{2000};
constexpr std::size_t k_answer_bytes_max = 16 * 1024;

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// The keeper's last words: "CODE message".
Error read_failure(int keeper) {
    char buffer[k_answer_bytes_max];
    const auto count = ::recv(keeper, buffer, sizeof buffer, 0);
    if (count <= 0) return Error(Code::launch_failed, "the keeper ended at its start without saying why");
    const std::string_view text(buffer, static_cast<std::size_t>(count));
    const auto space = std::min(text.find(' '), text.size() - 1);
    std::uint32_t number = 0;
    std::from_chars(text.data(), text.data() + space, number);
    return Error(code_from_number(number), std::string(text.substr(space + 1)));
}

Error too_late(const Options& options) {
    return Error(Code::timeout, fmt::format("the daemon of cluster {} did not accept connections at {} in time; {} ends:\n{}",
                                            options.cluster_name, options.socket_path,
                                            process::daemon_log_path(options.state_folder),
                                            process::file_tail(process::daemon_log_path(options.state_folder), 1024)));
}

// Waits until the daemon accepts or the keeper says why it will not.
Result<void> await_daemon(const Options& options, Fd keeper, process::Deadline deadline) {
    for (;;) {
        RH_TRY(const bool accepts, process::accepts_connections(options.socket_path));
        if (accepts) {
            ::send(keeper.get(), "r", 1, MSG_NOSIGNAL);
            return {};
        }
        pollfd waited{keeper.get(), POLLIN, 0};
        const timespec step{0, std::chrono::nanoseconds(k_look_again).count()};
        if (::ppoll(&waited, 1, &step, nullptr) > 0) {
            auto failure = read_failure(keeper.get());
            // It closes this socket with its end, so that whoever asks again finds nothing half-ended.
            char ignored[64];
            while (::recv(keeper.get(), ignored, sizeof ignored, 0) > 0) {
            }
            return fail(std::move(failure));
        }
        if (steady_clock::now() >= deadline) {
            ::send(keeper.get(), "x", 1, MSG_NOSIGNAL);
            return fail(too_late(options));
        }
    }
}

// Nothing runs here and this process holds the lock, which the keeper inherits.
Result<void> start_keeper(const Options& options, process::FileLock start_lock, process::FileLock lock, process::Deadline deadline) {
    // A record in a lock that was free is that of a keeper which was killed and could not clean up.
    if (!lock.content().empty()) RH_TRY_VOID(process::sweep_node(options.state_folder, deadline));
    RH_TRY_VOID(process::remove_stale_socket(options.socket_path));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(os_error("cannot start the keeper", errno));
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    const pid_t keeper = ::fork();
    if (keeper < 0) return fail(os_error("cannot start the keeper", errno));
    if (keeper == 0) {
        ours.close();
        // Its file descriptor goes with the object; the starter's own keeps the queue waiting.
        { const process::FileLock dropped = std::move(start_lock); }
        ::_exit(run_keeper(options, std::move(lock), std::move(theirs)));
    }
    theirs.close();
    return await_daemon(options, std::move(ours), deadline);
}

}  // namespace

Result<void> start_node(const Options& options, process::Deadline deadline) {
    // Descriptors that a careless parent leaked would otherwise be kept open for as long as the node lives.
    process::close_from(STDERR_FILENO + 1);
    process::reset_signals();
    RH_TRY_VOID(process::check_socket_path(options.socket_path));
    RH_TRY_VOID(process::make_private_folder(options.state_folder));
    RH_TRY_VOID(process::make_private_folder(folder_of(options.socket_path)));
    RH_TRY(auto start_lock, process::FileLock::take(process::start_lock_path(options.state_folder), deadline));
    for (;;) {
        RH_TRY(const bool accepts, process::accepts_connections(options.socket_path));
        if (accepts) return {};
        RH_TRY(auto lock, process::FileLock::try_take(process::keeper_lock_path(options.state_folder)));
        if (lock) return start_keeper(options, std::move(start_lock), std::move(*lock), deadline);
        // A keeper lives: it is just restarting its daemon, or just ending, or serves another socket.
        const auto record = process::read_keeper_record(options.state_folder);
        if (record && record->socket_path != options.socket_path && process::accepts_connections(record->socket_path).value_or(false))
            return fail(Code::launch_failed, fmt::format("cluster {} runs already, with the socket {} instead of {}: ask again",
                                                         options.cluster_name, record->socket_path, options.socket_path));
        if (steady_clock::now() >= deadline) return fail(too_late(options));
        std::this_thread::sleep_for(k_look_again_rarely);
    }
}

}  // namespace rh::keeper
