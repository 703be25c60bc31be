// Local clusters that really start and end: launcher, starter, keeper and a daemon that only passes messages on. This
// program is roundhoused to itself: main() dispatches.

#include "bin/node_commands.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "keeper/run.h"
#include "keeper/test_daemon.h"
#include "launch/local.h"
#include "process/spawn.h"

namespace rh::bin {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

bool soon(const std::function<bool()>& holds) {
    for (int i = 0; i < 1000; ++i) {
        if (holds()) return true;
        ::usleep(5'000);
    }
    return false;
}

bool is_gone(pid_t pid) {
    const auto entry = process::read_process(pid);
    return !entry || entry->is_zombie();
}

class NodeTest : public ::testing::Test {
protected:
    NodeTest() {
        std::string made = "/tmp/rh-node-XXXXXX";
        folder_ = ::mkdtemp(made.data());
        ::setenv("ROUNDHOUSE_STATE", (folder_ + "/s").c_str(), 1);
        ::setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
        box_ = launch::locate_local("box").value();
    }
    ~NodeTest() override {
        for (const char* name : {"box", "inner"}) EXPECT_TRUE(launch::down_local(launch::locate_local(name).value(), seconds(10)));
        ::unsetenv("ROUNDHOUSE_STATE");
        ::unsetenv("XDG_RUNTIME_DIR");
        fs::remove_all(folder_);
    }

    Result<void> up() const { return launch::up_local(box_, keeper::own_program(), seconds(10)); }
    pid_t keeper_pid(const std::string& state) const {
        const auto record = process::read_keeper_record(state);
        return record ? record->pid : 0;
    }
    // A worker whose double-forked child has left its session and written its pid.
    pid_t start_worker_with_orphan(keeper::testing::KeeperTalk& talk) const {
        talk.send(process::Start{"w1",
                                 {"sh", "-c", "(setsid sh -c 'echo $$ >pid.new; mv pid.new pid; exec sleep 300' &); exec sleep 300"},
                                 {"PATH=/usr/bin:/bin"}, folder_, "/dev/null", "/dev/null"});
        pid_t orphan = 0;
        EXPECT_TRUE(soon([&] { return static_cast<bool>(std::ifstream(folder_ + "/pid") >> orphan); }));
        return orphan;
    }
    void expect_nothing_left() const {
        EXPECT_TRUE(process::node_processes(box_.state_folder).empty());
        EXPECT_FALSE(launch::is_up_local(box_));
        EXPECT_TRUE(fs::is_empty(folder_ + "/roundhouse"));
        for (const auto& entry : fs::directory_iterator(box_.state_folder)) EXPECT_EQ(entry.path().filename(), "daemon.log");
    }

    std::string folder_;
    launch::LocalCluster box_;
};

TEST_F(NodeTest, GoesUpAndDownAndUpAgain) {
    for (int round = 0; round < 3; ++round) {
        EXPECT_FALSE(launch::is_up_local(box_));
        const auto started = up();
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_TRUE(launch::is_up_local(box_));
        const pid_t keeper = keeper_pid(box_.state_folder);
        ASSERT_TRUE(up()) << "a second up finds it running";
        EXPECT_EQ(keeper_pid(box_.state_folder), keeper);
        const auto ended = launch::down_local(box_, seconds(10));
        ASSERT_TRUE(ended) << ended.error().message;
        EXPECT_TRUE(is_gone(keeper));
        expect_nothing_left();
    }
}

TEST_F(NodeTest, DownEndsDoubleForkedChildren) {
    ASSERT_TRUE(up());
    keeper::testing::KeeperTalk talk;
    ASSERT_TRUE(talk.connect(box_.socket_path));
    const pid_t orphan = start_worker_with_orphan(talk);
    ASSERT_TRUE(launch::down_local(box_, seconds(10)));
    EXPECT_TRUE(is_gone(orphan));
    expect_nothing_left();
}

TEST_F(NodeTest, DownSweepsAfterAKilledKeeper) {
    ASSERT_TRUE(up());
    keeper::testing::KeeperTalk talk;
    ASSERT_TRUE(talk.connect(box_.socket_path));
    const pid_t orphan = start_worker_with_orphan(talk);
    ::kill(keeper_pid(box_.state_folder), SIGKILL);
    ASSERT_TRUE(soon([&] { return !launch::is_up_local(box_); }));
    EXPECT_FALSE(is_gone(orphan));
    ASSERT_TRUE(launch::down_local(box_, seconds(10)));
    EXPECT_TRUE(is_gone(orphan));
    expect_nothing_left();
}

TEST_F(NodeTest, DownKillsAKeeperThatIsStopped) {
    ASSERT_TRUE(up());
    keeper::testing::KeeperTalk talk;
    ASSERT_TRUE(talk.connect(box_.socket_path));
    const pid_t orphan = start_worker_with_orphan(talk);
    ::kill(keeper_pid(box_.state_folder), SIGSTOP);
    ASSERT_TRUE(launch::down_local(box_, milliseconds(800)));
    EXPECT_TRUE(is_gone(orphan));
    expect_nothing_left();
}

TEST_F(NodeTest, EightCallersAtOnceGetOneNode) {
    std::vector<std::thread> callers;
    std::vector<std::string> said(8);
    for (auto& each : said) {
        callers.emplace_back([&each, this] {
            if (const auto done = up(); !done) each = done.error().message;
        });
    }
    for (auto& caller : callers) caller.join();
    for (const auto& each : said) EXPECT_EQ(each, "");
    EXPECT_EQ(process::node_processes(box_.state_folder).size(), 1u) << "one daemon";
}

TEST_F(NodeTest, UpsAndDownsAtOnceEndInOrder) {
    std::vector<std::thread> callers;
    std::vector<std::string> said(12);
    for (std::size_t i = 0; i < said.size(); ++i) {
        callers.emplace_back([&each = said[i], i, this] {
            const auto done = i % 3 == 0 ? launch::down_local(box_, seconds(20)) : up();
            if (!done) each = done.error().message;
        });
    }
    for (auto& caller : callers) caller.join();
    for (const auto& each : said) EXPECT_EQ(each, "");
    ASSERT_TRUE(launch::down_local(box_, seconds(10)));
    expect_nothing_left();
}

TEST_F(NodeTest, SaysWhatTheDaemonSaidWhenItDiesAtItsStart) {
    fs::create_directories(box_.state_folder);
    fs::permissions(box_.state_folder, fs::perms::owner_all);
    std::ofstream(box_.state_folder + "/die") << "now";
    const auto started = up();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, Code::launch_failed);
    EXPECT_NE(started.error().message.find("this daemon is broken"), std::string::npos) << started.error().message;
    fs::remove(box_.state_folder + "/die");
    EXPECT_TRUE(up());
}

TEST_F(NodeTest, AReadOnlyStateFolderIsSaidToBeOne) {
    ::setenv("RH_TEST_MOUNT", (folder_ + "/ro").c_str(), 1);
    fs::create_directory(folder_ + "/ro");
    if (std::system("mount -t tmpfs -o ro,mode=0700 none $RH_TEST_MOUNT 2>/dev/null") != 0) GTEST_SKIP() << "only root can mount";
    launch::LocalCluster frozen = box_;
    frozen.state_folder = folder_ + "/ro/clusters/box";
    const auto started = launch::up_local(frozen, keeper::own_program(), seconds(5));
    EXPECT_EQ(std::system("umount -l $RH_TEST_MOUNT"), 0);
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, Code::io);
    EXPECT_NE(started.error().message.find("read-only file system: " + folder_ + "/ro/clusters"), std::string::npos) << started.error().message;
}

// By hand from a worker's shell, that is with the outer node's marks in its environment.
TEST_F(NodeTest, ANodeStartedInsideAWorkerOutlivesThatWorkerAndItsNode) {
    ASSERT_TRUE(up());
    keeper::testing::KeeperTalk talk;
    ASSERT_TRUE(talk.connect(box_.socket_path));
    ASSERT_TRUE(talk.receive<process::Inventory>());
    const auto inner = launch::locate_local("inner").value();
    talk.send(process::Start{"w1",
                             {keeper::own_program(), "up", "--state", inner.state_folder, "--name", "inner", "--socket", inner.socket_path},
                             {"PATH=/usr/bin:/bin"}, "/", folder_ + "/up.out", "/dev/null"});
    ASSERT_TRUE(talk.receive<process::Started>());
    const auto exited = talk.receive<process::Exited>(seconds(10));
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->exit_code, 0);
    EXPECT_TRUE(launch::is_up_local(inner));
    const pid_t inner_keeper = keeper_pid(inner.state_folder);
    ASSERT_TRUE(launch::down_local(box_, seconds(10)));
    EXPECT_FALSE(is_gone(inner_keeper));
    EXPECT_TRUE(launch::is_up_local(inner));
}

TEST_F(NodeTest, LeavesNoDescriptorOfTheCallerOpen) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);  // without CLOEXEC, as careless libraries do
    ASSERT_TRUE(up());
    ::close(ends[1]);
    pollfd waited{ends[0], POLLIN, 0};
    EXPECT_EQ(::poll(&waited, 1, 2000), 1) << "somebody on the node holds the other end";
    ::close(ends[0]);
}

TEST_F(NodeTest, AnswersAWrongCommandLine) {
    const auto said = [&](std::vector<std::string> argv) {
        argv.insert(argv.begin(), keeper::own_program());
        fs::remove(folder_ + "/said");
        const auto pid = process::spawn({argv, {"PATH=/bin"}, "/", folder_ + "/said", folder_ + "/said"});
        int status = 0;
        ::waitpid(pid.value(), &status, 0);
        std::ifstream file(folder_ + "/said");
        std::ostringstream all;
        all << WEXITSTATUS(status) << ' ' << file.rdbuf();
        return all.str();
    };
    EXPECT_EQ(said({"up", "--state", "/x", "--name", "a/b", "--socket", "/y"}).substr(0, 28), "2 {\"code\":\"invalid_name\",\"me");
    EXPECT_EQ(said({"up", "--state", "x", "--name", "a", "--socket", "/y"}),
              "2 {\"code\":\"bad_arguments\",\"message\":\"--state needs an absolute path, not \\\"x\\\"\"}\n");
    EXPECT_EQ(said({"up", "--state"}), "2 {\"code\":\"bad_arguments\",\"message\":\"--state needs a value\"}\n");
    EXPECT_NE(said({"up", "--wrong", "x"}).find("there is no option --wrong"), std::string::npos);
    EXPECT_NE(said({"up", "--timeout-ms", "-3"}).find("whole number"), std::string::npos);
    EXPECT_EQ(said({"--version"}), "0 roundhoused " ROUNDHOUSE_VERSION "\n");
    EXPECT_NE(said({"up", "--state", folder_ + "/s", "--name", "a", "--socket", "/" + std::string(120, 'x')}).find("at most 107"), std::string::npos);
}

}  // namespace
}  // namespace rh::bin

int main(int argc, char** argv) {
    const std::string_view command = argc > 1 ? argv[1] : "";
    if (!command.empty() && !command.starts_with("--gtest"))
        return rh::bin::run_node_command(argc, argv, [](const rh::bin::DaemonArguments& arguments) {
            return rh::keeper::testing::run_test_daemon(arguments.state_folder, arguments.socket_path, arguments.keeper_fd);
        });
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
