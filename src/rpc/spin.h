#pragma once

// When a thread that waits for an answer should look for it a little before it blocks. A blocked thread's wake-up costs
// more than a whole call on a virtual machine, and a spin that misses costs only itself, so: spin briefly where answers
// have lately come fast, always yield, and stop where the machine is short of processors. Each waiting place owns one;
// not thread-safe.

#include <chrono>
#include <sched.h>

#include "base/limits.h"

namespace rh::rpc {

class Spin {
public:
    using Clock = std::chrono::steady_clock;

    // False under one processor, a CPU quota or ROUNDHOUSE_SPIN=0: then no spin ever begins.
    static bool possible();

    // Calls `look` until it returns true or the budget is spent; false at once where spinning does not pay now.
    template <class Look>
    bool until(Look&& look) {
        if (!worthwhile()) return false;
        const auto start = Clock::now();
        auto before = start;
        for (;;) {
            if (look()) {
                misses_ = 0;
                return true;
            }
            ::sched_yield();
            const auto after = Clock::now();
            // The processor was somebody else's for a while: the machine is busy, and this thread only stands in the way.
            if (after - before > k_crowded) {
                crowded_until_ = after + k_crowded_pause;
                return look();
            }
            if (after - start > limits::k_spin) break;
            before = after;
        }
        ++misses_;
        return false;
    }

    // Tells how long the wait after a missed spin took, so that a run of misses is forgotten once answers come fast again:
    // so fast that the next spin would most likely have seen them.
    void waited(Clock::duration duration) {
        if (duration < k_fast) misses_ = 0;
    }

private:
    static constexpr std::chrono::microseconds k_crowded{100};
    static constexpr std::chrono::milliseconds k_crowded_pause{5};
    static constexpr std::chrono::microseconds k_fast{60};
    static constexpr int k_misses_max = 8;

    // False after a run of misses and while crowded as well.
    bool worthwhile() const;

    int misses_ = 0;
    Clock::time_point crowded_until_{};
};

}  // namespace rh::rpc
