// With real processes, and the cgroups that this machine gives; where it gives none, those tests are skipped and say why.

#include "keeper/memory_limits.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/ids.h"
#include "process/spawn.h"

namespace rh::keeper {
namespace {

namespace fs = std::filesystem;
using process::Enforcer;

constexpr std::uint64_t k_mib = 1024 * 1024;

class MemoryLimitsTest : public ::testing::Test {
protected:
    MemoryLimitsTest() {
        std::string made = "/tmp/rh-limits-XXXXXX";
        folder_ = ::mkdtemp(made.data());
    }
    ~MemoryLimitsTest() override {
        ::unsetenv("ROUNDHOUSE_MEMORY");
        ::unsetenv("ROUNDHOUSE_MEMORY_BY");
        fs::remove_all(folder_);
    }

    process::Start start(const std::string& id, std::uint64_t memory) const {
        // Keeps all that it reads, because no line ever ends.
        return {id, {"tail", "/dev/zero"}, {"PATH=/usr/bin:/bin"}, "/", folder_ + "/out", folder_ + "/err", {}, memory};
    }
    static Result<pid_t> spawn(const process::Start& start, const std::string& procs) {
        return process::spawn({start.argv, start.env, start.cwd, start.stdout_path, start.stderr_path, -1, {}, procs});
    }
    // Its signal, and what the kernel says that it had.
    static std::pair<int, std::uint64_t> wait_for(pid_t pid) {
        int status = 0;
        rusage usage{};
        ::wait4(pid, &status, 0, &usage);
        return {WIFSIGNALED(status) ? WTERMSIG(status) : 0, static_cast<std::uint64_t>(usage.ru_maxrss) * 1024};
    }

    std::string folder_;
};

TEST_F(MemoryLimitsTest, AWorkerInACgroupIsCountedAndNothingIsLeft) {
    MemoryLimits limits(folder_, "test");
    const process::Limited node = limits.node();
    if (node.cgroup.empty()) GTEST_SKIP() << "no cgroup may be made here";
    EXPECT_TRUE(fs::exists(folder_ + "/cgroup"));
    const process::Start greedy = start("w1", 32 * k_mib);
    const std::string procs = limits.admit(greedy);
    EXPECT_EQ(procs, node.cgroup + "/worker-w1/cgroup.procs");
    const auto pid = spawn(greedy, procs);
    ASSERT_TRUE(pid) << pid.error().message;
    const auto told = limits.begun(greedy, *pid, MemoryLimits::Clock::now());
    ASSERT_TRUE(told);
    EXPECT_EQ(told->cgroup, node.cgroup + "/worker-w1");
    EXPECT_EQ(limits.workers().size(), 1u);
    EXPECT_FALSE(limits.next()) << "nobody looks at what the kernel limits";
    const auto [signal_number, peak] = wait_for(*pid);
    EXPECT_EQ(signal_number, SIGKILL);
    const process::MemoryFacts facts = limits.ended("w1", *pid, signal_number, false, peak, MemoryLimits::Clock::now());
    EXPECT_EQ(facts.enforced_by, node.memory.enforced_by);
    EXPECT_FALSE(facts.is_node_limit);
    EXPECT_EQ(facts.limit_bytes, 32 * k_mib);
    EXPECT_GT(facts.peak_bytes, 16 * k_mib);
    EXPECT_EQ(facts.kills, 1u);
    for (int i = 0; i < 1000 && !limits.forget("w1"); ++i) ::usleep(2'000);
    EXPECT_FALSE(fs::exists(node.cgroup + "/worker-w1"));
    limits.remove();
    EXPECT_FALSE(fs::exists(node.cgroup));
    EXPECT_FALSE(fs::exists(folder_ + "/cgroup"));
}

TEST_F(MemoryLimitsTest, WithoutALimitNobodyIsWatched) {
    MemoryLimits limits(folder_, "test");
    const process::Start plain = start("w1", 0);
    EXPECT_EQ(limits.admit(plain), "");
    EXPECT_FALSE(limits.begun(plain, 1, MemoryLimits::Clock::now()));
    EXPECT_FALSE(limits.next());
    EXPECT_TRUE(limits.workers().empty());
    EXPECT_TRUE(limits.forget("w1"));
    limits.remove();
}

TEST_F(MemoryLimitsTest, WhereACgroupCannotBeJoinedItIsWatched) {
    MemoryLimits limits(folder_, "test");
    const std::string node = limits.node().cgroup;
    const process::Start greedy = start("w1", 32 * k_mib);
    limits.admit(greedy);
    limits.cannot_join(Error(Code::io, "a test says so"));
    EXPECT_EQ(limits.node().memory.enforced_by, Enforcer::monitor);
    EXPECT_TRUE(node.empty() || !fs::exists(node));
    const auto told = limits.begun(greedy, ::getpid(), MemoryLimits::Clock::now());
    ASSERT_TRUE(told);
    EXPECT_EQ(told->memory.enforced_by, Enforcer::monitor);
    EXPECT_TRUE(limits.next());
    EXPECT_EQ(limits.admit(start("w2", k_mib)), "");
    limits.remove();
}

TEST_F(MemoryLimitsTest, TheEnvironmentLeavesTheOthersOut) {
    ::setenv("ROUNDHOUSE_MEMORY_BY", "nobody", 1);
    EXPECT_EQ(MemoryLimits(folder_, "test").node().memory.enforced_by, Enforcer::nobody);
    ::setenv("ROUNDHOUSE_MEMORY_BY", "monitor", 1);
    ::setenv("ROUNDHOUSE_MEMORY", "12345", 1);
    const process::Limited node = MemoryLimits(folder_, "test").node();
    EXPECT_EQ(node.memory.enforced_by, Enforcer::monitor);
    EXPECT_EQ(node.memory.limit_bytes, 12345u);
    EXPECT_TRUE(node.cgroup.empty());
    EXPECT_FALSE(fs::exists(folder_ + "/cgroup"));
}

// As in a container: what is around the keeper has a limit, and a worker that has none of its own is killed for that.
TEST_F(MemoryLimitsTest, KnowsThatTheKernelDidItWhereNobodyOfOursLimits) {
    const auto place = isolate::own_place();
    if (!place) GTEST_SKIP() << "no cgroup counts memory here";
    const auto node = isolate::NodeCgroup::make(*place, std::string(process::k_node_cgroup_prefix) + "around-" + random_hex(4), 0);
    if (!node) GTEST_SKIP() << node.error().message;
    const auto around = isolate::Cgroup::make(node->cgroup().version(), node->cgroup().folder() + "/container");
    ASSERT_TRUE(around);
    ASSERT_TRUE(around->limit(48 * k_mib));
    const pid_t inside = ::fork();
    if (inside == 0) {
        ::setenv("ROUNDHOUSE_MEMORY_BY", "nobody", 1);
        if (!isolate::write_text(around->procs_path(), "0")) ::_exit(2);
        MemoryLimits limits(folder_, "test");
        const process::Start greedy = start("w1", 0);
        const auto pid = spawn(greedy, limits.admit(greedy));
        if (!pid) ::_exit(3);
        const auto [signal_number, peak] = wait_for(*pid);
        if (signal_number != SIGKILL) ::_exit(4);
        const process::MemoryFacts facts = limits.ended("w1", *pid, signal_number, false, peak, MemoryLimits::Clock::now());
        if (facts.enforced_by != Enforcer::kernel || facts.kills != 1) ::_exit(5);
        if (facts.limit_bytes != 48 * k_mib) ::_exit(6);
        // Whom the keeper itself has ended, nobody else did.
        const process::MemoryFacts ours = limits.ended("w1", *pid, signal_number, true, peak, MemoryLimits::Clock::now());
        ::_exit(ours.kills == 0 ? 0 : 7);
    }
    int status = 0;
    ::waitpid(inside, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    for (int i = 0; i < 1000 && !node->remove(); ++i) ::usleep(2'000);
    EXPECT_FALSE(fs::exists(node->cgroup().folder()));
}

}  // namespace
}  // namespace rh::keeper
