#include "isolate/node_cgroup.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace rh::isolate {

namespace {

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
    RH_TRY(const Cgroup worker, Cgroup::make(cgroup_.version(), fmt::format("{}/{}{}", cgroup_.folder(), process::k_worker_cgroup_prefix, id)));
    if (limit_bytes == 0) return worker;
    if (auto limited = worker.limit(limit_bytes); !limited) {
        worker.remove();
        return fail(std::move(limited.error()));
    }
    return worker;
}

bool NodeCgroup::remove() const {
    const bool removed = process::remove_cgroup_tree(cgroup_.folder());
    if (!aside_) return removed;
    const std::string here = aside_->folder().substr(0, aside_->folder().rfind('/'));
    (void)write_text(here + "/cgroup.subtree_control", "-memory");
    (void)move_here(Cgroup(Version::v2, here));
    return aside_->remove() && removed;
}

std::optional<Place> leave_worker(std::optional<Place> place) {
    if (!place) return place;
    // The outermost: a worker's nodes are nobody's, however deep.
    const std::string mark = fmt::format("/{}", process::k_node_cgroup_prefix);
    const auto node = place->path.find(mark);
    if (node == place->path.npos || place->path.find(fmt::format("/{}", process::k_worker_cgroup_prefix), node + 1) == place->path.npos) return place;
    Place outside = *place;
    outside.path.resize(node);
    return move_here(Cgroup(outside.version, outside.folder())) ? outside : place;
}

}  // namespace rh::isolate
