#pragma once

// How many fork()s lie between this process and the one that loaded this code. Connections compare it before each use:
// a forked child's copy of one must never write. Reading it costs nothing, where getpid() is a system call.

#include <cstdint>

namespace rh {

std::uint64_t fork_count();

}  // namespace rh
