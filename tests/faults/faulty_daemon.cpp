// Linked into roundhoused beside everything else, with the linker's --wrap for the functions below, it makes a daemon whose power can be
// cut and whose clock can be moved (cmake/tests.cmake, roundhoused_faulty). SIGUSR2: what the journal and its files were given
// and nobody has synced is taken back, as if it had never reached the disk; then keeper and daemon are killed. SIGUSR1: the wall
// clock goes an hour forward, then back, then an hour backward, then back.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern "C" {
ssize_t __real_write(int fd, const void* bytes, size_t count);
ssize_t __real_pwrite(int fd, const void* bytes, size_t count, off_t at);
int __real_ftruncate(int fd, off_t size);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_link(const char* from, const char* to);
int __real_unlink(const char* path);
int __real_clock_gettime(clockid_t clock, timespec* time);
int __real_gettimeofday(timeval* time, void* zone);
time_t __real_time(time_t* time);
}

namespace {

struct Overwritten {
    off_t at = 0;
    std::string bytes;
};

// A file since it was synced last: its size then, and what has been overwritten since, oldest first.
struct File {
    std::string path;
    off_t size = 0;
    std::vector<Overwritten> overwritten;
};

using Inode = std::pair<dev_t, ino_t>;

// Never destroyed: threads go on writing while the process ends.
struct Disk {
    std::mutex mutex;  // held over each write, so that the power is cut before or behind it
    std::map<Inode, File> files;
    std::set<std::string> names;  // that were made, in folders that nobody has synced since
};

Disk& disk() {
    static auto* const made = new Disk;
    return *made;
}

std::atomic<long> clock_offset_s{0};
int orders[2] = {-1, -1};

// The journal of runs and its files. The shared memory beside it is memory.
bool is_kept(const std::string& path) {
    return (path.find("/runs.db") != path.npos || path.find("/runs/") != path.npos) && !path.ends_with("-shm");
}

std::string path_of(int fd) {
    char path[PATH_MAX];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
    return std::string(path, length > 0 ? static_cast<std::size_t>(length) : 0);
}

// Null where it is none that is watched over.
File* file_of(int fd, struct stat& now) {
    if (::fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) return nullptr;
    const auto known = disk().files.find({now.st_dev, now.st_ino});
    if (known != disk().files.end()) return &known->second;
    std::string path = path_of(fd);
    if (!is_kept(path)) return nullptr;
    return &disk().files.emplace(Inode{now.st_dev, now.st_ino}, File{std::move(path), now.st_size, {}}).first->second;
}

// What stands there now, as far as there is anything.
void remember(int fd, off_t at, std::size_t count) {
    struct stat now {};
    File* const file = file_of(fd, now);
    if (file == nullptr || at >= now.st_size) return;
    Overwritten old{at, std::string(std::min<std::size_t>(count, static_cast<std::size_t>(now.st_size - at)), '\0')};
    const ssize_t got = ::pread(fd, old.bytes.data(), old.bytes.size(), at);
    if (got > 0) file->overwritten.push_back({at, old.bytes.substr(0, static_cast<std::size_t>(got))});
}

int synced(int fd, int result) {
    struct stat now {};
    if (result != 0 || ::fstat(fd, &now) != 0) return result;
    if (S_ISDIR(now.st_mode)) {
        const std::string folder = path_of(fd) + '/';
        std::erase_if(disk().names, [&](const std::string& name) { return name.starts_with(folder) && name.find('/', folder.size()) == name.npos; });
    } else if (File* const file = file_of(fd, now)) {
        file->size = now.st_size;
        file->overwritten.clear();
    }
    return result;
}

void note_made(const char* path) {
    if (is_kept(path)) disk().names.insert(path);
}

[[noreturn]] void cut_power() {
    Disk& all = disk();
    all.mutex.lock();
    std::size_t bytes = 0;
    for (auto& [inode, file] : all.files) {
        const int fd = ::openat(AT_FDCWD, file.path.c_str(), O_RDWR | O_CLOEXEC);  // open() would wait for the lock
        struct stat now {};
        if (fd < 0 || ::fstat(fd, &now) != 0) continue;
        bytes += now.st_size > file.size ? static_cast<std::size_t>(now.st_size - file.size) : 0;
        for (auto old = file.overwritten.rbegin(); old != file.overwritten.rend(); ++old) {
            bytes += old->bytes.size();
            (void)__real_pwrite(fd, old->bytes.data(), old->bytes.size(), old->at);
        }
        (void)__real_ftruncate(fd, file.size);
        ::close(fd);
    }
    for (const std::string& name : all.names) __real_unlink(name.c_str());
    std::fprintf(stderr, "the power is cut: %zu bytes of %zu files and %zu names were not synced\n", bytes, all.files.size(), all.names.size());
    std::fflush(stderr);
    ::kill(::getppid(), SIGKILL);
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
}

void move_clock() {
    static constexpr long k_offsets[] = {3600, 0, -3600, 0};
    static int at = 0;
    clock_offset_s = k_offsets[at++ % 4];
    std::fprintf(stderr, "the clock is %ld s off\n", clock_offset_s.load());
    std::fflush(stderr);
}

void obey() {
    for (;;) {
        char order = 0;
        if (::read(orders[0], &order, 1) != 1) continue;
        if (order == 'p') cut_power();
        move_clock();
    }
}

void on_signal(int number) {
    const int before = errno;
    (void)__real_write(orders[1], number == SIGUSR2 ? "p" : "c", 1);
    errno = before;
}

// Only in the daemon: the same program is keeper and starter as well.
[[gnu::constructor]] void begin() {
    char line[4096];
    const int fd = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd < 0 ? 0 : ::read(fd, line, sizeof line);
    if (fd >= 0) ::close(fd);
    const std::string arguments(line, length > 0 ? static_cast<std::size_t>(length) : 0);
    const std::size_t end = arguments.find('\0');
    if (end == arguments.npos || std::strcmp(arguments.c_str() + end + 1, "daemon") != 0) return;
    if (::pipe2(orders, O_CLOEXEC) != 0) return;
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
    ::sigaction(SIGUSR2, &action, nullptr);
    std::thread(obey).detach();
}

}  // namespace

extern "C" {

ssize_t __wrap_write(int fd, const void* bytes, size_t count) {
    struct stat now {};
    const std::lock_guard lock(disk().mutex);
    if (file_of(fd, now) != nullptr) {
        const int flags = ::fcntl(fd, F_GETFL);
        remember(fd, (flags & O_APPEND) != 0 ? now.st_size : ::lseek(fd, 0, SEEK_CUR), count);
    }
    return __real_write(fd, bytes, count);
}

ssize_t __wrap_pwrite(int fd, const void* bytes, size_t count, off_t at) {
    const std::lock_guard lock(disk().mutex);
    remember(fd, at, count);
    return __real_pwrite(fd, bytes, count, at);
}
ssize_t __wrap_pwrite64(int fd, const void* bytes, size_t count, off_t at) { return __wrap_pwrite(fd, bytes, count, at); }

int __wrap_ftruncate(int fd, off_t size) {
    const std::lock_guard lock(disk().mutex);
    remember(fd, size, SIZE_MAX);
    return __real_ftruncate(fd, size);
}
int __wrap_ftruncate64(int fd, off_t size) { return __wrap_ftruncate(fd, size); }

int __wrap_fsync(int fd) {
    const std::lock_guard lock(disk().mutex);
    return synced(fd, __real_fsync(fd));
}
int __wrap_fdatasync(int fd) {
    const std::lock_guard lock(disk().mutex);
    return synced(fd, __real_fdatasync(fd));
}

// Through the system call: what the linker makes of the other calls of open() ends here.
int __wrap_open(const char* path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    const bool makes = (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
    const std::lock_guard lock(disk().mutex);
    const int fd = ::openat(AT_FDCWD, path, flags, mode);
    if (fd >= 0 && makes) note_made(path);
    return fd;
}
int __wrap_open64(const char* path, int flags, mode_t mode) { return __wrap_open(path, flags, mode); }

int __wrap_link(const char* from, const char* to) {
    const std::lock_guard lock(disk().mutex);
    const int result = __real_link(from, to);
    if (result == 0) note_made(to);
    return result;
}

int __wrap_unlink(const char* path) {
    const std::lock_guard lock(disk().mutex);
    struct stat now {};
    if (::stat(path, &now) == 0 && now.st_nlink == 1) disk().files.erase({now.st_dev, now.st_ino});
    disk().names.erase(path);
    return __real_unlink(path);
}

int __wrap_clock_gettime(clockid_t clock, timespec* time) {
    const int result = __real_clock_gettime(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += clock_offset_s;
    return result;
}
int __wrap_gettimeofday(timeval* time, void* zone) {
    const int result = __real_gettimeofday(time, zone);
    if (result == 0) time->tv_sec += clock_offset_s;
    return result;
}
time_t __wrap_time(time_t* time) {
    const time_t now = __real_time(nullptr) + clock_offset_s;
    if (time != nullptr) *time = now;
    return now;
}

}  // extern "C"
