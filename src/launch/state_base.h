#pragma once

// Where this user's local clusters keep their state on this machine, and where their sockets go. Reads the environment
// and the file system; makes nothing.

#include <string>

#include "base/result.h"

namespace rh::launch {

// $ROUNDHOUSE_STATE; else ~/.local/state/roundhouse/MACHINE_ID where that can be written and is local, because homes are
// shared between machines; else /var/tmp/roundhouse-UID. Absolute, without symbolic links. Code::not_allowed when the last
// is another user's.
Result<std::string> state_base();

// $XDG_RUNTIME_DIR/roundhouse, else /tmp/rh-UID; the file's name is short and belongs to this state folder alone.
// Code::not_allowed when the folder is there and not this user's alone.
Result<std::string> socket_path_for(const std::string& cluster_name, const std::string& state_folder);

// True for folders whose files live on another machine, where locks and sockets are not to be trusted. A folder that is
// not there yet is judged by the one above it.
bool is_on_network(const std::string& folder);

// Names this machine among those that share a home.
std::string machine_id();

}  // namespace rh::launch
