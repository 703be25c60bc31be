#pragma once

// A node's own cgroup, in which each of its workers that is limited has one: what the node may have together, the kernel
// sees to, and how a worker ended, it counts for each. Owned by the keeper, which makes it when it begins and removes it when
// everything has ended; of a keeper that was killed, whoever sweeps up behind it does (process/cgroup_record.h). Linux only.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "isolate/cgroup.h"
#include "process/cgroup_record.h"

namespace rh::isolate {

class NodeCgroup {
public:
    // Makes one called `name` at, in or beside `place`, where this process stands. Version 2 does not allow processes and
    // limited cgroups at the same place: it is made beside it then, if what is there is allowed to and nothing limits this process
    // that it would escape. Otherwise an Error that says why not; nothing is left of it.
    static Result<NodeCgroup> make(const Place& place, std::string_view name, std::uint64_t limit_bytes);

    // One for a worker, with or without a limit of its own.
    Result<Cgroup> make_worker(std::string_view id, std::uint64_t limit_bytes) const;
    const Cgroup& cgroup() const { return cgroup_; }
    // With what is in it, as far as no process is.
    bool remove() const;

private:
    explicit NodeCgroup(Cgroup cgroup) : cgroup_(std::move(cgroup)) {}

    Cgroup cgroup_;
    std::optional<Cgroup> aside_;  // where this process stands instead of at its place, where no other was
};

// A node that is started from inside a worker is none of that worker's processes: this process moves to where the
// worker's node began. Its place now.
std::optional<Place> leave_worker(std::optional<Place> place);

}  // namespace rh::isolate
