#pragma once

// Looking at a daemon's Unix socket from outside, without speaking to it: launcher and starter ask whether somebody
// accepts, and remove what a dead daemon left. POSIX only; nothing here blocks
// without a deadline.

#include <string>

#include "base/result.h"
#include "process/node_folder.h"

namespace rh::process {

// The longest path that a socket can have; a terminating zero follows it in sockaddr_un.
inline constexpr std::size_t k_socket_path_bytes_max = 107;

// Code::invalid_name when the path is too long for a socket.
Result<void> check_socket_path(const std::string& path);

// True when a process accepts connections there. Code::not_allowed, naming path and owner, when it is another user's.
Result<bool> accepts_connections(const std::string& path);

// Removes the socket of a daemon that is gone, or going: one that is being killed may accept until `deadline`. Leaves
// alone what somebody then still listens at; Code::not_allowed for what is another user's, or no socket.
Result<void> remove_stale_socket(const std::string& path, Deadline deadline = {});

}  // namespace rh::process
