#pragma once

// How fast the memory of a worker grew before its end, and how much the next one should be given. Pure.

#include <chrono>
#include <cstdint>
#include <deque>

#include "process/keeper_messages.h"

namespace rh::isolate {

using Clock = std::chrono::steady_clock;

// What is said of the last seconds looks back so far.
inline constexpr std::chrono::seconds k_growth_window{5};
// How often to look at what the kernel limits: this while it moves, seldom while it does not.
inline constexpr std::chrono::milliseconds k_follow_step{500};
inline constexpr std::chrono::milliseconds k_follow_step_max{4'000};

class Growth {
public:
    // `began` with nothing.
    explicit Growth(Clock::time_point began) : samples_{{began, 0}} {}

    void note(Clock::time_point now, std::uint64_t bytes);
    // When to look again, as far as only the growth is of interest.
    std::chrono::milliseconds step() const { return step_; }

    // What it has grown by until then, and in which time: k_growth_window or a little more, or since it began.
    struct Rise {
        std::uint64_t bytes = 0;
        std::chrono::milliseconds over{0};
    };
    Rise until(Clock::time_point now, std::uint64_t bytes) const;

private:
    struct Sample {
        Clock::time_point at;
        std::uint64_t bytes = 0;
    };
    std::deque<Sample> samples_;  // as many as the window needs, and one before it
    std::chrono::milliseconds step_ = k_follow_step;
};

// The heuristic of `suggested_memory`: nobody knows what it would have needed. Half as much again as it had or might have had,
// and room for what it took in the last seconds once more, whichever is more; rounded up to whole 64 MiB. 0 where nothing is known.
std::uint64_t suggest_memory(const process::MemoryFacts& facts);

}  // namespace rh::isolate
