#include "sync/index.h"

#include <gtest/gtest.h>

#include "sync/tree_test.h"

namespace rh::sync {
namespace {

constexpr std::int64_t k_second = 1'000'000'000;

class IndexTest : public TreeTest {
protected:
    static Stamp stamp(std::uint64_t number) { return {1, number, 10 * number, 5, 7}; }
    static Digest digest(std::string_view of) { return digest_of(as_byte_view(of)); }

    std::string index_path_ = outside_ + "/index";
};

TEST_F(IndexTest, KnowsWhatItWasTold) {
    IndexWriter writer;
    writer.add("a", stamp(1), digest("one"));
    writer.add("a/b", stamp(2), digest("two"));
    writer.add("caf\xe9", stamp(3), digest("three"));
    ASSERT_TRUE(writer.write(index_path_));

    Index index = Index::read(index_path_);
    ASSERT_EQ(index.size(), 3u);
    EXPECT_EQ(index.find("0", stamp(1)), nullptr);
    ASSERT_NE(index.find("a", stamp(1)), nullptr);
    EXPECT_EQ(*index.find("a", stamp(1)), digest("one"));
    EXPECT_EQ(index.find("a.py", stamp(1)), nullptr);
    EXPECT_EQ(*index.find("caf\xe9", stamp(3)), digest("three"));
    EXPECT_EQ(index.find("z", stamp(3)), nullptr);
    // Out of order, which is dearer and no less right.
    EXPECT_EQ(*index.find("a/b", stamp(2)), digest("two"));
    EXPECT_EQ(*index.find("a", stamp(1)), digest("one"));
}

TEST_F(IndexTest, AnyDifferenceInTheStampIsAChange) {
    IndexWriter writer;
    writer.add("a", stamp(1), digest("one"));
    ASSERT_TRUE(writer.write(index_path_));
    Index index = Index::read(index_path_);
    for (std::uint64_t Stamp::*field : {&Stamp::device, &Stamp::inode, &Stamp::bytes}) {
        Stamp other = stamp(1);
        ++(other.*field);
        EXPECT_EQ(index.find("a", other), nullptr);
    }
    for (std::int64_t Stamp::*field : {&Stamp::modified_ns, &Stamp::changed_ns}) {
        Stamp other = stamp(1);
        ++(other.*field);
        EXPECT_EQ(index.find("a", other), nullptr);
    }
    EXPECT_NE(index.find("a", stamp(1)), nullptr);
}

TEST_F(IndexTest, ADamagedOneIsAsNone) {
    EXPECT_EQ(Index::read(index_path_).size(), 0u);
    IndexWriter writer;
    writer.add("a", stamp(1), digest("one"));
    writer.add("b", stamp(2), digest("two"));
    ASSERT_TRUE(writer.write(index_path_));
    std::ifstream file(index_path_, std::ios::binary);
    const std::string whole(std::istreambuf_iterator<char>(file), {});
    const auto size_with = [&](const std::string& text) {
        std::ofstream(index_path_, std::ios::binary | std::ios::trunc) << text;
        return Index::read(index_path_).size();
    };
    EXPECT_EQ(size_with(whole), 2u);
    for (std::size_t bytes = 0; bytes < whole.size(); bytes += 5) ASSERT_EQ(size_with(whole.substr(0, bytes)), 0u) << bytes;
    for (std::size_t at = 0; at < whole.size(); at += 5) {
        std::string flipped = whole;
        flipped[at] = static_cast<char>(flipped[at] ^ 1);
        ASSERT_EQ(size_with(flipped), 0u) << at;
    }
    EXPECT_EQ(size_with(whole + "x"), 0u);
}

TEST_F(IndexTest, AFolderThatIsNotThereIsSaid) {
    IndexWriter writer;
    const Result<void> written = writer.write(outside_ + "/nowhere/index");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Code::io);
    std::filesystem::create_directory(index_path_);
    EXPECT_FALSE(writer.write(index_path_));
    for (const auto& each : std::filesystem::directory_iterator(outside_)) EXPECT_EQ(each.path().string().find("index."), std::string::npos) << each.path();
}

TEST(Stamp, IsSettledOnceAnotherChangeMustShow) {
    Stamp stamp;
    stamp.changed_ns = 1'000 * k_second + 1;
    EXPECT_FALSE(is_settled(stamp, stamp.changed_ns));
    EXPECT_FALSE(is_settled(stamp, stamp.changed_ns - k_second));  // in the future
    EXPECT_FALSE(is_settled(stamp, stamp.changed_ns + 20'000'000));
    EXPECT_TRUE(is_settled(stamp, stamp.changed_ns + k_second / 10));
    // A file system that knows whole seconds.
    stamp.changed_ns = 1'000 * k_second;
    EXPECT_FALSE(is_settled(stamp, stamp.changed_ns + k_second));
    EXPECT_TRUE(is_settled(stamp, stamp.changed_ns + 3 * k_second));
}

}  // namespace
}  // namespace rh::sync
