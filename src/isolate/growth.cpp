#include "isolate/growth.h"

#include <algorithm>

namespace rh::isolate {

namespace {

// What is less is no movement.
constexpr std::uint64_t k_moves_bytes = 1024 * 1024;
constexpr std::uint64_t k_suggested_step = std::uint64_t{64} * 1024 * 1024;

}  // namespace

void Growth::note(Clock::time_point now, std::uint64_t bytes) {
    const std::uint64_t last = samples_.back().bytes;
    const bool moves = std::max(last, bytes) - std::min(last, bytes) > k_moves_bytes;
    step_ = moves ? k_follow_step : std::min(step_ * 2, k_follow_step_max);
    samples_.push_back({now, bytes});
    while (samples_.size() > 2 && samples_[1].at <= now - k_growth_window) samples_.pop_front();
}

Growth::Rise Growth::until(Clock::time_point now, std::uint64_t bytes) const {
    const Sample* from = &samples_.front();
    for (const Sample& sample : samples_) {
        if (sample.at <= now - k_growth_window) from = &sample;
    }
    return {bytes - std::min(bytes, from->bytes), std::chrono::duration_cast<std::chrono::milliseconds>(now - from->at)};
}

std::uint64_t suggest_memory(const process::MemoryFacts& facts) {
    const std::uint64_t base = std::max(facts.limit_bytes, facts.peak_bytes);
    const std::uint64_t wanted = std::max(base + base / 2, base + std::min(base, facts.growth_bytes));
    return (wanted + k_suggested_step - 1) / k_suggested_step * k_suggested_step;
}

}  // namespace rh::isolate
