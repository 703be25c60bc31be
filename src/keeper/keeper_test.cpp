// A real keeper with real processes below it. This program is its own starter and its own daemon: main() dispatches.

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/ids.h"
#include "base/limits.h"
#include "keeper/run.h"
#include "keeper/starter.h"
#include "keeper/test_daemon.h"
#include "keeper/test_fork_server.h"
#include "process/local_socket.h"
#include "process/spawn.h"

namespace rh::keeper {
namespace {

namespace fs = std::filesystem;
using process::End;
using process::Exited;
using process::Inventory;
using process::Shutdown;
using process::Signal;
using process::Start;
using process::Started;
using process::StartFailed;
using process::Tell;
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

class KeeperTest : public ::testing::Test {
protected:
    KeeperTest() {
        std::string made = "/tmp/rh-keeper-XXXXXX";
        folder_ = ::mkdtemp(made.data());
        state_ = folder_ + "/state";
        fs::create_directory(state_);
        ::chmod(state_.c_str(), 0700);
        socket_ = folder_ + "/d.sock";
    }
    ~KeeperTest() override {
        if (const auto record = process::read_keeper_record(state_)) ::kill(record->pid, SIGKILL);
        (void)process::sweep_node(state_, steady_clock::now() + seconds(5));
        fs::remove_all(folder_);
    }

    // What the starter answered: "" when the node runs, else its error.
    std::string up(milliseconds timeout = seconds(10)) {
        fs::remove(folder_ + "/up.out");
        const pid_t starter = begin_up(timeout, "up.out");
        int status = 0;
        ::waitpid(starter, &status, 0);
        return text(folder_ + "/up.out");
    }
    pid_t begin_up(milliseconds timeout, const std::string& output) const {
        const auto pid = process::spawn({{own_program(), "up", state_, socket_, std::to_string(timeout.count())},
                                         {"PATH=/usr/bin:/bin"}, "/", folder_ + "/" + output, "/dev/null"});
        return pid ? *pid : -1;
    }
    static std::string text(const std::string& path) {
        std::ifstream file(path);
        std::ostringstream all;
        all << file.rdbuf();
        return all.str();
    }
    pid_t keeper_pid() const {
        const auto record = process::read_keeper_record(state_);
        return record ? record->pid : 0;
    }
    pid_t daemon_pid() const {
        for (const auto& entry : process::descendants(process::list_processes(), keeper_pid())) {
            if (entry.parent == keeper_pid() && !process::has_environment(entry.pid, "MARK", "worker")) return entry.pid;
        }
        return 0;
    }
    // A worker that runs a script, `$OUT` being a file for it to write to.
    pid_t start(const std::string& id, const std::string& script) {
        talk_.send(Start{id, {"sh", "-c", script}, {"PATH=/usr/bin:/bin", "MARK=worker", "OUT=" + folder_ + "/" + id + ".pids"},
                         folder_, folder_ + "/" + id + ".out", folder_ + "/" + id + ".err"});
        const auto started = talk_.receive<Started>();
        EXPECT_TRUE(started && started->id == id);
        return started ? started->pid : 0;
    }
    pid_t start_fork_server(const std::string& id, const std::string& how) {
        Start server{id, {own_program(), "fork-server", how}, {"PATH=/usr/bin:/bin", "MARK=worker"}, "/", folder_ + "/" + id + ".out", folder_ + "/" + id + ".err"};
        server.is_fork_server = true;
        talk_.send(server);
        const auto started = talk_.receive<Started>();
        EXPECT_TRUE(started && started->id == id);
        return started ? started->pid : 0;
    }
    // What a fork server is asked for.
    Start forked(const std::string& id, const std::string& server, const std::string& script) const {
        Start start{id, {"sh", "-c", script}, {"PATH=/usr/bin:/bin", "MARK=worker", "OUT=" + folder_ + "/" + id + ".pids"}, folder_, folder_ + "/" + id + ".out", folder_ + "/" + id + ".err"};
        start.fork_server = server;
        return start;
    }
    // The pids that a worker's script has written, once there are `count` of them.
    std::vector<pid_t> pids(const std::string& id, std::size_t count) const {
        std::vector<pid_t> found;
        EXPECT_TRUE(soon([&] {
            std::ifstream file(folder_ + "/" + id + ".pids");
            found.clear();
            for (pid_t pid = 0; file >> pid;) found.push_back(pid);
            return found.size() == count;
        }));
        return found;
    }
    void expect_nothing_left(pid_t keeper) {
        EXPECT_TRUE(soon([&] { return is_gone(keeper); }));
        EXPECT_TRUE(process::node_processes(state_).empty());
        EXPECT_FALSE(fs::exists(socket_));
        EXPECT_FALSE(fs::exists(process::keeper_lock_path(state_)));
        EXPECT_TRUE(process::FileLock::try_take(process::keeper_lock_path(state_)).value());
    }

    std::string folder_, state_, socket_;
    testing::KeeperTalk talk_;
};

// Leaves its session, forks twice and wipes the environment of a further one: the shape of a daemonised child.
constexpr const char* k_double_fork =
    "(setsid sh -c 'echo $$ >>$OUT; env -i setsid sleep 300 & echo $! >>$OUT; wait' &); ";

TEST_F(KeeperTest, StartsAndReportsHowProcessesEnd) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    const auto inventory = talk_.receive<Inventory>();
    ASSERT_TRUE(inventory);
    EXPECT_TRUE(inventory->workers.empty());

    const pid_t pid = start("w1", "echo $ROUNDHOUSE_NODE $ROUNDHOUSE_WORKER; exit 3");
    auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->id, "w1");
    EXPECT_EQ(exited->pid, pid);
    EXPECT_EQ(exited->exit_code, 3);
    EXPECT_EQ(exited->signal_number, 0);
    EXPECT_GT(exited->peak_memory_kib, 100u);
    EXPECT_EQ(text(folder_ + "/w1.out"), state_ + " w1\n");

    start("w2", "exec sleep 300");
    talk_.send(Signal{"w2", SIGUSR1});
    exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->exit_code, -1);
    EXPECT_EQ(exited->signal_number, SIGUSR1);

    talk_.send(Signal{"no-such-worker", SIGKILL});
    talk_.send(End{"no-such-worker", 0});
    talk_.send(Start{"w3", {"/no/such/python"}, {}, "/", "/dev/null", "/dev/null"});
    const auto failed = talk_.receive<StartFailed>();
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->id, "w3");
    EXPECT_EQ(failed->error_number, ENOENT);
    EXPECT_EQ(failed->what, "cannot run /no/such/python: No such file or directory");

    start("w4", "exec sleep 300");
    talk_.send(Start{"w4", {"true"}, {"PATH=/bin"}, "/", "/dev/null", "/dev/null"});
    const auto twice = talk_.receive<StartFailed>();
    ASSERT_TRUE(twice);
    EXPECT_EQ(twice->error_number, EEXIST);
}

TEST_F(KeeperTest, EndsAWorkerWithItsDoubleForkedChildren) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    // It ignores SIGTERM, as does what it starts, so that the grace must pass.
    const pid_t worker = start("w1", std::string("trap '' TERM; ") + k_double_fork + "exec sleep 300");
    const pid_t neighbour = start("w2", "exec sleep 300");
    const auto left = pids("w1", 2);
    const auto begin = steady_clock::now();
    talk_.send(End{"w1", 300});
    const auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->signal_number, SIGKILL);
    EXPECT_GE(steady_clock::now() - begin, milliseconds(290));
    for (const pid_t pid : left) EXPECT_TRUE(soon([&] { return is_gone(pid); })) << pid;
    EXPECT_TRUE(is_gone(worker));
    EXPECT_FALSE(is_gone(neighbour));
}

TEST_F(KeeperTest, EndsPolitelyAtOnceWhereTheTreeListens) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start("w1", std::string(k_double_fork) + "trap 'exit 5' TERM; while :; do sleep 0.01; done");
    const auto left = pids("w1", 2);
    talk_.send(End{"w1", 60'000});
    const auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->exit_code, 5);
    for (const pid_t pid : left) EXPECT_TRUE(soon([&] { return is_gone(pid); })) << pid;
}

TEST_F(KeeperTest, KillsWhatADyingWorkerLeaves) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    const pid_t worker = start("w1", std::string(k_double_fork) + "sleep 301 & echo $! >>$OUT; exec sleep 300");
    const auto left = pids("w1", 3);
    ::kill(worker, SIGKILL);
    const auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->signal_number, SIGKILL);
    for (const pid_t pid : left) EXPECT_TRUE(soon([&] { return is_gone(pid); })) << pid;
}

TEST_F(KeeperTest, RestartsAKilledDaemonAndTellsItWhoLivesAndWhoDied) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start("short", "exit 4");
    ASSERT_TRUE(talk_.receive<Exited>());
    const pid_t worker = start("long", "exec sleep 300");
    const pid_t killed = daemon_pid();
    ASSERT_GT(killed, 0);
    ::kill(killed, SIGKILL);
    ASSERT_TRUE(soon([&] { return daemon_pid() != killed && daemon_pid() != 0; }));
    ASSERT_TRUE(talk_.connect(socket_));
    const auto inventory = talk_.receive<Inventory>();
    ASSERT_TRUE(inventory);
    ASSERT_EQ(inventory->workers.size(), 1u);
    EXPECT_EQ(inventory->workers[0].id, "long");
    EXPECT_EQ(inventory->workers[0].pid, worker);
    const auto how = talk_.receive<Start>();
    ASSERT_TRUE(how);
    EXPECT_EQ(how->id, "long");
    EXPECT_FALSE(how->argv.empty());
    const auto earlier = talk_.receive<Exited>();
    ASSERT_TRUE(earlier);
    EXPECT_EQ(earlier->id, "short");
    EXPECT_EQ(earlier->exit_code, 4);
    EXPECT_FALSE(is_gone(worker));
    talk_.send(Signal{"long", SIGTERM});
    const auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->signal_number, SIGTERM);
}

TEST_F(KeeperTest, GivesUpOnADaemonThatKeepsDying) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start("w1", "exec sleep 300");
    const pid_t keeper = keeper_pid();
    std::ofstream(state_ + "/die") << "now";
    ::kill(daemon_pid(), SIGKILL);
    expect_nothing_left(keeper);
    EXPECT_NE(text(state_ + "/daemon.log").find("the daemon ended 5 times in 10 seconds"), std::string::npos);
}

TEST_F(KeeperTest, ReplacesADaemonThatSaysNonsense) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    const pid_t before = daemon_pid();
    talk_.send(Started{"a daemon starts nothing", 1});  // harmless: known, but not a daemon's to say
    start("w1", "exec sleep 300");
    const sockaddr_un address = testing::socket_address(socket_);
    const Fd raw(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(raw.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::send(raw.get(), "h\xff\xff\xff\xff", 5, MSG_NOSIGNAL), 5);
    ASSERT_TRUE(soon([&] { return daemon_pid() != before && daemon_pid() != 0; }));
    ASSERT_TRUE(talk_.connect(socket_));
    const auto inventory = talk_.receive<Inventory>();
    ASSERT_TRUE(inventory);
    EXPECT_EQ(inventory->workers.size(), 1u);
}

TEST_F(KeeperTest, ShutdownLeavesNothing) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start("w1", std::string("trap '' TERM; ") + k_double_fork + "exec sleep 300");
    start("w2", "exec sleep 300");
    const auto left = pids("w1", 2);
    const pid_t keeper = keeper_pid();
    const auto begin = steady_clock::now();
    talk_.send(Shutdown{});
    // The daemon goes last: it hears how its workers ended.
    const auto first = talk_.receive<Exited>();
    ASSERT_TRUE(first);
    EXPECT_EQ(first->id, "w2");
    EXPECT_EQ(first->signal_number, SIGTERM);
    const auto second = talk_.receive<Exited>();
    ASSERT_TRUE(second);
    EXPECT_EQ(second->id, "w1");
    EXPECT_EQ(second->signal_number, SIGKILL);
    EXPECT_GE(steady_clock::now() - begin, limits::k_stop_grace);
    expect_nothing_left(keeper);
    for (const pid_t pid : left) EXPECT_TRUE(is_gone(pid)) << pid;
}

TEST_F(KeeperTest, SigtermEndsAnIdleNodeAtOnce) {
    ASSERT_EQ(up(), "");
    const pid_t keeper = keeper_pid();
    const auto begin = steady_clock::now();
    ::kill(keeper, SIGTERM);
    expect_nothing_left(keeper);
    EXPECT_LT(steady_clock::now() - begin, seconds(1));
}

TEST_F(KeeperTest, AKilledKeepersNodeIsSweptByTheNextStart) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    const pid_t worker = start("w1", std::string(k_double_fork) + "exec sleep 300");
    const auto left = pids("w1", 2);
    const pid_t daemon = daemon_pid();
    ::kill(keeper_pid(), SIGKILL);
    // The kernel ends the keeper's children; theirs it does not know.
    EXPECT_TRUE(soon([&] { return is_gone(worker) && is_gone(daemon); }));
    EXPECT_FALSE(is_gone(left[0]));
    EXPECT_TRUE(fs::exists(socket_));
    ASSERT_EQ(up(), "");
    for (const pid_t pid : left) EXPECT_TRUE(is_gone(pid)) << pid;
    EXPECT_TRUE(process::accepts_connections(socket_).value());
}

TEST_F(KeeperTest, EightStartersMakeOneKeeper) {
    std::vector<pid_t> starters;
    for (int i = 0; i < 8; ++i) starters.push_back(begin_up(seconds(10), "up" + std::to_string(i)));
    for (const pid_t starter : starters) {
        int status = 0;
        ASSERT_EQ(::waitpid(starter, &status, 0), starter);
        EXPECT_EQ(status, 0);
    }
    const auto all = process::list_processes();
    EXPECT_EQ(std::count_if(all.begin(), all.end(), [&](const auto& entry) { return process::has_environment(entry.pid, process::k_node_variable, state_); }),
              1)
        << "one daemon";
    const std::string log = text(state_ + "/daemon.log");
    EXPECT_EQ(log.find("begins"), log.rfind("begins")) << log;
}

TEST_F(KeeperTest, SaysWhyADaemonDiedAtItsStart) {
    std::ofstream(state_ + "/die") << "now";
    const std::string said = up();
    EXPECT_NE(said.find("launch_failed: the daemon of cluster test ended at its start with exit code 7"), std::string::npos) << said;
    EXPECT_NE(said.find("this daemon is broken"), std::string::npos) << said;
    EXPECT_TRUE(process::node_processes(state_).empty());
    EXPECT_FALSE(fs::exists(process::keeper_lock_path(state_)));
    fs::remove(state_ + "/die");
    EXPECT_EQ(up(), "");
}

TEST_F(KeeperTest, GivesUpOnADaemonThatNeverServes) {
    std::ofstream(state_ + "/hang") << "now";
    const std::string said = up(milliseconds(300));
    EXPECT_NE(said.find("timeout: the daemon of cluster test did not accept connections at " + socket_), std::string::npos) << said;
    EXPECT_TRUE(soon([&] { return !fs::exists(process::keeper_lock_path(state_)); }));
    EXPECT_TRUE(soon([&] { return process::node_processes(state_).empty(); }));
}

TEST_F(KeeperTest, AStaleSocketAndAFreeLockAreNoObstacle) {
    {
        const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
        const sockaddr_un address = testing::socket_address(socket_);
        ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    std::ofstream(process::keeper_lock_path(state_)) << "1234567 89\n" << socket_ << "\n";
    EXPECT_EQ(up(), "");
    EXPECT_NE(keeper_pid(), 1234567);
}

TEST_F(KeeperTest, SaysThatTheDiskIsFull) {
    // The state folder's own file system is full before the keeper can write its record.
    ASSERT_EQ(::setenv("RH_TEST_STATE", state_.c_str(), 1), 0);
    const std::string mounted = "mount -t tmpfs -o size=8k,mode=0700 none $RH_TEST_STATE 2>/dev/null && "
                                "head -c 8192 /dev/zero >$RH_TEST_STATE/filler 2>/dev/null; test -s $RH_TEST_STATE/filler";
    if (std::system(mounted.c_str()) != 0) GTEST_SKIP() << "only root can make a full disk";
    const std::string said = up();
    EXPECT_EQ(std::system("umount -l $RH_TEST_STATE"), 0);
    EXPECT_NE(said.find("io: no space left on device: " + state_), std::string::npos) << said;
}

TEST_F(KeeperTest, AForkedWorkerIsItsOwnChildLikeAnyOther) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    const pid_t server = start_fork_server("f1", "fork");
    talk_.send(forked("w1", "f1", std::string(k_double_fork) + "echo $ROUNDHOUSE_NODE $ROUNDHOUSE_WORKER; exec sleep 300"));
    const auto started = talk_.receive<Started>();
    ASSERT_TRUE(started);
    EXPECT_EQ(started->id, "w1");
    const auto entry = process::read_process(started->pid);
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->parent, keeper_pid());
    EXPECT_EQ(entry->session, started->pid);
    const auto left = pids("w1", 2);
    EXPECT_TRUE(soon([&] { return text(folder_ + "/w1.out") == state_ + " w1\n"; }));
    // It has not been forked for a pid to be known by: the kernel tells its end to the keeper alone.
    ::kill(server, SIGKILL);
    auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->id, "f1");
    EXPECT_FALSE(is_gone(started->pid));
    talk_.send(End{"w1", 60'000});
    exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->id, "w1");
    EXPECT_EQ(exited->signal_number, SIGTERM);
    for (const pid_t pid : left) EXPECT_TRUE(soon([&] { return is_gone(pid); })) << pid;
}

TEST_F(KeeperTest, ManyForksAreMade) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start_fork_server("f1", "fork");
    // More than its socket holds at once.
    Start start = forked("", "f1", "exec sleep 300");
    start.env.push_back("LONG=" + std::string(20'000, 'x'));
    for (int i = 0; i < 60; ++i) {
        start.id = "w" + std::to_string(i);
        talk_.send(start);
    }
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(talk_.receive<Started>()) << i;
}

TEST_F(KeeperTest, StartsInTheOtherWayWhatAForkServerDoesNotMake) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start_fork_server("refuse", "refuse");
    start_fork_server("other", "other");
    const pid_t hanging = start_fork_server("hang", "hang");
    for (const std::string server : {"refuse", "other", "no-such-server", "hang"}) {
        talk_.send(forked("for-" + server, server, "exec sleep 300"));
        const auto started = talk_.receive<Started>(seconds(30));
        ASSERT_TRUE(started) << server;
        EXPECT_EQ(started->id, "for-" + server);
        EXPECT_EQ(process::read_process(started->pid)->parent, keeper_pid());
    }
    // Nobody waits for that one twice.
    EXPECT_TRUE(soon([&] { return is_gone(hanging); }));
    const auto exited = talk_.receive<Exited>();
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->id, "hang");
    // What could not be started in any way is said as ever.
    Start wrong = forked("wrong", "refuse", "");
    wrong.argv = {"/no/such/python"};
    talk_.send(wrong);
    const auto failed = talk_.receive<StartFailed>();
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->id, "wrong");
}

TEST_F(KeeperTest, WhatIsToBeForkedCanBeCalledOff) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start_fork_server("hang", "hang");
    talk_.send(forked("w1", "hang", "exec sleep 300"));
    talk_.send(forked("w1", "hang", "exec sleep 300"));
    const auto twice = talk_.receive<StartFailed>();
    ASSERT_TRUE(twice);
    EXPECT_EQ(twice->error_number, EEXIST);
    talk_.send(End{"w1", 0});
    const auto failed = talk_.receive<StartFailed>();
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->error_number, ECANCELED);
}

TEST_F(KeeperTest, PassesOnWhatDaemonAndForkServerSay) {
    ASSERT_EQ(up(), "");
    ASSERT_TRUE(talk_.connect(socket_));
    ASSERT_TRUE(talk_.receive<Inventory>());
    start_fork_server("f1", "fork");
    talk_.send(Tell{"no-such-server", "?"});
    talk_.send(Tell{"f1", "this"});
    auto told = talk_.receive<Tell>();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->id, "f1");
    EXPECT_EQ(told->text, "heard this");
    const pid_t killed = daemon_pid();
    ::kill(killed, SIGKILL);
    ASSERT_TRUE(soon([&] { return daemon_pid() != killed && daemon_pid() != 0; }));
    ASSERT_TRUE(talk_.connect(socket_));
    const auto inventory = talk_.receive<Inventory>();
    ASSERT_TRUE(inventory);
    ASSERT_EQ(inventory->workers.size(), 1u);
    const auto how = talk_.receive<Start>();
    ASSERT_TRUE(how);
    EXPECT_TRUE(how->is_fork_server);
    told = talk_.receive<Tell>();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->text, "heard this");
}

TEST_F(KeeperTest, StaysSmall) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's memory is not the keeper's";
#endif
    ASSERT_EQ(up(), "");
    std::ifstream file("/proc/" + std::to_string(keeper_pid()) + "/smaps_rollup");
    std::string line;
    long pss_kib = 0;
    while (std::getline(file, line)) {
        if (line.starts_with("Pss:")) pss_kib = std::atol(line.c_str() + 4);
    }
    RecordProperty("keeper_pss_kib", static_cast<int>(pss_kib));
    EXPECT_GT(pss_kib, 0);
    EXPECT_LT(pss_kib, 4096);
}

int run_as_starter(char** argv) {
    const Options options{argv[2], "test", argv[3], {own_program(), "daemon"}};
    const auto done = start_node(options, steady_clock::now() + milliseconds(std::atoi(argv[4])));
    if (done) return 0;
    const std::string text = std::string(code_name(done.error().code)) + ": " + done.error().message + "\n";
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    return 1;
}

}  // namespace
}  // namespace rh::keeper

int main(int argc, char** argv) {
    const std::string_view command = argc > 1 ? argv[1] : "";
    if (command == "up" && argc == 5) return rh::keeper::run_as_starter(argv);
    // daemon --state DIR --name NAME --socket PATH --keeper-fd 3
    if (command == "daemon" && argc == 10) return rh::keeper::testing::run_test_daemon(argv[3], argv[7], 3);
    if (command == "fork-server" && argc == 3) return rh::keeper::testing::run_test_fork_server(argv[2]);
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
