#include "launch/state_base.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#else
#include <sys/mount.h>
#include <sys/param.h>
#endif

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/ids.h"
#include "process/local_socket.h"
#include "process/node_folder.h"

namespace rh::launch {

namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

// One spelling for each folder: its socket's name is made from it, and two spellings would be two sockets.
std::string canonical(const std::string& path) {
    std::error_code error;
    fs::path found = fs::weakly_canonical(path, error);
    if (error || !found.is_absolute()) found = fs::absolute(path, error);
    std::string text = found.lexically_normal().string();
    while (text.size() > 1 && text.back() == '/') text.pop_back();
    return text;
}

// The folder, or the nearest one above it that is there.
std::string nearest(const std::string& folder) {
    fs::path at = folder;
    std::error_code error;
    while (at.has_relative_path() && !fs::exists(at, error)) at = at.parent_path();
    return at.string();
}

bool is_owned(const std::string& folder) {
    struct stat found {};
    return ::stat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == ::geteuid();
}

Result<void> check_if_there(const std::string& folder) {
    struct stat found {};
    if (::lstat(folder.c_str(), &found) != 0) return {};
    return process::check_private_folder(folder);
}

}  // namespace

bool is_on_network(const std::string& folder) {
    struct statfs system {};
    if (::statfs(nearest(folder).c_str(), &system) != 0) return false;
#ifdef __linux__
    // The magic numbers of statfs(2) and linux/magic.h: never renumbered by the kernel.
    static constexpr std::uint32_t k_network[] = {
        0x6969,      // NFS
        0x517b,      // SMB
        0xff534d42,  // CIFS
        0xfe534d42,  // SMB2
        0x0bd00bd0,  // Lustre
        0x47504653,  // GPFS
        0x00c36400,  // Ceph
        0x19830326,  // BeeGFS
        0xaad7aaea,  // PanFS
        0x5346414f,  // AFS
        0x73757245,  // Coda
        0x7461636f,  // OCFS2
        0x01161970,  // GFS2
        0x01021997,  // 9p
        0x65735546,  // FUSE: sshfs and its like
    };
    const auto magic = static_cast<std::uint32_t>(system.f_type);
    return std::find(std::begin(k_network), std::end(k_network), magic) != std::end(k_network);
#else
    return (system.f_flags & MNT_LOCAL) == 0;
#endif
}

std::string machine_id() {
    std::string id;
    for (const char* const path : {"/etc/machine-id", "/var/lib/dbus/machine-id"}) {
        std::ifstream file(path);
        if (file >> id && !id.empty()) break;
        id.clear();
    }
    if (id.empty()) {
        // Containers often have none; their name tells them apart as well.
        utsname machine{};
        ::uname(&machine);
        id = fmt::format("host-{}", machine.nodename);
    }
    id.resize(std::min<std::size_t>(id.size(), 64));
    for (char& c : id) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
    }
    return id;
}

Result<std::string> state_base() {
    if (const std::string chosen = variable("ROUNDHOUSE_STATE"); !chosen.empty()) return canonical(chosen);
    if (const std::string home = variable("HOME"); home.starts_with('/')) {
        const std::string folder = fmt::format("{}/.local/state/roundhouse/{}", canonical(home), machine_id());
        if (::access(nearest(folder).c_str(), W_OK | X_OK) == 0 && fs::is_directory(home) && !is_on_network(folder))
            return canonical(folder);
    }
    const std::string folder = fmt::format("/var/tmp/roundhouse-{}", ::geteuid());
    // Anybody may make folders there, also one with this name.
    RH_TRY_VOID(check_if_there(folder));
    return canonical(folder);
}

Result<std::string> socket_path_for(const std::string& cluster_name, const std::string& state_folder) {
    const std::string ending = fmt::format("-{:08x}.sock", static_cast<std::uint32_t>(path_hash(state_folder)));
    std::string folder = fmt::format("/tmp/rh-{}", ::geteuid());
    if (const std::string runtime = variable("XDG_RUNTIME_DIR"); runtime.starts_with('/') && is_owned(runtime)) {
        const std::string inside = canonical(runtime) + "/roundhouse";
        // A runtime folder with a long path leaves no room for a name.
        if (inside.size() + 2 + ending.size() <= process::k_socket_path_bytes_max) folder = inside;
    }
    RH_TRY_VOID(check_if_there(folder));
    const std::size_t room = process::k_socket_path_bytes_max - folder.size() - 1 - ending.size();
    return fmt::format("{}/{}{}", folder, cluster_name.substr(0, room), ending);
}

}  // namespace rh::launch
