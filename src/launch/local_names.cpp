#include "launch/local_names.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/ids.h"
#include "base/limits.h"
#include "launch/state_base.h"
#include "process/node_folder.h"

namespace rh::launch {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// More renamed clusters with the same first name than anybody has.
constexpr int k_keys_max = 1000;

std::string folder_of(const std::string& base) { return base + "/clusters"; }
std::string name_file(const std::string& state_folder) { return state_folder + "/name"; }

bool is_name(std::string_view name) { return check_name("cluster", name, limits::k_cluster_name_bytes_max).has_value(); }

bool is_folder(const std::string& path) {
    struct stat found {};
    return ::lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

bool exists(const std::string& path) {
    struct stat found {};
    return ::lstat(path.c_str(), &found) == 0;
}

std::optional<std::string> link_target(const std::string& path) {
    char target[256];
    const auto count = ::readlink(path.c_str(), target, sizeof target);
    if (count <= 0 || static_cast<std::size_t>(count) == sizeof target) return std::nullopt;
    const std::string text(target, static_cast<std::size_t>(count));
    // Links of ours stay among the clusters; any other is nobody's cluster.
    return text.find('/') == text.npos && text.front() != '.' ? std::optional(text) : std::nullopt;
}

// "trainer~2" is a folder of the cluster "trainer".
std::string without_number(const std::string& key) { return key.substr(0, key.find('~')); }

// Whole or not at all, for those who look meanwhile.
Result<void> write_name(const std::string& state_folder, std::string_view name) {
    const std::string path = name_file(state_folder), draft = path + ".new";
    std::ofstream file(draft, std::ios::trunc);
    file << name << '\n';
    file.close();
    if (!file) return fail(process::folder_error("cannot write", draft, errno));
    if (::rename(draft.c_str(), path.c_str()) != 0) return fail(process::folder_error("cannot write", path, errno));
    return {};
}

Result<process::FileLock> lock_names(const std::string& base) {
    return process::FileLock::take(base + "/names.lock", steady_clock::now() + limits::k_registry_wait);
}

Error taken(std::string_view name, std::string_view to) {
    return Error(Code::name_taken, fmt::format("cluster {} cannot be renamed to {}: a cluster of that name is up. Try: another name, or "
                                               "rh.compute(\"{}\").teardown() first",
                                               name, to, to))
        .with("name", std::string(to));
}

// The folder's own name may have been another cluster's meanwhile, whose folder has a number then: its name leads there.
void settle(const std::string& base, const std::string& key) {
    const std::string name = without_number(key), path = folder_of(base) + "/" + name;
    if (exists(path)) return;
    for (int number = 1; number < k_keys_max; ++number) {
        const std::string numbered = fmt::format("{}~{}", name, number);
        if (!is_folder(folder_of(base) + "/" + numbered) || local_name(folder_of(base) + "/" + numbered) != name) continue;
        if (write_name(folder_of(base) + "/" + numbered, name)) [[maybe_unused]] const int linked = ::symlink(numbered.c_str(), path.c_str());
        return;
    }
}

// The lock of the names is held.
Result<void> remove_folder(const std::string& base, const LocalCluster& cluster, process::Deadline deadline) {
    const std::string key = cluster.state_folder.substr(cluster.state_folder.rfind('/') + 1);
    if (is_folder(cluster.state_folder)) {
        RH_TRY_VOID(process::check_private_folder(cluster.state_folder));
        RH_TRY(auto start_lock, process::FileLock::take(process::start_lock_path(cluster.state_folder), deadline));
        RH_TRY(const auto lock, process::FileLock::try_take(process::keeper_lock_path(cluster.state_folder)));
        if (!lock) return fail(Code::name_taken, fmt::format("cluster {} is being launched by another process just now: try again", cluster.name));
        std::error_code error;
        fs::remove_all(cluster.state_folder, error);
        if (error) return fail(process::folder_error("cannot remove", cluster.state_folder, error.value()));
    }
    const std::string link = folder_of(base) + "/" + cluster.name;
    if (link_target(link) == key) ::unlink(link.c_str());
    settle(base, key);
    return {};
}

}  // namespace

std::string local_name(const std::string& state_folder) {
    std::ifstream file(name_file(state_folder));
    std::string name;
    if (std::getline(file, name) && is_name(name)) return name;
    return without_number(state_folder.substr(state_folder.rfind('/') + 1));
}

std::string local_key(const std::string& base, std::string_view name) {
    const std::string folder = folder_of(base) + "/";
    const std::string own(name);
    if (const auto target = link_target(folder + own); target && is_folder(folder + *target) && local_name(folder + *target) == name) return *target;
    if (!is_folder(folder + own) || local_name(folder + own) == name) return own;
    for (int number = 1; number < k_keys_max; ++number) {
        const std::string numbered = fmt::format("{}~{}", own, number);
        if (!is_folder(folder + numbered) || local_name(folder + numbered) == name) return numbered;
    }
    return own;
}

Result<std::vector<LocalCluster>> list_local() {
    RH_TRY(const std::string base, state_base());
    std::vector<LocalCluster> found;
    std::error_code error;
    for (fs::directory_iterator at(folder_of(base), error), end; !error && at != end; at.increment(error)) {
        const std::string path = at->path().string();
        if (!is_folder(path) || at->path().filename().string().starts_with('.')) continue;
        const std::string name = local_name(path);
        // Somebody else's folder, or one that is only half renamed, is no cluster of this user's.
        const auto cluster = locate_local(name);
        if (cluster && cluster->state_folder == path) found.push_back(*cluster);
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return found;
}

Result<void> rename_local(std::string_view name, std::string_view to) {
    RH_TRY_VOID(check_name("cluster", to, limits::k_cluster_name_bytes_max));
    RH_TRY(const std::string base, state_base());
    RH_TRY(LocalCluster cluster, locate_local(name));
    if (name == to || !is_folder(cluster.state_folder)) return {};
    RH_TRY(const auto lock, lock_names(base));
    // Another process may have renamed either meanwhile.
    RH_TRY(cluster, locate_local(name));
    RH_TRY(const LocalCluster there, locate_local(to));
    if (!is_folder(cluster.state_folder)) return {};
    if (is_up_local(there)) return fail(taken(name, to));
    if (is_folder(there.state_folder)) RH_TRY_VOID(remove_folder(base, there, steady_clock::now() + limits::k_registry_wait));

    const std::string key = cluster.state_folder.substr(cluster.state_folder.rfind('/') + 1);
    const std::string link = folder_of(base) + "/" + std::string(to);
    if (key != to && !is_folder(link)) {
        drop_stale_link(link);
        // Until the folder says the same, the link leads nowhere.
        if (::symlink(key.c_str(), link.c_str()) != 0) return fail(process::folder_error("cannot make the link", link, errno));
    }
    RH_TRY_VOID(write_name(cluster.state_folder, to));
    const std::string old_link = folder_of(base) + "/" + std::string(name);
    if (link_target(old_link) == key) ::unlink(old_link.c_str());
    return {};
}

Result<void> delete_local(const LocalCluster& cluster, milliseconds timeout) {
    const auto deadline = steady_clock::now() + timeout;
    RH_TRY_VOID(down_local(cluster, timeout));
    RH_TRY(const std::string base, state_base());
    if (!is_folder(folder_of(base))) return {};
    RH_TRY(const auto lock, lock_names(base));
    return remove_folder(base, cluster, std::max(deadline, steady_clock::now() + milliseconds(500)));
}

bool is_stale_link(const std::string& state_folder) { return link_target(state_folder).has_value(); }

void drop_stale_link(const std::string& state_folder) {
    if (is_stale_link(state_folder)) ::unlink(state_folder.c_str());
}

}  // namespace rh::launch
