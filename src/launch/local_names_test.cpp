#include "launch/local_names.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "process/node_folder.h"

// Live clusters are renamed in tests/python/test_clusters.py; here a listening socket stands for one.

namespace rh::launch {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class NamesTest : public ::testing::Test {
protected:
    NamesTest() : folder_(made()), clusters_(folder_ + "/s/clusters/") {
        ::setenv("ROUNDHOUSE_STATE", (folder_ + "/s").c_str(), 1);
        ::setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
    }
    ~NamesTest() override {
        ::unsetenv("ROUNDHOUSE_STATE");
        ::unsetenv("XDG_RUNTIME_DIR");
        fs::remove_all(folder_);
    }

    static std::string made() {
        std::string path = "/tmp/rh-names-XXXXXX";
        return ::mkdtemp(path.data());
    }
    LocalCluster make(const std::string& name) const {
        const LocalCluster cluster = locate_local(name).value();
        EXPECT_TRUE(process::make_private_folder(cluster.state_folder));
        std::ofstream(process::daemon_log_path(cluster.state_folder)) << "log of " << name;
        return cluster;
    }
    // The folder's name under clusters/.
    std::string key(const std::string& name) const { return locate_local(name).value().state_folder.substr(clusters_.size()); }
    std::string names() const {
        std::string all;
        const std::vector<LocalCluster> found = list_local().value();
        for (const LocalCluster& cluster : found) all += cluster.name + " ";
        return all;
    }

    std::string folder_, clusters_;
};

Fd listen_at(const std::string& path) {
    EXPECT_TRUE(process::make_private_folder(path.substr(0, path.rfind('/'))));
    Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener.get(), 4), 0);
    return listener;
}

TEST_F(NamesTest, NothingIsThere) {
    EXPECT_EQ(names(), "");
    EXPECT_TRUE(rename_local("box", "crate"));
    EXPECT_FALSE(fs::exists(folder_ + "/s")) << "looking and renaming nothing make nothing";
    EXPECT_EQ(rename_local("box", "not/a/name").error().code, Code::invalid_name);
}

TEST_F(NamesTest, ARenamedClusterKeepsItsFolder) {
    const LocalCluster box = make("box");
    ASSERT_TRUE(rename_local("box", "crate"));
    EXPECT_EQ(key("crate"), "box");
    EXPECT_EQ(local_name(box.state_folder), "crate");
    EXPECT_EQ(names(), "crate ");
    EXPECT_EQ(key("box"), "box~1") << "the old name is free, and gets a folder of its own";
    make("box");
    EXPECT_EQ(names(), "box crate ");

    ASSERT_TRUE(rename_local("crate", "chest"));
    EXPECT_EQ(key("chest"), "box");
    EXPECT_EQ(key("crate"), "crate");
    EXPECT_FALSE(fs::exists(clusters_ + "crate"));
    EXPECT_EQ(key("box"), "box~1");
    EXPECT_EQ(names(), "box chest ");
}

TEST_F(NamesTest, AndBackAgain) {
    make("box");
    ASSERT_TRUE(rename_local("box", "crate"));
    ASSERT_TRUE(rename_local("crate", "box"));
    EXPECT_EQ(key("box"), "box");
    EXPECT_EQ(key("crate"), "crate");
    EXPECT_EQ(names(), "box ");
}

TEST_F(NamesTest, ANameThatIsUpIsTaken) {
    make("box");
    const LocalCluster crate = make("crate");
    {
        const Fd listener = listen_at(crate.socket_path);
        const auto renamed = rename_local("box", "crate");
        ASSERT_FALSE(renamed);
        EXPECT_EQ(renamed.error().code, Code::name_taken);
        EXPECT_NE(renamed.error().message.find("crate"), std::string::npos);
        EXPECT_EQ(names(), "box crate ");
    }
    ASSERT_TRUE(rename_local("box", "crate")) << "what a torn down one left goes";
    EXPECT_EQ(names(), "crate ");
    EXPECT_EQ(key("crate"), "box");
    EXPECT_FALSE(fs::is_directory(fs::symlink_status(clusters_ + "crate")));
}

TEST_F(NamesTest, DeletingLeavesNothingAndFreesTheName) {
    make("box");
    ASSERT_TRUE(rename_local("box", "crate"));
    make("box");
    ASSERT_TRUE(delete_local(locate_local("crate").value(), milliseconds(2000)));
    EXPECT_FALSE(fs::exists(fs::symlink_status(clusters_ + "crate")));
    EXPECT_EQ(key("crate"), "crate");
    EXPECT_EQ(key("box"), "box~1") << "the second box is still found, although the first one's folder is free";
    EXPECT_EQ(names(), "box ");
    ASSERT_TRUE(delete_local(locate_local("box").value(), milliseconds(2000)));
    EXPECT_EQ(names(), "");
    EXPECT_EQ(key("box"), "box");
    EXPECT_TRUE(delete_local(locate_local("never").value(), milliseconds(2000)));
}

TEST_F(NamesTest, ARenameThatWasCutShortNamesNobodyWrongly) {
    make("box");
    // The link was made and the folder not yet marked.
    ASSERT_EQ(::symlink("box", (clusters_ + "crate").c_str()), 0);
    EXPECT_EQ(key("box"), "box");
    EXPECT_EQ(key("crate"), "crate");
    EXPECT_EQ(names(), "box ");
    drop_stale_link(clusters_ + "crate");
    make("crate");
    EXPECT_EQ(names(), "box crate ");
}

TEST_F(NamesTest, ALinkThatLeadsOutIsRefused) {
    make("box");
    fs::create_directory(folder_ + "/outside");
    ASSERT_EQ(::symlink((folder_ + "/outside").c_str(), (clusters_ + "crate").c_str()), 0);
    const auto located = locate_local("crate");
    ASSERT_FALSE(located);
    EXPECT_EQ(located.error().code, Code::not_allowed);
    EXPECT_EQ(names(), "box ");
}

TEST_F(NamesTest, UpGivesTheSizesToTheNode) {
    const std::string path = folder_ + "/starter";
    std::ofstream(path) << "#!/bin/sh\nenv | grep -E '^ROUNDHOUSE_(CPUS|GPUS|MEMORY)=' | sort >" << folder_ << "/env\necho '{}'\n";
    fs::permissions(path, fs::perms::owner_all);
    ::setenv("ROUNDHOUSE_CPUS", "64", 1);
    ASSERT_TRUE(up_local(locate_local("box").value(), path, milliseconds(5000), {.cpus = 2, .gpus = std::nullopt, .memory_bytes = 1 << 30}));
    ::unsetenv("ROUNDHOUSE_CPUS");
    std::ifstream file(folder_ + "/env");
    const std::string seen{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(seen, "ROUNDHOUSE_CPUS=2\nROUNDHOUSE_MEMORY=1073741824\n");
}

}  // namespace
}  // namespace rh::launch
