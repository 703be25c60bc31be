#include "sync/packed.h"

#include <gtest/gtest.h>

#include <string>

namespace rh::sync {
namespace {

std::string text_of(const Bytes& bytes) { return std::string(as_text(bytes.view())); }

TEST(Packed, ComesBackAsItWas) {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += std::to_string(i);
    const Result<Bytes> packed = pack(as_byte_view(text));
    ASSERT_TRUE(packed);
    EXPECT_LT(packed->size(), text.size());
    const Result<Bytes> unpacked = unpack(packed->view(), text.size());
    ASSERT_TRUE(unpacked) << unpacked.error().message;
    EXPECT_EQ(text_of(*unpacked), text);
    const Result<Bytes> nothing = unpack(pack({})->view(), 0);
    ASSERT_TRUE(nothing);
    EXPECT_TRUE(nothing->empty());
}

TEST(Packed, ABombIsStoppedAtItsBound) {
    const std::string zeros(64 * 1024 * 1024, '\0');
    const Result<Bytes> bomb = pack(as_byte_view(zeros));
    ASSERT_TRUE(bomb);
    ASSERT_LT(bomb->size(), 64u * 1024);
    const Result<Bytes> unpacked = unpack(bomb->view(), 1024 * 1024);
    ASSERT_FALSE(unpacked);
    EXPECT_EQ(unpacked.error().code, Code::code_sync);
    EXPECT_FALSE(unpack(bomb->view(), zeros.size() - 1));
    EXPECT_TRUE(unpack(bomb->view(), zeros.size()));
}

TEST(Packed, WhatIsNoWholeFrameIsRefused) {
    const Result<Bytes> packed = pack(as_byte_view("some code"));
    ASSERT_TRUE(packed);
    EXPECT_FALSE(unpack(packed->view().first(packed->size() - 1), 100));
    EXPECT_FALSE(unpack({}, 100));
    EXPECT_FALSE(unpack(as_byte_view("this is no frame"), 100));
    Bytes two(packed->view());
    two.append(packed->view());
    EXPECT_FALSE(unpack(two.view(), 100));
}

}  // namespace
}  // namespace rh::sync
