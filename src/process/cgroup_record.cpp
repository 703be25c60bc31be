#include "process/cgroup_record.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "process/tree.h"

namespace rh::process {

namespace {

// Deeper ones were made by no program that is meant to be limited.
constexpr int k_depth_max = 16;
constexpr std::chrono::milliseconds k_look_again{2};

std::string record_path(const std::string& state_folder) { return state_folder + "/cgroup"; }

// From the leaves on, because the kernel removes none with another in it.
void for_each_from_below(const std::string& cgroup, const std::function<void(const std::string&)>& told, int depth = 0) {
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(cgroup.c_str()), ::closedir);
    while (const dirent* entry = folder && depth < k_depth_max ? ::readdir(folder.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        if (entry->d_type == DT_DIR && name != "." && name != "..") for_each_from_below(cgroup + "/" + entry->d_name, told, depth + 1);
    }
    told(cgroup);
}

void end_processes_of(const std::string& cgroup) {
    std::ifstream processes(cgroup + "/cgroup.procs");
    for (pid_t pid = 0; processes >> pid;) {
        const auto entry = read_process(pid);
        if (entry && pid != ::getpid() && entry->name != k_keeper_process_name) send_signal(*entry, SIGKILL);
    }
}

}  // namespace

void write_cgroup_record(const std::string& state_folder, const std::string& cgroup) {
    const Fd file(::open(record_path(state_folder).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return;
    // Without it a keeper that is killed leaves an empty cgroup behind, which takes next to nothing.
    [[maybe_unused]] const auto written = ::write(file.get(), cgroup.data(), cgroup.size());
}

void remove_cgroup_record(const std::string& state_folder) { ::unlink(record_path(state_folder).c_str()); }

bool remove_cgroup_tree(const std::string& cgroup) {
    if (::rmdir(cgroup.c_str()) == 0 || errno == ENOENT) return true;
    for_each_from_below(cgroup, [](const std::string& each) { ::rmdir(each.c_str()); });
    return ::access(cgroup.c_str(), F_OK) != 0;
}

void remove_recorded_cgroup(const std::string& state_folder, Deadline deadline) {
    std::string cgroup;
    if (std::ifstream record(record_path(state_folder)); !record || !std::getline(record, cgroup)) return;
    // Whoever has written it, only what is called like ours is removed.
    while (cgroup.substr(cgroup.rfind('/') + 1).starts_with(k_node_cgroup_prefix)) {
        for_each_from_below(cgroup, end_processes_of);
        if (remove_cgroup_tree(cgroup) || std::chrono::steady_clock::now() >= deadline) break;
        std::this_thread::sleep_for(k_look_again);
    }
    remove_cgroup_record(state_folder);
}

}  // namespace rh::process
