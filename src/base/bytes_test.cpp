#include "base/bytes.h"

#include <gtest/gtest.h>
#include <string>

#include "base/body.h"

namespace rh {
namespace {

TEST(Bytes, GrowsAndKeepsItsContent) {
    Bytes bytes;
    std::string expected;
    for (int i = 0; i < 10'000; ++i) {
        const std::string piece(static_cast<std::size_t>(i % 17), static_cast<char>(i));
        bytes.append(as_byte_view(piece));
        expected += piece;
    }
    EXPECT_TRUE(as_text(bytes.view()) == expected);
}

TEST(Bytes, MovesLeaveNothingBehind) {
    Bytes first(as_byte_view("abc"));
    const Bytes second(std::move(first));
    EXPECT_EQ(as_text(second.view()), "abc");
    EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): that is the promise
    first.append(as_byte_view("d"));
    EXPECT_EQ(as_text(first.view()), "d");
}

TEST(Bytes, MayBeMadeFromAPartOfItself) {
    Bytes bytes(as_byte_view("abcdef"));
    bytes = Bytes(bytes.view().subspan(4));
    EXPECT_EQ(as_text(bytes.view()), "ef");
}

TEST(Bytes, TruncateNeverGrows) {
    Bytes bytes(as_byte_view("abc"));
    bytes.truncate(10);
    EXPECT_EQ(bytes.size(), 3u);
    bytes.truncate(1);
    EXPECT_EQ(as_text(bytes.view()), "a");
    bytes.append({});
    EXPECT_EQ(bytes.size(), 1u);
}

TEST(Bytes, GivesMemoryBackOnlyWhenEmpty) {
    Bytes bytes(as_byte_view("abc"));
    const std::byte* before = bytes.data();
    bytes.shrink_if_empty(0);
    EXPECT_EQ(bytes.data(), before);
    bytes.clear();
    bytes.shrink_if_empty(1000);
    EXPECT_EQ(bytes.data(), before);
    bytes.shrink_if_empty(0);
    EXPECT_EQ(bytes.data(), nullptr);
}

TEST(Body, PartsAreViewsOfIt) {
    Body body = Body::one(Encoding::json, as_byte_view("{}"));
    body.add({});
    body.add(as_byte_view("raw"));
    const std::vector<ByteView> parts = body.parts();
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(as_text(parts[0]), "{}");
    EXPECT_TRUE(parts[1].empty());
    EXPECT_EQ(as_text(parts[2]), "raw");
    EXPECT_EQ(parts[2].data(), body.bytes.data() + 2);
}

}  // namespace
}  // namespace rh
