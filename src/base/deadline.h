#pragma once

// Deadlines travel as the milliseconds that remain, never as a time of day: from and to the clock of whoever has them.

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace rh {

// A clock's numbers end somewhere: whoever wants to wait longer than ten years has no deadline.
inline constexpr std::uint64_t k_longest_ms = std::uint64_t{10} * 365 * 24 * 3600 * 1000;

inline std::chrono::steady_clock::time_point due_in(std::uint64_t ms) { return std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(ms, k_longest_ms)); }

// What remains, at least 1: 0 would say that there is no deadline.
inline std::uint64_t left_ms(std::chrono::steady_clock::time_point due) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - std::chrono::steady_clock::now()).count();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(left, 1));
}

}  // namespace rh
