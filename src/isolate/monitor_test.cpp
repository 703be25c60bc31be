// The monitor over made-up processes, whose files say what they have; and what is measured of real ones.

#include "isolate/monitor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fmt/format.h>
#include <fstream>

namespace rh::isolate {
namespace {

namespace fs = std::filesystem;
using process::ProcessEntry;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t k_mib = 1024 * 1024;

class MonitorTest : public ::testing::Test {
protected:
    MonitorTest() {
        std::string made = "/tmp/rh-monitor-XXXXXX";
        proc_ = ::mkdtemp(made.data());
    }
    ~MonitorTest() override { fs::remove_all(proc_); }

    // A process of that worker's session with so much memory, of which `own` is not shared.
    void has(pid_t pid, pid_t session, std::uint64_t rss, std::uint64_t own) {
        fs::create_directories(fmt::format("{}/{}", proc_, pid));
        std::ofstream(fmt::format("{}/{}/statm", proc_, pid)) << 2 * rss / page() << " " << rss / page() << " 1 1 0 1 0\n";
        std::ofstream(fmt::format("{}/{}/smaps_rollup", proc_, pid)) << "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:  " << rss / 1024
                                                                      << " kB\nPss:       " << own / 1024 << " kB\nPss_Dirty: 1 kB\n";
        std::erase_if(below_, [&](const ProcessEntry& entry) { return entry.pid == pid; });
        below_.push_back({pid, pid == session ? 1 : session, session, 'S', 77, fmt::format("process {}", pid)});
    }
    Monitor::Lister list() const {
        return [this] { return below_; };
    }
    static std::uint64_t page() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

    std::string proc_;
    std::vector<ProcessEntry> below_;
    Clock::time_point now_ = Clock::now();
};

// Numbers that no process of this machine has, so that no environment is found for them.
constexpr pid_t k_first = 90'000'001;
constexpr pid_t k_second = 90'000'101;

TEST_F(MonitorTest, WithoutAWorkerThereIsNothingToDo) {
    Monitor monitor(100 * k_mib, proc_);
    EXPECT_FALSE(monitor.next());
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    monitor.add("w1", k_first, 0, now_);
    EXPECT_TRUE(monitor.next());
    monitor.remove("w1");
    EXPECT_FALSE(monitor.next());
}

TEST_F(MonitorTest, EndsTheLargestOfATreeThatHasTooMuch) {
    Monitor monitor(0, proc_);
    monitor.add("w1", k_first, 100 * k_mib, now_);
    monitor.add("w2", k_second, 100 * k_mib, now_);
    has(k_first, k_first, 30 * k_mib, 30 * k_mib);
    has(k_first + 1, k_first, 60 * k_mib, 60 * k_mib);
    has(k_second, k_second, 90 * k_mib, 90 * k_mib);
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    has(k_first + 1, k_first, 80 * k_mib, 80 * k_mib);
    now_ += seconds(2);
    auto verdicts = monitor.look(now_, list());
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].worker_id, "w1");
    EXPECT_EQ(verdicts[0].victim.pid, k_first + 1);
    EXPECT_FALSE(verdicts[0].is_worker);
    EXPECT_EQ(verdicts[0].facts.enforced_by, process::Enforcer::monitor);
    EXPECT_FALSE(verdicts[0].facts.is_node_limit);
    EXPECT_EQ(verdicts[0].facts.limit_bytes, 100 * k_mib);
    EXPECT_EQ(verdicts[0].facts.peak_bytes, 110 * k_mib);
    EXPECT_EQ(verdicts[0].facts.growth_bytes, 110 * k_mib);
    EXPECT_EQ(verdicts[0].facts.growth_ms, 2000u);
    EXPECT_EQ(verdicts[0].facts.kills, 1u);
    // It is still on its way out: nobody else is ended for what it has.
    now_ += seconds(2);
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    // Then the worker itself.
    has(k_first, k_first, 101 * k_mib, 101 * k_mib);
    now_ += seconds(2);
    verdicts = monitor.look(now_, list());
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_TRUE(verdicts[0].is_worker);
    EXPECT_EQ(verdicts[0].facts.kills, 2u);
}

TEST_F(MonitorTest, WhatIsSharedCountsOnce) {
    Monitor monitor(0, proc_);
    monitor.add("w1", k_first, 100 * k_mib, now_);
    has(k_first, k_first, 80 * k_mib, 45 * k_mib);
    has(k_first + 1, k_first, 80 * k_mib, 45 * k_mib);
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    EXPECT_EQ(monitor.facts("w1", now_).peak_bytes, 90 * k_mib);
    has(k_first + 1, k_first, 80 * k_mib, 56 * k_mib);
    now_ += seconds(2);
    EXPECT_EQ(monitor.look(now_, list()).size(), 1u);
}

TEST_F(MonitorTest, TheNodesLimitIsForAllTogether) {
    Monitor monitor(200 * k_mib, proc_);
    monitor.add("w1", k_first, 0, now_);
    monitor.add("w2", k_second, 0, now_);
    has(k_first, k_first, 80 * k_mib, 80 * k_mib);
    has(k_second, k_second, 110 * k_mib, 110 * k_mib);
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    has(k_second, k_second, 130 * k_mib, 130 * k_mib);
    now_ += seconds(2);
    const auto verdicts = monitor.look(now_, list());
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].worker_id, "w2");
    EXPECT_TRUE(verdicts[0].facts.is_node_limit);
    EXPECT_EQ(verdicts[0].facts.limit_bytes, 200 * k_mib);
}

TEST_F(MonitorTest, LooksMoreOftenTheCloserItIs) {
    EXPECT_EQ(pause_for(std::uint64_t{1} << 40, std::chrono::nanoseconds(0)), milliseconds(1000));
    EXPECT_EQ(pause_for(0, std::chrono::nanoseconds(0)), milliseconds(10));
    EXPECT_EQ(pause_for(100 * k_mib, std::chrono::nanoseconds(0)), milliseconds(200));
    // However close: looking is to take no more than a twentieth of a processor.
    EXPECT_EQ(pause_for(0, milliseconds(5)), milliseconds(100));
    Monitor monitor(0, proc_);
    monitor.add("w1", k_first, 100 * k_mib, now_);
    has(k_first, k_first, 99 * k_mib, 99 * k_mib);
    EXPECT_TRUE(monitor.look(now_, list()).empty());
    EXPECT_LE(*monitor.next() - now_, milliseconds(500));
    EXPECT_GE(*monitor.next() - now_, milliseconds(10));
    // Not due yet.
    has(k_first, k_first, 300 * k_mib, 300 * k_mib);
    EXPECT_TRUE(monitor.look(now_ + milliseconds(1), list()).empty());
}

TEST(ProcessBytes, OfThisProcess) {
    const auto roughly = process_bytes("/proc", ::getpid(), false);
    const auto exactly = process_bytes("/proc", ::getpid(), true);
    ASSERT_TRUE(roughly);
    ASSERT_TRUE(exactly);
    EXPECT_GT(*roughly, k_mib / 4);
    EXPECT_GT(*exactly, k_mib / 8);
    EXPECT_GE(tree_bytes(::getpid()), k_mib / 4);
    EXPECT_FALSE(process_bytes("/proc", 90'000'001, false));
    EXPECT_EQ(tree_bytes(90'000'001), 0u);
}

}  // namespace
}  // namespace rh::isolate
