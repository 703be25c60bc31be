#include "isolate/kernel_kills.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rh::isolate {
namespace {

namespace fs = std::filesystem;

TEST(ParseKill, KnowsWhatKernelsSay) {
    const auto check = [](std::string_view line, pid_t pid, std::string_view name) {
        const auto killed = parse_kill(line);
        ASSERT_TRUE(killed) << line;
        EXPECT_EQ(killed->pid, pid);
        EXPECT_EQ(killed->name, name);
    };
    check("3,1290,442071512,-;Memory cgroup out of memory: Killed process 7088 (python3) total-vm:80132kB, anon-rss:65248kB, UID:0 pgtables:196kB oom_score_adj:0\n", 7088,
          "python3");
    check("3,1,2,-;Out of memory: Killed process 12 (a (b) c) total-vm:1kB, anon-rss:1kB\n", 12, "a (b) c");
    check("4,1,2,-;Killed process 345 (java), UID 1000, total-vm:1kB\n", 345, "java");
    check("Out of memory (oom_kill_allocating_task): Killed process 1 (x) total-vm:1kB", 1, "x");
}

TEST(ParseKill, KnowsWhatIsNone) {
    for (const char* line : {"", "Killed process", "Killed process x (y)", "Killed process 12", "Killed process 12 (y", "oom-kill:constraint=CONSTRAINT_MEMCG,pid=7088",
                             "python3 invoked oom-killer: gfp_mask=0xcc0"})
        EXPECT_FALSE(parse_kill(line)) << line;
}

// The cgroup around the node, as in a container, is a file here.
TEST(KernelKills, TrustsTheCounterAround) {
    std::string made = "/tmp/rh-kernel-kills-XXXXXX";
    const std::string folder = ::mkdtemp(made.data());
    const auto count = [&](int kills) { std::ofstream(folder + "/memory.events") << "oom 0\noom_kill " << kills << "\n"; };
    std::ofstream(folder + "/memory.max") << "1048576\n";
    count(2);
    KernelKills kernel(Cgroup(Version::v2, folder));
    const auto before = kernel.before();
    ASSERT_EQ(before.around, 2u);
    EXPECT_FALSE(kernel.did_it(-1, before, std::uint64_t{1} << 60));
    count(3);
    EXPECT_TRUE(kernel.did_it(-1, before, 1));
    EXPECT_EQ(kernel.limit_around(), 1048576u);
    fs::remove_all(folder);
}

// Where there is nothing but the machine's own counter, which does not move because of this test.
TEST(KernelKills, DoesNotBlameTheKernelForNothing) {
    KernelKills kernel(std::nullopt);
    EXPECT_FALSE(kernel.did_it(-1, kernel.before(), 1));
    EXPECT_FALSE(kernel.limit_around());
}

}  // namespace
}  // namespace rh::isolate
