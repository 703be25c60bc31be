#pragma once

// The names of local clusters, as the state folders themselves tell them: a cluster's folder is called like it, except
// after a rename. A live cluster's folder cannot move, so then the file KEY/name says what the cluster in clusters/KEY is
// called now, and the link clusters/NAME leads to KEY. Who then takes the old name gets a folder KEY~1. Nothing else
// records names, so that what runs is always found. Looking takes no lock; renames wait for each other.

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "launch/local.h"

namespace rh::launch {

// The folder's name under clusters/ that belongs to the cluster of that name, whether or not it is there yet.
std::string local_key(const std::string& base, std::string_view name);

// What the cluster in that state folder is called now.
std::string local_name(const std::string& state_folder);

// Every cluster that has a state folder on this machine, up or not, by name.
Result<std::vector<LocalCluster>> list_local();

// The cluster is known by the new name from now on, also while it runs. Code::name_taken when that name is another
// cluster's that is up; what a torn down one left under it goes. Fine when there is nothing to rename.
Result<void> rename_local(std::string_view name, std::string_view to);

// down_local, and then its state folder goes as well, logs included.
Result<void> delete_local(const LocalCluster& cluster, std::chrono::milliseconds timeout);

// True for a link of a rename that was not finished, or whose folder is gone: it names no cluster. drop_stale_link takes
// it away, before a folder is made there.
bool is_stale_link(const std::string& state_folder);
void drop_stale_link(const std::string& state_folder);

}  // namespace rh::launch
