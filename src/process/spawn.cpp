#include "process/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "base/fd.h"

extern char** environ;

namespace rh::process {

namespace {

constexpr int k_inherited_fd = 3;
constexpr int k_report_fd = 4;
// Above what the child arranges, so that no dup2 hits a descriptor that is still needed.
constexpr int k_parking_fd = 10;
constexpr std::string_view k_default_path = "/usr/local/bin:/usr/bin:/bin";

// What the child could not do, sent through a pipe that exec closes.
struct Failure {
    enum class Step : int { session, cgroup, descriptors, standard_output, standard_error, folder, processors, program };
    Step step = Step::program;
    int error_number = 0;
};

std::string_view path_of(const std::vector<std::string>& env) {
    constexpr std::string_view k_prefix = "PATH=";
    for (const auto& entry : env) {
        if (entry.starts_with(k_prefix)) return std::string_view(entry).substr(k_prefix.size());
    }
    return k_default_path;
}

// Every file that argv[0] may stand for, in order.
std::vector<std::string> candidates(const Command& command) {
    const std::string& name = command.argv.front();
    if (name.empty() || name.find('/') != name.npos) return {name};
    std::vector<std::string> found;
    std::string_view path = path_of(command.env);
    for (;;) {
        const auto colon = path.find(':');
        const std::string_view folder = path.substr(0, colon);
        found.push_back(folder.empty() ? name : fmt::format("{}/{}", folder, name));
        if (colon == path.npos) return found;
        path.remove_prefix(colon + 1);
    }
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
}

// Returns only when no candidate could be run, with the errno that says most: one that was found but refused is more
// telling than those that were not there.
int exec_first(const std::vector<std::string>& files, char* const* argv, char* const* env) {
    int why = ENOENT;
    for (const auto& file : files) {
        ::execve(file.c_str(), argv, env);
        if (errno == EACCES) {
            why = EACCES;
        } else if (errno != ENOENT && errno != ENOTDIR) {
            return errno;
        }
    }
    return why;
}

bool open_as(int target, const std::string& path, int flags) {
    const int file = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (file < 0) return false;
    if (file == target) return ::fcntl(file, F_SETFD, 0) == 0;
    const bool moved = ::dup2(file, target) == target;
    ::close(file);
    return moved;
}

[[noreturn]] void give_up(int report, Failure::Step step, int error_number) {
    const Failure failure{step, error_number};
    [[maybe_unused]] const auto written = ::write(report, &failure, sizeof failure);
    ::_exit(127);
}

// Before there is anything that it could allocate or start: what a process has already is not counted where it goes.
bool join(const std::string& procs) {
    if (procs.empty()) return true;
    const int file = ::open(procs.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) return false;
    const bool joined = ::write(file, "0", 1) == 1;
    const int error_number = errno;
    ::close(file);
    errno = error_number;
    return joined;
}

// Everything between fork and exec.
[[noreturn]] void become(const Command& command, const std::vector<std::string>& files, char* const* argv, char* const* env,
                         int report, [[maybe_unused]] pid_t parent) {
    using Step = Failure::Step;
    const int parked_report = ::fcntl(report, F_DUPFD_CLOEXEC, k_parking_fd);
    if (parked_report < 0) give_up(report, Step::descriptors, errno);
    const int inherited = command.inherited_fd < 0 ? -1 : ::fcntl(command.inherited_fd, F_DUPFD_CLOEXEC, k_parking_fd);
    if (command.inherited_fd >= 0 && inherited < 0) give_up(report, Step::descriptors, errno);

    if (!join(command.cgroup_procs)) give_up(parked_report, Step::cgroup, errno);
    if (::setsid() < 0) give_up(parked_report, Step::session, errno);
#ifdef __linux__
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(parked_report, Step::session, errno);
    // The parent may have died before the line above took effect.
    if (::getppid() != parent) ::_exit(127);
#endif
    if (!open_as(STDIN_FILENO, "/dev/null", O_RDONLY)) give_up(parked_report, Step::descriptors, errno);
    if (!open_as(STDOUT_FILENO, command.stdout_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY))
        give_up(parked_report, Step::standard_output, errno);
    if (!open_as(STDERR_FILENO, command.stderr_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY))
        give_up(parked_report, Step::standard_error, errno);
    if (::dup2(parked_report, k_report_fd) < 0 || ::fcntl(k_report_fd, F_SETFD, FD_CLOEXEC) != 0)
        give_up(parked_report, Step::descriptors, errno);
    if (inherited >= 0) {
        if (::dup2(inherited, k_inherited_fd) < 0) give_up(k_report_fd, Step::descriptors, errno);
    } else {
        ::close(k_inherited_fd);
    }
    close_from(k_report_fd + 1);
    if (::chdir(command.cwd.c_str()) != 0) give_up(k_report_fd, Step::folder, errno);
    if (!keep_on(0, command.cpus)) give_up(k_report_fd, Step::processors, errno);
    reset_signals();
    give_up(k_report_fd, Step::program, exec_first(files, argv, env));
}

Error explain(const Command& command, const Failure& failure) {
    const std::string& program = command.argv.front();
    switch (failure.step) {
        case Failure::Step::session: return os_error(fmt::format("cannot make a session for {}", program), failure.error_number);
        case Failure::Step::cgroup:
            return os_error(fmt::format("cannot put {} into the cgroup of {}", program, command.cgroup_procs), failure.error_number).with("step", "cgroup");
        case Failure::Step::descriptors: return os_error(fmt::format("cannot set up files for {}", program), failure.error_number);
        case Failure::Step::standard_output:
            return os_error(fmt::format("cannot write the output of {} to {}", program, command.stdout_path), failure.error_number);
        case Failure::Step::standard_error:
            return os_error(fmt::format("cannot write the output of {} to {}", program, command.stderr_path), failure.error_number);
        case Failure::Step::folder:
            return os_error(fmt::format("cannot run {} in the folder {}", program, command.cwd), failure.error_number);
        case Failure::Step::processors:
            return os_error(fmt::format("cannot keep {} on the {} CPUs that it was promised", program, command.cpus.size()), failure.error_number);
        case Failure::Step::program: break;
    }
    return os_error(fmt::format("cannot run {}", program), failure.error_number);
}

}  // namespace

void close_from(int first) {
#if defined(__linux__) && defined(SYS_close_range)
    if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0u, 0u) == 0) return;
#endif
    std::vector<int> open;
    if (DIR* folder = ::opendir("/dev/fd"); folder != nullptr) {
        while (const dirent* entry = ::readdir(folder)) open.push_back(std::atoi(entry->d_name));
        ::closedir(folder);
    } else {
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = first; fd < static_cast<int>(limit.rlim_cur); ++fd) open.push_back(fd);
    }
    for (const int fd : open) {
        if (fd >= first) ::close(fd);
    }
}

void reset_signals() {
    // Refused for SIGKILL, SIGSTOP and the two that the C library keeps for itself.
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool keep_on([[maybe_unused]] pid_t pid, [[maybe_unused]] const std::vector<std::int32_t>& cpus) {
#ifdef __linux__
    if (cpus.empty()) return true;
    const int most = *std::max_element(cpus.begin(), cpus.end());
    cpu_set_t* const set = CPU_ALLOC(most + 1);
    if (set == nullptr) return false;
    const std::size_t bytes = CPU_ALLOC_SIZE(most + 1);
    CPU_ZERO_S(bytes, set);
    for (const std::int32_t cpu : cpus) CPU_SET_S(cpu, bytes, set);
    const bool set_now = ::sched_setaffinity(pid, bytes, set) == 0;
    const int error_number = errno;
    CPU_FREE(set);
    errno = error_number;
    return set_now;
#else
    return true;
#endif
}

Result<pid_t> spawn(const Command& command) {
    if (command.argv.empty()) return fail(os_error("cannot run a program without a name", EINVAL));
    const auto files = candidates(command);
    const auto argv = pointers(command.argv);
    const auto env = pointers(command.env);
    int ends[2];
    if (::pipe(ends) != 0) return fail(os_error(fmt::format("cannot run {}", command.argv.front()), errno));
    const Fd from_child(ends[0]);
    Fd to_parent(ends[1]);
    ::fcntl(from_child.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(to_parent.get(), F_SETFD, FD_CLOEXEC);

    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) return fail(os_error(fmt::format("cannot start a process for {}", command.argv.front()), errno));
    if (child == 0) become(command, files, argv.data(), env.data(), to_parent.get(), parent);
    to_parent.close();

    Failure failure;
    ssize_t count = 0;
    do {
        count = ::read(from_child.get(), &failure, sizeof failure);
    } while (count < 0 && errno == EINTR);
    if (count != static_cast<ssize_t>(sizeof failure)) return child;
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return fail(explain(command, failure));
}

std::vector<std::string> without_prefix(std::vector<std::string> env, std::string_view prefix) {
    std::erase_if(env, [&](const std::string& entry) { return entry.starts_with(prefix); });
    return env;
}

std::vector<std::string> without_marks(std::vector<std::string> env) {
    constexpr std::array<std::string_view, 5> k_kept = {"ROUNDHOUSE_FORK_SERVER=", "ROUNDHOUSE_CPUS=", "ROUNDHOUSE_GPUS=", "ROUNDHOUSE_MEMORY=", "ROUNDHOUSE_MEMORY_BY="};
    std::erase_if(env, [&](const std::string& entry) {
        return entry.starts_with("ROUNDHOUSE_") && std::none_of(k_kept.begin(), k_kept.end(), [&](std::string_view kept) { return entry.starts_with(kept); });
    });
    return env;
}

std::vector<std::string> current_environment() {
    std::vector<std::string> env;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) env.emplace_back(*entry);
    return env;
}

std::string own_program() {
    char path[PATH_MAX];
    const auto length = ::readlink("/proc/self/exe", path, sizeof path);
    const std::string found(path, length > 0 ? static_cast<std::size_t>(length) : 0);
    // A program that was removed while it runs can still be run through the link.
    return !found.empty() && ::access(found.c_str(), X_OK) == 0 ? found : "/proc/self/exe";
}

}  // namespace rh::process
