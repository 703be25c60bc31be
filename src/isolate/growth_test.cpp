#include "isolate/growth.h"

#include <gtest/gtest.h>

namespace rh::isolate {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t k_mib = 1024 * 1024;

process::MemoryFacts facts(std::uint64_t limit, std::uint64_t peak, std::uint64_t growth) {
    process::MemoryFacts made;
    made.limit_bytes = limit;
    made.peak_bytes = peak;
    made.growth_bytes = growth;
    return made;
}

TEST(Growth, IsThatOfTheLastSeconds) {
    const Clock::time_point begin{};
    Growth growth(begin);
    // It has just begun: since then.
    auto rise = growth.until(begin + milliseconds(200), 30 * k_mib);
    EXPECT_EQ(rise.bytes, 30 * k_mib);
    EXPECT_EQ(rise.over, milliseconds(200));
    for (int second = 1; second <= 60; ++second) growth.note(begin + seconds(second), 100 * k_mib);
    rise = growth.until(begin + milliseconds(60'300), 250 * k_mib);
    EXPECT_EQ(rise.bytes, 150 * k_mib);
    EXPECT_GE(rise.over, k_growth_window);
    EXPECT_LE(rise.over, k_growth_window + seconds(1));
    // Less than before is no growth.
    EXPECT_EQ(growth.until(begin + seconds(61), 1).bytes, 0u);
}

TEST(Growth, IsLookedAtSeldomWhileNothingMoves) {
    const Clock::time_point begin{};
    Growth growth(begin);
    growth.note(begin + seconds(1), 50 * k_mib);
    EXPECT_EQ(growth.step(), k_follow_step);
    for (int i = 2; i < 20; ++i) growth.note(begin + seconds(i), 50 * k_mib + 1);
    EXPECT_EQ(growth.step(), k_follow_step_max);
    growth.note(begin + seconds(20), 60 * k_mib);
    EXPECT_EQ(growth.step(), k_follow_step);
}

TEST(SuggestMemory, IsHalfAsMuchAgainOrRoomForTheSameGrowth) {
    // A slow leak: half as much again.
    EXPECT_EQ(suggest_memory(facts(256 * k_mib, 256 * k_mib, 1 * k_mib)), 384 * k_mib);
    // All of it within seconds: twice.
    EXPECT_EQ(suggest_memory(facts(256 * k_mib, 256 * k_mib, 230 * k_mib)), 512 * k_mib);
    // Never more than twice, whatever was counted.
    EXPECT_EQ(suggest_memory(facts(64 * k_mib, 64 * k_mib, 1000 * k_mib)), 128 * k_mib);
    // The monitor was late: what was there counts.
    EXPECT_EQ(suggest_memory(facts(128 * k_mib, 200 * k_mib, 0)), 320 * k_mib);
    // The machine's memory was over: no limit is known.
    EXPECT_EQ(suggest_memory(facts(0, 1000 * k_mib, 0)), 1536 * k_mib);
    EXPECT_EQ(suggest_memory(facts(0, 0, 0)), 0u);
    EXPECT_EQ(suggest_memory(facts(1, 1, 1)), 64 * k_mib);
}

}  // namespace
}  // namespace rh::isolate
