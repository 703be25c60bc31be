#include "launch/local.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "launch/state_base.h"
#include "process/local_socket.h"
#include "process/node_folder.h"

// What a launcher decides before and after roundhoused runs; nodes that really start are in bin/node_commands_test.cpp.

namespace rh::launch {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Sets a variable, or removes it, and puts it back.
class Variable {
public:
    Variable(const char* name, const char* value) : name_(name) {
        if (const char* const before = std::getenv(name)) before_ = before;
        set(value);
    }
    ~Variable() { set(before_ ? before_->c_str() : nullptr); }

private:
    void set(const char* value) const { value == nullptr ? ::unsetenv(name_) : ::setenv(name_, value, 1); }

    const char* name_;
    std::optional<std::string> before_;
};

bool names(const Error& error, const std::string& text) { return error.message.find(text) != std::string::npos; }

class LocalTest : public ::testing::Test {
protected:
    LocalTest() : folder_(made()), state_("ROUNDHOUSE_STATE", (folder_ + "/s").c_str()), runtime_("XDG_RUNTIME_DIR", folder_.c_str()) {}
    ~LocalTest() override { fs::remove_all(folder_); }

    static std::string made() {
        std::string path = "/tmp/rh-local-XXXXXX";
        return ::mkdtemp(path.data());
    }
    // A program that answers as a starter would.
    std::string program(const std::string& script) const {
        const std::string path = folder_ + "/starter";
        std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
        ::chmod(path.c_str(), 0700);
        return path;
    }
    LocalCluster cluster(const std::string& name = "box") const { return locate_local(name).value(); }

    std::string folder_;
    Variable state_, runtime_;
};

TEST_F(LocalTest, LocatesAClusterInTheChosenFolders) {
    const LocalCluster box = cluster();
    EXPECT_EQ(box.name, "box");
    EXPECT_EQ(box.state_folder, folder_ + "/s/clusters/box");
    EXPECT_TRUE(box.socket_path.starts_with(folder_ + "/roundhouse/box-")) << box.socket_path;
    EXPECT_TRUE(box.socket_path.ends_with(".sock"));
    EXPECT_FALSE(fs::exists(folder_ + "/s")) << "looking makes nothing";
    EXPECT_NE(cluster("other").socket_path, box.socket_path);
}

TEST_F(LocalTest, OneFolderHasOneSocketHoweverItIsSpelled) {
    fs::create_directory(folder_ + "/s");
    fs::create_directory_symlink(folder_ + "/s", folder_ + "/link");
    const std::string expected = cluster().socket_path;
    for (const std::string& spelled : {folder_ + "/s/", folder_ + "/./s", folder_ + "//s", folder_ + "/x/../s", folder_ + "/link"}) {
        const Variable state("ROUNDHOUSE_STATE", spelled.c_str());
        EXPECT_EQ(cluster().socket_path, expected) << spelled;
    }
}

TEST_F(LocalTest, RefusesBadNames) {
    for (const std::string& name : {std::string("a/b"), std::string(".."), std::string(), std::string("a b"), std::string(65, 'x')}) {
        const auto result = locate_local(name);
        ASSERT_FALSE(result) << name;
        EXPECT_EQ(result.error().code, Code::invalid_name);
    }
}

TEST_F(LocalTest, LongNamesAndFoldersStillGiveAPossibleSocketPath) {
    const std::string name(64, 'n');
    EXPECT_LE(cluster(name).socket_path.size(), process::k_socket_path_bytes_max);
    const std::string deep = folder_ + "/" + std::string(50, 'd');
    fs::create_directory(deep);
    const Variable runtime("XDG_RUNTIME_DIR", deep.c_str());
    const std::string cut = cluster(name).socket_path;
    EXPECT_TRUE(cut.starts_with(deep + "/roundhouse/n"));
    EXPECT_LE(cut.size(), process::k_socket_path_bytes_max);
    const std::string deeper = deep + "/" + std::string(50, 'd');
    fs::create_directory(deeper);
    const Variable too_deep("XDG_RUNTIME_DIR", deeper.c_str());
    EXPECT_TRUE(cluster(name).socket_path.starts_with("/tmp/rh-" + std::to_string(::geteuid()) + "/nnn"));
}

TEST_F(LocalTest, ChoosesAStateFolderOfThisMachine) {
    const Variable no_state("ROUNDHOUSE_STATE", nullptr);
    const std::string fallback = "/var/tmp/roundhouse-" + std::to_string(::geteuid());
    {
        const Variable home("HOME", folder_.c_str());
        EXPECT_EQ(state_base().value(), folder_ + "/.local/state/roundhouse/" + machine_id());
    }
    {
        const Variable home("HOME", nullptr);
        EXPECT_EQ(state_base().value(), fallback);
    }
    {
        const Variable home("HOME", "/no/such/home");
        EXPECT_EQ(state_base().value(), fallback);
    }
    {
        const Variable home("HOME", "/proc");  // nobody can make a folder there, root neither
        const auto base = state_base();
        ASSERT_TRUE(base);
    }
    EXPECT_FALSE(is_on_network("/tmp/no/such/folder"));
    EXPECT_FALSE(machine_id().empty());
    EXPECT_EQ(machine_id().find('/'), std::string::npos);
}

TEST_F(LocalTest, UsesTheSocketThatTheRunningKeeperHas) {
    const LocalCluster box = cluster();
    ASSERT_TRUE(process::make_private_folder(box.state_folder));
    std::ofstream(folder_ + "/elsewhere.sock") << "";
    std::ofstream(process::keeper_lock_path(box.state_folder)) << process::format_keeper_record({4711, 1, folder_ + "/elsewhere.sock"});
    EXPECT_EQ(cluster().socket_path, folder_ + "/elsewhere.sock");
    fs::remove(folder_ + "/elsewhere.sock");
    EXPECT_EQ(cluster().socket_path, box.socket_path);
}

TEST_F(LocalTest, RefusesAnotherUsersFoldersAndSocket) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
    const LocalCluster box = cluster();
    ASSERT_TRUE(process::make_private_folder(box.state_folder));
    ASSERT_TRUE(process::make_private_folder(folder_ + "/roundhouse"));
    {
        const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        box.socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener.get(), 1), 0);
        EXPECT_TRUE(is_up_local(box));
        ASSERT_EQ(::lchown(box.socket_path.c_str(), 4242, 4242), 0);
        EXPECT_FALSE(is_up_local(box));
        const auto up = up_local(box, "/bin/true", milliseconds(1000));
        ASSERT_FALSE(up);
        EXPECT_EQ(up.error().code, Code::not_allowed);
        EXPECT_TRUE(names(up.error(), box.socket_path + " belongs to user 4242")) << up.error().message;
        EXPECT_EQ(down_local(box, milliseconds(1000)).error().code, Code::not_allowed);
        EXPECT_TRUE(fs::exists(box.socket_path));
    }
    for (const std::string& folder : {folder_ + "/roundhouse", box.state_folder}) {
        ASSERT_EQ(::chown(folder.c_str(), 4242, 4242), 0);
        const auto located = locate_local("box");
        ASSERT_FALSE(located);
        EXPECT_EQ(located.error().code, Code::not_allowed);
        EXPECT_TRUE(names(located.error(), folder + " belongs to user 4242")) << located.error().message;
        ASSERT_EQ(::chown(folder.c_str(), 0, 0), 0);
    }
}

TEST_F(LocalTest, UpPassesTheStartersReasonOn) {
    const auto refused = [&](const std::string& script) { return up_local(cluster(), program(script), milliseconds(5000)).error(); };
    Error error = refused(R"(echo '{"code":"io","message":"no space left on device: /s"}'; exit 1)");
    EXPECT_EQ(error.code, Code::io);
    EXPECT_EQ(error.message, "no space left on device: /s");
    error = refused(R"(echo '{"code":"not_allowed","message":"m"}'; exit 1)");
    EXPECT_EQ(error.code, Code::not_allowed);
    error = refused(R"(echo '{"code":"timeout","message":"too late"}'; exit 1)");
    EXPECT_EQ(error.code, Code::launch_failed);
    EXPECT_EQ(error.message, "too late");
    error = refused("echo Segmentation fault; exit 9");
    EXPECT_EQ(error.code, Code::launch_failed);
    EXPECT_TRUE(names(error, "exit code 9 and said: Segmentation fault")) << error.message;
    error = refused("kill -SEGV $$");
    EXPECT_TRUE(names(error, "ended by signal 11")) << error.message;
    error = refused("exit 0");
    EXPECT_EQ(error.code, Code::launch_failed);
}

TEST_F(LocalTest, UpSaysThatTheDaemonIsMissing) {
    const auto up = up_local(cluster(), "/no/such/roundhoused", milliseconds(1000));
    ASSERT_FALSE(up);
    EXPECT_EQ(up.error().code, Code::launch_failed);
    EXPECT_TRUE(names(up.error(), "cannot run /no/such/roundhoused: No such file")) << up.error().message;
}

TEST_F(LocalTest, UpKillsAStarterThatIsStuck) {
    const auto begin = steady_clock::now();
    const auto up = up_local(cluster(), program("exec sleep 300"), milliseconds(100));
    ASSERT_FALSE(up);
    EXPECT_EQ(up.error().code, Code::launch_failed);
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(LocalTest, UpGivesTheStarterNoMarksOfAnotherNode) {
    const Variable worker("ROUNDHOUSE_WORKER", "w1");
    const Variable node("ROUNDHOUSE_NODE", "/another/node");
    const Variable other("RH_TEST_MARK", "kept");
    EXPECT_TRUE(up_local(cluster(), program("env >" + folder_ + "/env; echo '{}'"), milliseconds(5000)));
    std::ifstream file(folder_ + "/env");
    bool kept = false;
    for (std::string line; std::getline(file, line);) {
        EXPECT_FALSE(line.starts_with("ROUNDHOUSE_")) << line;
        kept = kept || line == "RH_TEST_MARK=kept";
    }
    EXPECT_TRUE(kept);
}

TEST_F(LocalTest, DownOfWhatNeverRanMakesNothing) {
    EXPECT_TRUE(down_local(cluster(), milliseconds(1000)));
    EXPECT_FALSE(fs::exists(folder_ + "/s"));
}

TEST_F(LocalTest, DownRemovesWhatADeadNodeLeft) {
    const LocalCluster box = cluster();
    ASSERT_TRUE(process::make_private_folder(box.state_folder));
    ASSERT_TRUE(process::make_private_folder(folder_ + "/roundhouse"));
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    box.socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    // The record names a process that is not the keeper: this one. It must not be signalled.
    std::ofstream(process::keeper_lock_path(box.state_folder)) << process::format_keeper_record({::getpid(), 1, box.socket_path});
    std::ofstream(process::start_lock_path(box.state_folder)) << "";
    std::ofstream(process::daemon_log_path(box.state_folder)) << "kept for reading";
    EXPECT_TRUE(down_local(box, milliseconds(2000)));
    EXPECT_FALSE(fs::exists(box.socket_path));
    EXPECT_FALSE(fs::exists(process::keeper_lock_path(box.state_folder)));
    EXPECT_FALSE(fs::exists(process::start_lock_path(box.state_folder)));
    EXPECT_TRUE(fs::exists(process::daemon_log_path(box.state_folder)));
}

TEST_F(LocalTest, DownGivesUpOnALockThatAStrangerHolds) {
    const LocalCluster box = cluster();
    ASSERT_TRUE(process::make_private_folder(box.state_folder));
    auto held = process::FileLock::take(process::keeper_lock_path(box.state_folder), steady_clock::now());
    ASSERT_TRUE(held && held->set_content(process::format_keeper_record({::getpid(), 1, box.socket_path})));
    const auto down = down_local(box, milliseconds(100));
    ASSERT_FALSE(down);
    EXPECT_EQ(down.error().code, Code::timeout);
    EXPECT_TRUE(names(down.error(), "does not end")) << down.error().message;
}

}  // namespace
}  // namespace rh::launch
