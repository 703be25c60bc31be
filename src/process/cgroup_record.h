#pragma once

// Where a node's cgroup is, written into its state folder by the keeper that made it: what a killed keeper could not remove,
// whoever sweeps up behind it does. Cgroups are only folders here (src/isolate/ knows more of them). Linux; elsewhere there is none.

#include <string>

#include "process/node_folder.h"

namespace rh::process {

// How the cgroup of a node, and that of a worker in it, begin to be called.
inline constexpr std::string_view k_node_cgroup_prefix = "roundhouse-";
inline constexpr std::string_view k_worker_cgroup_prefix = "worker-";

void write_cgroup_record(const std::string& state_folder, const std::string& cgroup);
void remove_cgroup_record(const std::string& state_folder);
// Ends what is in the cgroup of that record, and removes it with all below it, and the record.
void remove_recorded_cgroup(const std::string& state_folder, Deadline deadline);

// Removes the cgroup and those below it, as far as nothing is in them. True once it is not there.
bool remove_cgroup_tree(const std::string& cgroup);

}  // namespace rh::process
