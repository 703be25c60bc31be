#include "process/local_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <thread>

#include "base/fd.h"
#include "process/node_folder.h"

namespace rh::process {

namespace {

static_assert(k_socket_path_bytes_max + 1 == sizeof(sockaddr_un{}.sun_path) || sizeof(sockaddr_un{}.sun_path) == 104,
              "Linux has 108 bytes; where there are 104 (macOS), check_socket_path compares with the real size");

constexpr std::size_t k_path_bytes_max = sizeof(sockaddr_un{}.sun_path) - 1;

enum class Found { nothing, socket };

Result<Found> look(const std::string& path) {
    struct stat file {};
    if (::lstat(path.c_str(), &file) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return Found::nothing;
        return fail(folder_error("cannot look at", path, errno));
    }
    if (file.st_uid != ::geteuid())
        return fail(Code::not_allowed, fmt::format("the socket {} belongs to user {}, not to you (user {}): remove it, or set "
                                                   "XDG_RUNTIME_DIR to a folder of your own",
                                                   path, file.st_uid, ::geteuid()));
    if (!S_ISSOCK(file.st_mode)) return fail(Code::not_allowed, fmt::format("{} is not a socket: remove it", path));
    return Found::socket;
}

}  // namespace

Result<void> check_socket_path(const std::string& path) {
    if (path.size() <= k_path_bytes_max) return {};
    return fail(Code::invalid_name, fmt::format("the socket path {} has {} bytes; at most {} are possible: set XDG_RUNTIME_DIR to "
                                                "a shorter folder",
                                                path, path.size(), k_path_bytes_max));
}

Result<bool> accepts_connections(const std::string& path) {
    RH_TRY_VOID(check_socket_path(path));
    RH_TRY(const Found found, look(path));
    if (found == Found::nothing) return false;
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    if (!socket) return fail(os_error("cannot make a socket", errno));
    ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
    switch (errno) {
        case EAGAIN:  // somebody listens, and is busy: its queue of connections is full
        case EINPROGRESS: return true;
        case ECONNREFUSED:
        case ENOENT: return false;
        default: return fail(folder_error("cannot connect to", path, errno));
    }
}

Result<void> remove_stale_socket(const std::string& path, Deadline deadline) {
    RH_TRY(const Found found, look(path));
    if (found == Found::nothing) return {};
    for (;;) {
        RH_TRY(const bool alive, accepts_connections(path));
        if (!alive) break;
        if (std::chrono::steady_clock::now() >= deadline) return {};
        // The kernel tells nobody when a killed process's descriptors are closed.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(folder_error("cannot remove", path, errno));
    return {};
}

}  // namespace rh::process
