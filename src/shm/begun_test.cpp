#include "shm/begun.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rh::shm {
namespace {

constexpr std::uint64_t k_slots = BegunMarks::k_slots;

class BegunTest : public testing::Test {
protected:
    BegunTest() {
        std::string folder = testing::TempDir() + "begun.XXXXXX";
        folder_ = ::mkdtemp(folder.data());
        path_ = folder_ + "/w.begun";
    }
    ~BegunTest() override { std::filesystem::remove_all(folder_); }

    std::string folder_;
    std::string path_;
};

TEST_F(BegunTest, SaysWhatWasMarked) {
    BegunMarks marks;
    ASSERT_TRUE(marks.open(path_));
    marks.mark(7);
    const BegunCopy copy = BegunCopy::read(path_);
    EXPECT_EQ(copy.of(7), Begun::yes);
    EXPECT_EQ(copy.of(8), Begun::no);
    EXPECT_EQ(copy.of(7 + k_slots), Begun::no);
}

TEST_F(BegunTest, ASlotThatWentToALaterCallSaysNothingOfTheEarlier) {
    BegunMarks marks;
    ASSERT_TRUE(marks.open(path_));
    marks.mark(7 + k_slots);
    marks.mark(7);  // it had to wait for its turn
    const BegunCopy copy = BegunCopy::read(path_);
    EXPECT_EQ(copy.of(7), Begun::unknown);
    EXPECT_EQ(copy.of(7 + k_slots), Begun::yes);
}

TEST_F(BegunTest, OutlivesAProcessThatIsKilled) {
    const pid_t child = ::fork();
    if (child == 0) {
        BegunMarks marks;
        if (!marks.open(path_)) ::_exit(1);
        marks.mark(3);
        ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(BegunCopy::read(path_).of(3), Begun::yes);
    EXPECT_EQ(BegunCopy::read(path_).of(4), Begun::no);
}

TEST_F(BegunTest, ManyThreadsMark) {
    BegunMarks marks;
    ASSERT_TRUE(marks.open(path_));
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&marks, thread] {
            for (std::uint64_t round = 0; round < 100; ++round) marks.mark(1 + thread * k_slots + round % 2);
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(BegunCopy::read(path_).of(1 + 3 * k_slots), Begun::yes);
}

TEST_F(BegunTest, NothingIsKnownWithoutAWholeFile) {
    EXPECT_EQ(BegunCopy::read(path_).of(1), Begun::unknown);
    std::ofstream(path_) << "short";
    EXPECT_EQ(BegunCopy::read(path_).of(1), Begun::unknown);
    BegunMarks marks;
    EXPECT_FALSE(marks.open(folder_ + "/no/such/folder"));
    marks.mark(1);
}

}  // namespace
}  // namespace rh::shm
