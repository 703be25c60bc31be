#include "store/run_log.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "base/ids.h"

namespace rh::store {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t k_any = std::uint64_t{1} << 40;

class RunLogTest : public ::testing::Test {
protected:
    ~RunLogTest() override { fs::remove_all(folder_); }

    void print(Channel channel, std::string_view text, std::uint64_t kept = k_any) {
        ASSERT_TRUE(log_.append(channel, at_, text, {++number_, {at_, 0}}, kept));
        at_ += text.size();
    }
    std::string all(LogCursor cursor = {}, std::uint64_t step = k_any) {
        std::string text;
        for (;;) {
            const Result<LogRead> read = log_.read(cursor, step);
            EXPECT_TRUE(read) << read.error().message;
            if (!read || read->pieces.empty()) return text;
            for (const LogPiece& piece : read->pieces) text += piece.text;
            cursor = read->next;
        }
    }

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    const std::string path_ = folder_ + "/id-1.log";
    const RunLog log_{path_};
    std::uint64_t at_ = 0;
    std::uint64_t number_ = 0;
};

TEST_F(RunLogTest, NothingWasPrinted) {
    EXPECT_EQ(all(), "");
    EXPECT_EQ(log_.recover().value().offset, 0U);
    EXPECT_TRUE(log_.sync());
}

TEST_F(RunLogTest, ChannelsStayApartAndOffsetsCountBoth) {
    print(Channel::out, "one\n");
    print(Channel::err, "two\n");
    print(Channel::out, "three\n");
    const LogRead read = log_.read({}, k_any).value();
    ASSERT_EQ(read.pieces.size(), 3U);
    EXPECT_EQ(read.pieces[1].channel, Channel::err);
    EXPECT_EQ(read.pieces[1].offset, 4U);
    EXPECT_EQ(read.next.offset, at_);
    EXPECT_EQ(log_.recover().value().offset, at_);
    EXPECT_EQ(log_.recover().value().place.number, 3U);
    EXPECT_EQ(log_.recover().value().place.file_offsets[0], 8U);
    for (std::uint64_t from = 0; from <= at_; ++from) {
        for (std::uint64_t step = 1; step < 6; ++step) EXPECT_EQ(all({from, 0}, step), std::string("one\ntwo\nthree\n").substr(from)) << from << ' ' << step;
    }
}

TEST_F(RunLogTest, AReaderGoesOnBehindACut) {
    std::string printed;
    LogCursor cursor;
    std::uint64_t seen = 0;
    for (int i = 0; i < 5000; ++i) {
        const std::string line = "line " + std::to_string(i) + '\n';
        print(Channel::out, line, 4096);
        printed += line;
        if (i % 7 != 0) continue;
        const LogRead read = log_.read(cursor, k_any).value();
        for (const LogPiece& piece : read.pieces) {
            EXPECT_EQ(piece.offset, seen);
            EXPECT_EQ(piece.text, printed.substr(seen, piece.text.size()));
            seen += piece.text.size();
        }
        cursor = read.next;
    }
    EXPECT_LT(fs::file_size(path_), 3 * 4096U);
    // Whoever comes late sees the end, and by its offset that the front is gone.
    const LogRead late = log_.read({}, k_any).value();
    ASSERT_FALSE(late.pieces.empty());
    EXPECT_GT(late.pieces.front().offset, 0U);
    EXPECT_EQ(late.next.offset, printed.size());
}

TEST_F(RunLogTest, DamageIsFoundWhereItIs) {
    print(Channel::out, "sound\n");
    print(Channel::out, "broken\n");
    print(Channel::out, "behind\n");
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(48 + 6 + 48 + 2);
    file.put('X');
    file.close();
    const LogRead read = log_.read({}, k_any).value();
    ASSERT_EQ(read.pieces.size(), 1U);
    const auto damaged = log_.read(read.next, k_any);
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, Code::damaged);
    EXPECT_EQ(all({6 + 7, 0}), "behind\n");
}

TEST_F(RunLogTest, HalfAPieceIsNotThereYet) {
    print(Channel::out, "whole\n");
    print(Channel::out, "half\n");
    fs::resize_file(path_, fs::file_size(path_) - 2);
    EXPECT_EQ(all(), "whole\n");
}

TEST_F(RunLogTest, WhoeverTakesOverGoesOnBehindTheLastWholePiece) {
    print(Channel::out, "whole\n");
    print(Channel::out, "half\n");
    fs::resize_file(path_, fs::file_size(path_) - 2);
    const LogEnd end = log_.recover().value();
    EXPECT_EQ(end.offset, 6U);
    EXPECT_EQ(end.place.number, 1U);
    at_ = end.offset;
    print(Channel::err, "behind\n");
    EXPECT_EQ(all(), "whole\nbehind\n");
}

}  // namespace
}  // namespace rh::store
