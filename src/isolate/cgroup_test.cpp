// Parsing, and cgroups on a made-up tree of plain files: what a kernel of either version shows, as captured from real ones.
// cgroup_real_test.cpp has those that this machine's kernel gives.

#include "isolate/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "isolate/node_cgroup.h"

namespace rh::isolate {
namespace {

namespace fs = std::filesystem;

constexpr const char* k_hybrid_mounts =
    "30 23 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:4 - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"
    "35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "36 30 0:32 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n";
constexpr const char* k_hybrid_cgroups = "5:cpu,cpuacct:/user.slice\n4:memory:/user.slice/session-1.scope\n0::/user.slice/session-1.scope\n";

TEST(FindPlace, PrefersTheVersionThatCountsMemory) {
    const auto place = find_place(k_hybrid_mounts, k_hybrid_cgroups);
    ASSERT_TRUE(place);
    EXPECT_EQ(place->version, Version::v1);
    EXPECT_EQ(place->folder(), "/sys/fs/cgroup/memory/user.slice/session-1.scope");
}

TEST(FindPlace, KnowsAUnifiedHierarchyAndARoot) {
    constexpr const char* k_mounts = "29 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const auto place = find_place(k_mounts, "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->version, Version::v2);
    EXPECT_EQ(place->path, "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope");
    const auto root = find_place(k_mounts, "0::/\n");
    ASSERT_TRUE(root);
    EXPECT_EQ(root->folder(), "/sys/fs/cgroup");
}

// A container of version 1 sees its own cgroup as the root of the mount, and its whole path in /proc/self/cgroup.
TEST(FindPlace, TakesAContainersRootOffThePath) {
    constexpr const char* k_mounts = "36 30 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    const auto place = find_place(k_mounts, "4:memory:/docker/abc\n");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->folder(), "/sys/fs/cgroup/memory");
    EXPECT_FALSE(find_place(k_mounts, "4:memory:/somewhere/else\n"));
}

TEST(FindPlace, FindsNothingWhereItIsNotShown) {
    EXPECT_FALSE(find_place("", ""));
    EXPECT_FALSE(find_place(k_hybrid_mounts, ""));
    EXPECT_FALSE(find_place("", k_hybrid_cgroups));
    EXPECT_FALSE(find_place("29 22 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/../other\n"));
    EXPECT_FALSE(find_place("nonsense\n- -\n29 22\n", "nonsense\n::\n"));
}

TEST(FindPlace, UnderstandsBlanksInPaths) {
    const auto place = find_place("29 22 0:25 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n", "0::/a\n");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->folder(), "/my cgroups/a");
}

class FakeCgroups : public ::testing::Test {
protected:
    FakeCgroups() {
        std::string made = "/tmp/rh-cgroups-XXXXXX";
        root_ = ::mkdtemp(made.data());
    }
    ~FakeCgroups() override { fs::remove_all(root_); }

    static void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
    static std::string get(const std::string& path) { return read_text(path).value_or("nothing"); }

    std::string root_;
};

TEST_F(FakeCgroups, ReadsVersion2) {
    const Cgroup cgroup(Version::v2, root_);
    put(root_ + "/memory.current", "1048576\n");
    put(root_ + "/memory.peak", "2097152\n");
    put(root_ + "/memory.max", "max\n");
    put(root_ + "/memory.events", "low 0\nhigh 0\nmax 48\noom 2\noom_kill 3\noom_group_kill 0\n");
    Counts counts = cgroup.read();
    EXPECT_EQ(counts.used_bytes, 1048576u);
    EXPECT_EQ(counts.peak_bytes, 2097152u);
    EXPECT_FALSE(counts.limit_bytes);
    EXPECT_EQ(counts.kills, 3u);
    put(root_ + "/memory.max", "268435456\n");
    EXPECT_EQ(cgroup.read().limit_bytes, 268435456u);
    put(root_ + "/cgroup.procs", "12\n345\n");
    EXPECT_EQ(cgroup.processes(), (std::vector<pid_t>{12, 345}));
}

TEST_F(FakeCgroups, ReadsVersion1AndAnOldKernelThatDoesNotCount) {
    const Cgroup cgroup(Version::v1, root_);
    put(root_ + "/memory.usage_in_bytes", "290816\n");
    put(root_ + "/memory.max_usage_in_bytes", "67108864\n");
    put(root_ + "/memory.limit_in_bytes", "9223372036854771712\n");
    put(root_ + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    const Counts counts = cgroup.read();
    EXPECT_EQ(counts.used_bytes, 290816u);
    EXPECT_EQ(counts.peak_bytes, 67108864u);
    EXPECT_FALSE(counts.limit_bytes);
    EXPECT_EQ(counts.kills, 1u);
    put(root_ + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
    EXPECT_FALSE(cgroup.kills());
    EXPECT_FALSE(Cgroup(Version::v1, root_ + "/gone").read().used_bytes);
}

TEST_F(FakeCgroups, LimitsMemoryAndKeepsItOutOfSwap) {
    put(root_ + "/memory.max", "max\n");
    put(root_ + "/memory.swap.max", "max\n");
    ASSERT_TRUE(Cgroup(Version::v2, root_).limit(4096));
    EXPECT_EQ(get(root_ + "/memory.max").substr(0, 4), "4096");
    EXPECT_EQ(get(root_ + "/memory.swap.max")[0], '0');
    put(root_ + "/memory.limit_in_bytes", "9223372036854771712\n");
    ASSERT_TRUE(Cgroup(Version::v1, root_).limit(8192)) << "a kernel without swap has no file for it";
    EXPECT_EQ(get(root_ + "/memory.limit_in_bytes").substr(0, 4), "8192");
    EXPECT_FALSE(Cgroup(Version::v2, root_ + "/gone").limit(1));
}

// Processes and limited cgroups exclude each other in version 2: here the place belongs to a shell, and what is above is shared.
TEST_F(FakeCgroups, StandsBesideAPlaceThatHasProcesses) {
    const std::string above = root_ + "/app.slice";
    const std::string here = above + "/run.scope";
    fs::create_directories(here);
    put(here + "/cgroup.controllers", "memory pids\n");
    put(here + "/cgroup.procs", "1\n2\n");
    put(here + "/memory.max", "1000\n");
    put(above + "/cgroup.procs", "");
    put(above + "/cgroup.subtree_control", "cpu memory pids\n");
    const Place place{Version::v2, root_, "/app.slice/run.scope"};
    // Something limits the place: what is made beside it would escape that.
    EXPECT_FALSE(NodeCgroup::make(place, "roundhouse-x", 0));
    EXPECT_FALSE(fs::exists(above + "/roundhouse-x"));
    put(here + "/memory.max", "max\n");
    // The kernel would put its files into the new cgroup; without them it cannot be divided, and is taken away again.
    const auto made = NodeCgroup::make(place, "roundhouse-x", 0);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("/app.slice/roundhouse-x cannot be divided"), std::string::npos) << made.error().message;
    EXPECT_FALSE(fs::exists(above + "/roundhouse-x"));
    // Who is above does not count memory for those below.
    put(above + "/cgroup.subtree_control", "cpu pids\n");
    EXPECT_FALSE(NodeCgroup::make(place, "roundhouse-x", 0));
    put(here + "/cgroup.controllers", "pids\n");
    EXPECT_FALSE(NodeCgroup::make(place, "roundhouse-x", 0));
}

TEST(LeaveWorker, StaysWhereItIsNoWorker) {
    EXPECT_FALSE(leave_worker(std::nullopt));
    const auto place = leave_worker(Place{Version::v2, "/no/such/mount", "/user.slice/roundhouse-box-1/aside"});
    ASSERT_TRUE(place);
    EXPECT_EQ(place->path, "/user.slice/roundhouse-box-1/aside");
}

TEST(Texts, HaveNumbers) {
    EXPECT_EQ(number_of("12\n"), 12u);
    EXPECT_EQ(number_of("12 34"), 12u);
    for (const char* text : {"", "max", "12x", "-1", "99999999999999999999999"}) EXPECT_FALSE(number_of(text)) << text;
    EXPECT_EQ(value_of("a 1\nb 2\n", "b"), 2u);
    EXPECT_FALSE(value_of("ab 1\n", "b"));
    EXPECT_FALSE(value_of("b\n", "b"));
}

}  // namespace
}  // namespace rh::isolate
