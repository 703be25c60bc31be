#include "keeper/run.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "process/spawn.h"

namespace rh::keeper {

namespace {

constexpr off_t k_log_bytes_max = 4 * 1024 * 1024;

// The log of earlier nodes is kept once, so that it cannot grow for ever.
void rotate_log(const std::string& path) {
    struct stat log_file {};
    if (::stat(path.c_str(), &log_file) == 0 && log_file.st_size > k_log_bytes_max) ::rename(path.c_str(), (path + ".1").c_str());
}

// False when the log cannot be written; the keeper then runs without one, and its starter hears why.
bool redirect_output(const std::string& log_path) {
    const int null = ::open("/dev/null", O_RDWR);
    if (null < 0) return false;
    int log_file = ::open(log_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NOFOLLOW, 0600);
    const bool opened = log_file >= 0;
    if (!opened) log_file = null;
    ::dup2(null, STDIN_FILENO);
    ::dup2(log_file, STDOUT_FILENO);
    ::dup2(log_file, STDERR_FILENO);
    if (null > STDERR_FILENO) ::close(null);
    if (opened && log_file > STDERR_FILENO) ::close(log_file);
    return opened;
}

}  // namespace

int run_keeper(Options options, process::FileLock lock, Fd starter) {
    // One fork is enough: the starter that made this process ends, so that nobody waits for it; the session is its own,
    // and every file is opened so that no terminal becomes its own. From a shell (a group's leader) setsid fails, harmlessly.
    ::setsid();
    process::reset_signals();
    const std::string log_path = process::daemon_log_path(options.state_folder);
    rotate_log(log_path);
    redirect_output(log_path);
    [[maybe_unused]] const int moved = ::chdir("/");
    return Keeper(std::move(options), std::move(lock), std::move(starter)).run();
}

}  // namespace rh::keeper
