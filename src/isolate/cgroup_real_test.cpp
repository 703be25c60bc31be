// Cgroups of the kernel's own, where it lets this process make them; skipped, with the reason, where it does not.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/ids.h"
#include "isolate/node_cgroup.h"

namespace rh::isolate {
namespace {

constexpr std::uint64_t k_mib = 1024 * 1024;

class RealCgroups : public ::testing::TestWithParam<Version> {
protected:
    void SetUp() override {
        const auto place = own_place();
        if (!place || place->version != GetParam()) GTEST_SKIP() << "this machine counts memory in the other version of cgroups, or in none";
        auto made = NodeCgroup::make(*place, std::string(process::k_node_cgroup_prefix) + "test-" + random_hex(4), 0);
        if (!made) GTEST_SKIP() << made.error().message;
        node_ = std::move(*made);
    }
    void TearDown() override {
        if (!node_) return;
        for (int i = 0; i < 1000 && !node_->remove(); ++i) ::usleep(2'000);
        EXPECT_NE(::access(node_->cgroup().folder().c_str(), F_OK), 0);
    }
    // How a process ends that joins the cgroup and touches so much.
    static int end_of_one_that_takes(const Cgroup& cgroup, std::uint64_t bytes) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (!write_text(cgroup.procs_path(), "0")) ::_exit(2);
            void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) ::_exit(3);
            std::memset(memory, 1, bytes);
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }

    std::optional<NodeCgroup> node_;
};

TEST_P(RealCgroups, TheKernelEndsWhoTakesMoreAndCountsIt) {
    const auto worker = node_->make_worker("w1", 32 * k_mib);
    ASSERT_TRUE(worker) << worker.error().message;
    const auto neighbour = node_->make_worker("w2", 0);
    ASSERT_TRUE(neighbour) << neighbour.error().message;
    EXPECT_EQ(worker->read().limit_bytes, 32 * k_mib);
    EXPECT_EQ(end_of_one_that_takes(*worker, 8 * k_mib), 0);
    EXPECT_EQ(worker->kills(), 0u);
    EXPECT_EQ(end_of_one_that_takes(*worker, 128 * k_mib), -SIGKILL);
    const Counts counts = worker->read();
    EXPECT_EQ(counts.kills, 1u);
    if (counts.peak_bytes) {
        EXPECT_GT(*counts.peak_bytes, 16 * k_mib);
        EXPECT_LE(*counts.peak_bytes, 32 * k_mib);
    }
    EXPECT_EQ(neighbour->kills(), 0u);
    EXPECT_EQ(end_of_one_that_takes(*neighbour, 64 * k_mib), 0);
}

TEST_P(RealCgroups, TheNodesLimitIsForAllAndTheKillIsTheWorkers) {
    ASSERT_TRUE(node_->cgroup().limit(32 * k_mib));
    const auto worker = node_->make_worker("w1", 0);
    ASSERT_TRUE(worker) << worker.error().message;
    EXPECT_EQ(end_of_one_that_takes(*worker, 128 * k_mib), -SIGKILL);
    EXPECT_EQ(worker->kills(), 1u);
}

TEST_P(RealCgroups, IsRemovedWithWhatAWorkerMadeInIt) {
    const auto worker = node_->make_worker("w1", 32 * k_mib);
    ASSERT_TRUE(worker);
    ASSERT_TRUE(Cgroup::make(worker->version(), worker->folder() + "/own"));
    EXPECT_FALSE(worker->remove());
    EXPECT_FALSE(Cgroup::make(worker->version(), worker->folder())) << "it is there";
}

INSTANTIATE_TEST_SUITE_P(Both, RealCgroups, ::testing::Values(Version::v2, Version::v1),
                         [](const auto& each) { return each.param == Version::v2 ? "Version2" : "Version1"; });

}  // namespace
}  // namespace rh::isolate
