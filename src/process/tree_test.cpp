#include "process/tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/fd.h"
#include "base/ids.h"
#include "process/spawn.h"

namespace rh::process {
namespace {

using std::chrono::steady_clock;

bool contains(const std::vector<ProcessEntry>& entries, pid_t pid) {
    return std::any_of(entries.begin(), entries.end(), [&](const auto& entry) { return entry.pid == pid; });
}

// Waits for what another process is about to do.
bool soon(const std::function<bool()>& holds) {
    for (int i = 0; i < 1000; ++i) {
        if (holds()) return true;
        ::usleep(5'000);
    }
    return false;
}

bool is_gone(pid_t pid) {
    const auto entry = read_process(pid);
    return !entry || entry->is_zombie();
}

// This process adopts the orphans of its children, as a keeper does.
class TreeTest : public ::testing::Test {
protected:
    TreeTest() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
    ~TreeTest() override {
        for (const auto& entry : descendants(list_processes(), ::getpid())) send_signal(entry, SIGKILL);
        while (::waitpid(-1, nullptr, 0) > 0) {
        }
        ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    }

    static pid_t run(const std::string& script, std::vector<std::string> env = {}) {
        Command command{{"/bin/sh", "-c", script}, std::move(env), "/", "/dev/null", "/dev/null"};
        command.env.push_back("PATH=/usr/bin:/bin");
        const auto pid = spawn(command);
        return pid ? *pid : -1;
    }
    static std::vector<ProcessEntry> below() { return descendants(list_processes(), ::getpid()); }
};

TEST_F(TreeTest, ReadsItsOwnEntryWhateverItsName) {
    char before[16] = {};
    ::prctl(PR_GET_NAME, before);
    ::prctl(PR_SET_NAME, "a) S 1 (b");
    const auto self = read_process(::getpid());
    ::prctl(PR_SET_NAME, before);
    ASSERT_TRUE(self);
    EXPECT_EQ(self->name, "a) S 1 (b");
    EXPECT_EQ(self->parent, ::getppid());
    EXPECT_EQ(self->session, ::getsid(0));
    EXPECT_GT(self->start_time, 0u);
    EXPECT_FALSE(self->is_zombie());
}

TEST_F(TreeTest, FindsADoubleForkedChildThatLeftItsSession) {
    const std::string mark = "w-" + random_hex(4);
    // The second sleep wipes its environment and leaves its session: its parent's mark still leads to it.
    const pid_t worker = run("(setsid sh -c 'sleep 61 & env -i setsid sleep 62 & wait' &) ; exec sleep 63",
                             {fmt::format("{}={}", k_worker_variable, mark)});
    ASSERT_GT(worker, 0);
    const auto tree = [&] { return worker_tree(below(), mark, worker); };
    ASSERT_TRUE(soon([&] {
        const auto found = tree();
        return std::count_if(found.begin(), found.end(), [](const auto& entry) { return entry.name == "sleep"; }) == 3;
    }));
    EXPECT_TRUE(contains(tree(), worker));
    EXPECT_TRUE(worker_tree(below(), "somebody-else", 0).empty());
    // The worker dies alone; what it left is ours now and still found.
    ::kill(worker, SIGKILL);
    ::waitpid(worker, nullptr, 0);
    EXPECT_TRUE(soon([&] { return tree().size() >= 3; }));
    EXPECT_FALSE(contains(tree(), worker));
    for (const auto& entry : tree()) EXPECT_TRUE(send_signal(entry, SIGKILL));
    EXPECT_TRUE(soon([&] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        return tree().empty();
    }));
}

TEST_F(TreeTest, FindsASessionMemberThatWipedItsEnvironment) {
    const pid_t worker = run("(env -i sleep 61 &) ; exec sleep 62");
    ASSERT_TRUE(soon([&] {
        const auto found = below();
        return found.size() == 2 && found.front().name == "sleep" && found.back().name == "sleep";
    }));
    ::kill(worker, SIGKILL);
    ::waitpid(worker, nullptr, 0);
    EXPECT_TRUE(soon([&] { return !worker_tree(below(), "w", worker).empty(); }));
}

TEST_F(TreeTest, NeverSignalsAnotherProcessThatGotThePid) {
    const pid_t child = run("exec sleep 60");
    auto entry = read_process(child);
    ASSERT_TRUE(entry);
    entry->start_time += 1;
    EXPECT_FALSE(send_signal(*entry, SIGKILL));
    EXPECT_FALSE(is_gone(child));
    entry->start_time -= 1;
    EXPECT_TRUE(send_signal(*entry, SIGKILL));
    EXPECT_TRUE(soon([&] { return is_gone(child); }));
}

TEST_F(TreeTest, LeavesAnotherNodesKeeperAlone) {
    const pid_t keeper = ::fork();
    if (keeper == 0) {
        ::prctl(PR_SET_NAME, "rh-keeper");
        run("exec sleep 60");
        for (;;) ::pause();
    }
    EXPECT_TRUE(soon([&] {
        const auto found = descendants(list_processes(), keeper);
        return found.size() == 1 && found.front().name == "sleep";
    }));
    EXPECT_TRUE(below().empty());
    ::kill(keeper, SIGKILL);
}

TEST_F(TreeTest, ComparesWholeEnvironmentEntries) {
    const pid_t child = run("exec sleep 60", {"ROUNDHOUSE_NODE=/state/ab", "ROUNDHOUSE_NODES=/state/a"});
    EXPECT_TRUE(soon([&] { return has_environment(child, k_node_variable, "/state/ab"); }));
    EXPECT_FALSE(has_environment(child, k_node_variable, "/state/a"));
    EXPECT_FALSE(has_environment(child, k_node_variable, "/state/abc"));
    EXPECT_FALSE(has_environment(999'999'999, k_node_variable, "/state/ab"));
}

TEST_F(TreeTest, SweepsAllThatCarriesTheMarkAndItsDescendants) {
    const std::string state = "/state/" + random_hex(4);
    const pid_t marked = run("setsid env -i sleep 61 & exec sleep 62", {fmt::format("{}={}", k_node_variable, state)});
    const pid_t other = run("exec sleep 63", {fmt::format("{}={}-other", k_node_variable, state)});
    ASSERT_TRUE(soon([&] { return node_processes(state).size() == 2; }));
    EXPECT_FALSE(contains(node_processes(state), other));
    // As after a keeper that was killed: somebody else reaps.
    const auto swept = sweep_node(state, steady_clock::now() + std::chrono::seconds(5));
    EXPECT_TRUE(swept) << swept.error().message;
    EXPECT_TRUE(is_gone(marked));
    EXPECT_FALSE(is_gone(other));
}

TEST(SweepNode, FindsNothingWhereNothingIs) {
    EXPECT_TRUE(sweep_node("/state/none-" + random_hex(4), steady_clock::now()));
}

}  // namespace
}  // namespace rh::process
