#pragma once

// What stands in a node's state folder besides the daemon's own files, as launcher, starter and keeper agree on it: two
// locks and a log. Whoever holds `lock` is the keeper; `start.lock` puts starters and enders in a queue. POSIX only.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace rh::process {

using Deadline = std::chrono::steady_clock::time_point;

inline std::string keeper_lock_path(const std::string& state_folder) { return state_folder + "/lock"; }
inline std::string start_lock_path(const std::string& state_folder) { return state_folder + "/start.lock"; }
inline std::string daemon_log_path(const std::string& state_folder) { return state_folder + "/daemon.log"; }

// What a daemon writes down for the next that takes its place; gone with the node.
inline std::string live_folder(const std::string& state_folder) { return state_folder + "/live"; }
// What the node's own Python workers keep: the image that its workers use, and secrets. Gone with the node as well.
inline std::string kept_folder(const std::string& state_folder) { return state_folder + "/kept"; }

// The Error for something that failed in a folder of ours: it says what to try where the disk is full or read-only.
Error folder_error(std::string_view what, const std::string& path, int error_number);

// Makes the folder, and those above it, for this user alone; Code::not_allowed when it is there but not private.
Result<void> make_private_folder(const std::string& path);
// Code::not_allowed, naming the folder and its owner, unless it is a real folder of this user's with mode 0700.
Result<void> check_private_folder(const std::string& path);

// An advisory lock on a file, freed by the kernel with its last holder. It passes through fork() to the child, which is
// how a starter hands it to the keeper without a moment in which nobody holds it.
class FileLock {
public:
    // Nothing when somebody else holds it.
    static Result<std::optional<FileLock>> try_take(const std::string& path);
    // Code::timeout when it was held by others until `deadline`.
    static Result<FileLock> take(const std::string& path, Deadline deadline);

    std::string content() const;
    Result<void> set_content(std::string_view text);
    // Removes the file while the lock is held: whoever waits for it notices, and makes a new one.
    void remove();

private:
    FileLock(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) {}

    std::string path_;
    Fd file_;
};

// What a keeper writes into its lock. A clean end removes it, so a record in a free lock tells of a killed keeper.
struct KeeperRecord {
    pid_t pid = 0;
    std::uint64_t start_time = 0;  // clock ticks since boot, as in /proc/PID/stat; 0 where there is no /proc
    std::string socket_path;
};
std::string format_keeper_record(const KeeperRecord& record);
std::optional<KeeperRecord> parse_keeper_record(std::string_view text);
// What stands in the lock of this state folder, whether or not anybody holds it. Nothing when the file is not ours.
std::optional<KeeperRecord> read_keeper_record(const std::string& state_folder);

// The end of a log, at most `bytes_max`, nothing before offset `from`; "" when it cannot be read.
std::string file_tail(const std::string& path, std::size_t bytes_max, std::uint64_t from = 0);

}  // namespace rh::process
