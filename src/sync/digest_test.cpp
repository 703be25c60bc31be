#include "sync/digest.h"

#include <algorithm>
#include <cstdio>
#include <gtest/gtest.h>
#include <vector>

namespace rh::sync {
namespace {

// The bytes 0, 1, .. 250, 0, 1, .. of BLAKE3's own test vectors.
Bytes counting(std::size_t count) {
    Bytes bytes;
    for (std::size_t at = 0; at < count; ++at) {
        const auto byte = static_cast<std::byte>(at % 251);
        bytes.append({&byte, 1});
    }
    return bytes;
}

TEST(Digest, IsBlake3) {
    EXPECT_EQ(digest_of({}).hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    EXPECT_EQ(digest_of(as_byte_view("abc")).hex(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    EXPECT_EQ(digest_of(counting(1).view()).hex(), "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
}

// Whichever of the processor's ways is taken for many chunks at once, it is what one byte after the other gives.
TEST(Digest, IsTheSameInAnyPieces) {
    const Bytes bytes = counting(70'001);
    const Digest whole = digest_of(bytes.view());
    for (const std::size_t piece : std::vector<std::size_t>{1, 63, 1024, 4097, 65'536}) {
        Hasher hasher;
        for (std::size_t at = 0; at < bytes.size(); at += piece) hasher.update(bytes.view().subspan(at, std::min(piece, bytes.size() - at)));
        EXPECT_EQ(hasher.finish(), whole) << piece;
    }
}

TEST(Digest, IsReadFromItsHexadecimalDigits) {
    const Digest digest = digest_of(as_byte_view("abc"));
    const Result<Digest> again = Digest::from_hex(digest.hex());
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, digest);
    for (const std::string& wrong : {std::string(), digest.hex().substr(1), digest.hex() + "0", "G" + digest.hex().substr(1), "A" + digest.hex().substr(1)}) {
        EXPECT_FALSE(Digest::from_hex(wrong)) << wrong;
    }
}

TEST(Digest, OfAFileIsThatOfItsFront) {
    std::FILE* file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    const Bytes bytes = counting(200'000);
    ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    ASSERT_EQ(std::fflush(file), 0);
    const auto whole = digest_of_file(::fileno(file));
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->digest, digest_of(bytes.view()));
    EXPECT_EQ(whole->bytes, bytes.size());
    const auto front = digest_of_file(::fileno(file), 100'001);
    ASSERT_TRUE(front);
    EXPECT_EQ(front->digest, digest_of(bytes.view().first(100'001)));
    EXPECT_EQ(front->bytes, 100'001u);
    std::fclose(file);
    EXPECT_EQ(digest_of_file(-1).error().code, Code::io);
}

}  // namespace
}  // namespace rh::sync
