#pragma once

// Moves into base/limits.h.

#include <chrono>
#include <cstddef>

namespace rh::limits {

inline constexpr std::size_t k_fork_servers_max = 4;
inline constexpr std::size_t k_fork_server_deaths_max = 5;
inline constexpr std::chrono::minutes k_fork_server_idle{10};
inline constexpr std::chrono::milliseconds k_fork_servers_pause{30'000};
inline constexpr std::chrono::milliseconds k_fork_timeout{5'000};
inline constexpr std::size_t k_fork_message_bytes_max = 160 * 1024;

}  // namespace rh::limits
