#include "process/node_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <thread>

namespace rh::process {

namespace {

constexpr std::size_t k_record_bytes_max = 4096;
// flock() cannot wait with a deadline; a blocked one would need a signal, which a library may not send to its process.
constexpr std::chrono::microseconds k_lock_poll{1000};

Fd open_file(const std::string& path, int flags, mode_t mode = 0) {
    for (;;) {
        Fd file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
        if (file || errno != EINTR) return file;
    }
}

std::string read_all(int file, std::size_t bytes_max, off_t from) {
    std::string text(bytes_max, '\0');
    std::size_t used = 0;
    while (used < text.size()) {
        const auto count = ::pread(file, text.data() + used, text.size() - used, from + static_cast<off_t>(used));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        used += static_cast<std::size_t>(count);
    }
    text.resize(used);
    return text;
}

template <class Integer>
bool parse_number(std::string_view text, Integer& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Error folder_error(std::string_view what, const std::string& path, int error_number) {
    std::string message;
    switch (error_number) {
        case ENOSPC:
        case EDQUOT:
            message = fmt::format("no space left on device: {} ({}): free some space there, or set ROUNDHOUSE_STATE to a folder "
                                  "with room",
                                  path, what);
            break;
        case EROFS:
            message = fmt::format("read-only file system: {} ({}): set ROUNDHOUSE_STATE to a folder that can be written", path, what);
            break;
        case EACCES:
        case EPERM:
            return Error(Code::not_allowed, fmt::format("permission denied: {} ({}) as user {}: make it yours, or set "
                                                        "ROUNDHOUSE_STATE to a folder that is",
                                                        path, what, ::geteuid()))
                .with("errno", std::to_string(error_number));
        default: return os_error(fmt::format("{} {}", what, path), error_number);
    }
    return Error(Code::io, std::move(message)).with("errno", std::to_string(error_number));
}

Result<void> check_private_folder(const std::string& path) {
    struct stat folder {};
    if (::lstat(path.c_str(), &folder) != 0) return fail(folder_error("cannot look at", path, errno));
    if (folder.st_uid != ::geteuid())
        return fail(Code::not_allowed, fmt::format("the folder {} belongs to user {}, not to you (user {}): remove it, or set "
                                                   "ROUNDHOUSE_STATE and XDG_RUNTIME_DIR to folders of your own",
                                                   path, folder.st_uid, ::geteuid()));
    if (!S_ISDIR(folder.st_mode)) return fail(Code::not_allowed, fmt::format("{} is not a folder: remove it", path));
    if ((folder.st_mode & 077) != 0)
        return fail(Code::not_allowed, fmt::format("the folder {} (owner {}) is open to other users (mode {:04o}): run chmod 700 {}",
                                                   path, folder.st_uid, folder.st_mode & 07777u, path));
    return {};
}

Result<void> make_private_folder(const std::string& path) {
    for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            const int why = errno;
            struct stat there {};
            // On a read-only or foreign file system mkdir may complain before it notices that the folder is there.
            if (::stat(part.c_str(), &there) != 0) return fail(folder_error("cannot make the folder", part, why));
        }
        if (at == std::string::npos) break;
    }
    return check_private_folder(path);
}

Result<std::optional<FileLock>> FileLock::try_take(const std::string& path) {
    for (;;) {
        Fd file = open_file(path, O_RDWR | O_CREAT, 0600);
        if (!file) return fail(folder_error("cannot open the lock", path, errno));
        while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) return std::optional<FileLock>();
            if (errno != EINTR) return fail(folder_error("cannot lock", path, errno));
        }
        // Its last holder may have removed the file between our open and our lock: then this lock protects nothing.
        struct stat locked {}, named {};
        if (::fstat(file.get(), &locked) != 0) return fail(folder_error("cannot look at", path, errno));
        if (::lstat(path.c_str(), &named) == 0 && locked.st_ino == named.st_ino && locked.st_dev == named.st_dev)
            return std::optional<FileLock>(FileLock(path, std::move(file)));
    }
}

Result<FileLock> FileLock::take(const std::string& path, Deadline deadline) {
    for (;;) {
        RH_TRY(std::optional<FileLock> lock, try_take(path));
        if (lock) return std::move(*lock);
        if (std::chrono::steady_clock::now() >= deadline)
            return fail(Code::timeout, fmt::format("another process held the lock {} for too long: try again, or see who has it "
                                                   "with `fuser {}`",
                                                   path, path));
        std::this_thread::sleep_for(k_lock_poll);
    }
}

std::string FileLock::content() const { return read_all(file_.get(), k_record_bytes_max, 0); }

Result<void> FileLock::set_content(std::string_view text) {
    if (::ftruncate(file_.get(), 0) != 0) return fail(folder_error("cannot write", path_, errno));
    const auto count = ::pwrite(file_.get(), text.data(), text.size(), 0);
    if (count < 0) return fail(folder_error("cannot write", path_, errno));
    if (static_cast<std::size_t>(count) != text.size()) return fail(folder_error("cannot write", path_, ENOSPC));
    return {};
}

void FileLock::remove() { ::unlink(path_.c_str()); }

std::string format_keeper_record(const KeeperRecord& record) {
    return fmt::format("{} {}\n{}\n", record.pid, record.start_time, record.socket_path);
}

std::optional<KeeperRecord> parse_keeper_record(std::string_view text) {
    KeeperRecord record;
    const auto space = text.find(' ');
    const auto line = text.find('\n');
    if (line == text.npos || space > line || text.back() != '\n' || line + 1 == text.size()) return std::nullopt;
    if (!parse_number(text.substr(0, space), record.pid) || record.pid <= 1) return std::nullopt;
    if (!parse_number(text.substr(space + 1, line - space - 1), record.start_time)) return std::nullopt;
    record.socket_path = text.substr(line + 1, text.size() - line - 2);
    return record;
}

std::optional<KeeperRecord> read_keeper_record(const std::string& state_folder) {
    const Fd file = open_file(keeper_lock_path(state_folder), O_RDONLY);
    struct stat found {};
    if (!file || ::fstat(file.get(), &found) != 0 || found.st_uid != ::geteuid()) return std::nullopt;
    return parse_keeper_record(read_all(file.get(), k_record_bytes_max, 0));
}

std::string file_tail(const std::string& path, std::size_t bytes_max, std::uint64_t from) {
    const Fd file = open_file(path, O_RDONLY);
    struct stat found {};
    if (!file || ::fstat(file.get(), &found) != 0) return {};
    const auto size = static_cast<std::uint64_t>(found.st_size);
    if (from >= size) return {};
    const std::uint64_t begin = size - from > bytes_max ? size - bytes_max : from;
    return read_all(file.get(), size - begin, static_cast<off_t>(begin));
}

}  // namespace rh::process
