#include "isolate/node_cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>

#include "base/fd.h"
#include "process/tree.h"

namespace rh::isolate {

namespace {

constexpr int k_depth_max = 16;
constexpr std::chrono::milliseconds k_look_again{2};

bool lists_memory(const std::string& file) {
    const auto text = read_text(file);
    std::string_view left = text ? std::string_view(*text) : std::string_view();
    while (!left.empty()) {
        const auto end = std::min(left.find_first_of(" \n"), left.size());
        if (left.substr(0, end) == "memory") return true;
        left.remove_prefix(std::min(end + 1, left.size()));
    }
    return false;
}

// Cgroups in that one can be limited then; refused by the kernel while processes are at that place.
bool let_limit_below(const std::string& folder) {
    const std::string file = folder + "/cgroup.subtree_control";
    return lists_memory(file) || write_text(file, "+memory").has_value();
}

Result<void> move_here(const Cgroup& cgroup) { return write_text(cgroup.procs_path(), std::to_string(::getpid())); }

std::vector<std::string> folders_in(const std::string& folder) {
    std::vector<std::string> found;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
    while (const dirent* entry = open ? ::readdir(open.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        if (entry->d_type == DT_DIR && name != "." && name != "..") found.push_back(folder + "/" + entry->d_name);
    }
    return found;
}

// From the leaves on, because the kernel removes none with another in it. A process in there may have made more.
bool remove_tree(const Cgroup& cgroup, int depth = 0) {
    if (cgroup.remove()) return true;
    if (depth < k_depth_max) {
        for (const std::string& folder : folders_in(cgroup.folder())) remove_tree(Cgroup(cgroup.version(), folder), depth + 1);
    }
    return cgroup.remove();
}

void kill_tree(const Cgroup& cgroup, int depth = 0) {
    for (const pid_t pid : cgroup.processes()) {
        const auto entry = process::read_process(pid);
        if (entry && pid != ::getpid() && entry->name != process::k_keeper_process_name) process::send_signal(*entry, SIGKILL);
    }
    if (depth >= k_depth_max) return;
    for (const std::string& folder : folders_in(cgroup.folder())) kill_tree(Cgroup(cgroup.version(), folder), depth + 1);
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Where in `place` there is room for a cgroup of ours: the folder to make it in, and where this process has stepped aside to.
struct Room {
    std::string folder;
    std::optional<Cgroup> aside;
};

std::optional<Room> room_in_version_2(const Place& place, std::string_view name) {
    const std::string here = place.folder();
    if (!lists_memory(here + "/cgroup.controllers")) return std::nullopt;
    if (let_limit_below(here)) return Room{here, std::nullopt};
    const Cgroup own(Version::v2, here);
    if (own.processes() == std::vector<pid_t>{::getpid()}) {
        auto aside = Cgroup::make(Version::v2, fmt::format("{}/{}-keeper", here, name));
        if (aside && move_here(*aside) && let_limit_below(here)) return Room{here, std::move(*aside)};
        if (aside) {
            (void)move_here(own);
            aside->remove();
        }
    }
    if (place.path.empty()) return std::nullopt;
    // Whoever limits this place means what is started from it.
    if (own.read().limit_bytes) return std::nullopt;
    const std::string above = here.substr(0, here.rfind('/'));
    const bool may_move = ::access((above + "/cgroup.procs").c_str(), W_OK) == 0;
    if (may_move && lists_memory(above + "/cgroup.subtree_control")) return Room{above, std::nullopt};
    return std::nullopt;
}

}  // namespace

Result<NodeCgroup> NodeCgroup::make(const Place& place, std::string_view name, std::uint64_t limit_bytes) {
    std::optional<Room> room = place.version == Version::v1 ? Room{place.folder(), std::nullopt} : room_in_version_2(place, name);
    if (!room)
        return fail(Code::not_allowed, fmt::format("the cgroup {} has no room for another that is limited: it has processes, does not count memory, or belongs to others",
                                                   place.folder()));
    auto cgroup = Cgroup::make(place.version, fmt::format("{}/{}", room->folder, name));
    if (!cgroup) return fail(std::move(cgroup.error()));
    NodeCgroup made(std::move(*cgroup));
    made.aside_ = std::move(room->aside);
    const auto prepare = [&]() -> Result<void> {
        if (place.version == Version::v2 && !let_limit_below(made.cgroup_.folder()))
            return fail(Code::not_allowed, fmt::format("the cgroup {} cannot be divided", made.cgroup_.folder()));
        if (limit_bytes != 0) RH_TRY_VOID(made.cgroup_.limit(limit_bytes));
        return {};
    };
    if (auto prepared = prepare(); !prepared) {
        made.remove();
        return fail(std::move(prepared.error()));
    }
    return made;
}

Result<Cgroup> NodeCgroup::make_worker(std::string_view id, std::uint64_t limit_bytes) const {
    RH_TRY(const Cgroup worker, Cgroup::make(cgroup_.version(), fmt::format("{}/{}{}", cgroup_.folder(), k_worker_prefix, id)));
    if (limit_bytes == 0) return worker;
    if (auto limited = worker.limit(limit_bytes); !limited) {
        worker.remove();
        return fail(std::move(limited.error()));
    }
    return worker;
}

bool NodeCgroup::remove() const {
    const bool removed = remove_tree(cgroup_);
    if (!aside_) return removed;
    const std::string here = aside_->folder().substr(0, aside_->folder().rfind('/'));
    (void)write_text(here + "/cgroup.subtree_control", "-memory");
    (void)move_here(Cgroup(Version::v2, here));
    return aside_->remove() && removed;
}

std::optional<Place> leave_worker(std::optional<Place> place) {
    if (!place) return place;
    // The outermost: a worker's nodes are nobody's, however deep.
    const std::string mark = fmt::format("/{}", k_node_prefix);
    const auto node = place->path.find(mark);
    if (node == place->path.npos || place->path.find(fmt::format("/{}", k_worker_prefix), node + 1) == place->path.npos) return place;
    Place outside = *place;
    outside.path.resize(node);
    return move_here(Cgroup(outside.version, outside.folder())) ? outside : place;
}

void write_record(const std::string& record, const Cgroup& cgroup) {
    const Fd file(::open(record.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return;
    const std::string line = fmt::format("{} {}\n", cgroup.version() == Version::v2 ? 2 : 1, cgroup.folder());
    // Without it a keeper that is killed leaves an empty cgroup behind, which takes next to nothing.
    [[maybe_unused]] const auto written = ::write(file.get(), line.data(), line.size());
}

void remove_recorded(const std::string& record, process::Deadline deadline) {
    const auto text = read_text(record);
    if (!text) return;
    const Version version = text->starts_with("2 ") ? Version::v2 : Version::v1;
    const std::string folder = text->size() > 3 ? text->substr(2, text->find('\n', 2) - 2) : std::string();
    // Whoever has written it, only what is called like ours is removed.
    if (last_part(folder).starts_with(k_node_prefix)) {
        const Cgroup cgroup(version, folder);
        for (;;) {
            kill_tree(cgroup);
            if (remove_tree(cgroup) || std::chrono::steady_clock::now() >= deadline) break;
            std::this_thread::sleep_for(k_look_again);
        }
    }
    ::unlink(record.c_str());
}

}  // namespace rh::isolate
