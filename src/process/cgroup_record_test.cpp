#include "process/cgroup_record.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rh::process {
namespace {

namespace fs = std::filesystem;

class CgroupRecord : public ::testing::Test {
protected:
    CgroupRecord() {
        std::string made = "/tmp/rh-record-XXXXXX";
        folder_ = ::mkdtemp(made.data());
    }
    ~CgroupRecord() override { fs::remove_all(folder_); }

    void sweep() const { remove_recorded_cgroup(folder_, std::chrono::steady_clock::now() + std::chrono::seconds(1)); }

    std::string folder_;
};

TEST_F(CgroupRecord, RemovesWhatWasWrittenDown) {
    fs::create_directories(folder_ + "/roundhouse-x/worker-1/own");
    write_cgroup_record(folder_, folder_ + "/roundhouse-x");
    sweep();
    EXPECT_FALSE(fs::exists(folder_ + "/roundhouse-x"));
    EXPECT_FALSE(fs::exists(folder_ + "/cgroup"));
    sweep();
}

TEST_F(CgroupRecord, ThatNamesSomethingElseRemovesNothing) {
    fs::create_directories(folder_ + "/user.slice");
    write_cgroup_record(folder_, folder_ + "/user.slice");
    sweep();
    EXPECT_TRUE(fs::exists(folder_ + "/user.slice"));
    EXPECT_FALSE(fs::exists(folder_ + "/cgroup"));
}

TEST_F(CgroupRecord, OfACgroupThatIsGoneIsNoTrouble) {
    write_cgroup_record(folder_, "/no/such/roundhouse-x");
    sweep();
    EXPECT_FALSE(fs::exists(folder_ + "/cgroup"));
}

// What cannot be removed, here because it holds a file, is tried until the deadline.
TEST_F(CgroupRecord, GivesUpInTheEnd) {
    fs::create_directories(folder_ + "/roundhouse-x");
    std::ofstream(folder_ + "/roundhouse-x/file") << "kept";
    EXPECT_FALSE(remove_cgroup_tree(folder_ + "/roundhouse-x"));
    write_cgroup_record(folder_, folder_ + "/roundhouse-x");
    remove_recorded_cgroup(folder_, std::chrono::steady_clock::now());
    EXPECT_TRUE(fs::exists(folder_ + "/roundhouse-x/file"));
}

}  // namespace
}  // namespace rh::process
