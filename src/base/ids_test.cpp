#include "base/ids.h"

#include <gtest/gtest.h>
#include <set>

namespace rh {
namespace {

TEST(Ids, AreRandomAndOfTheAskedSize) {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) seen.insert(random_bytes(k_session_id_bytes));
    EXPECT_EQ(seen.size(), 100u);
    EXPECT_EQ(seen.begin()->size(), 16u);
    const std::string hex = random_hex(4);
    EXPECT_EQ(hex.size(), 8u);
    EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_EQ(random_bytes(0), "");
}

TEST(Names, OrdinaryOnesAreAllowed) {
    for (const char* name : {"a", "_node", "trainer-2", "nightly-2026.11.23", "X_y", "9lives"}) EXPECT_TRUE(check_name("service", name, 128)) << name;
    EXPECT_TRUE(check_name("service", std::string(128, 'n'), 128));
}

TEST(Names, TheRefusalNamesTheThing) {
    for (const char* name : {"a/b", "a b", "../x", "-x", ".x", "na\xc3\xafve", "a\nb"}) {
        const auto checked = check_name("service", name, 128);
        ASSERT_FALSE(checked) << name;
        EXPECT_EQ(checked.error().code, Code::invalid_name);
        EXPECT_NE(checked.error().message.find(name), std::string::npos);
        EXPECT_NE(checked.error().message.find("service"), std::string::npos);
    }
    EXPECT_FALSE(check_name("cluster", "", 64));
    EXPECT_FALSE(check_name("cluster", std::string_view("a\0b", 3), 64));
    const auto longer = check_name("cluster", std::string(65, 'n'), 64);
    ASSERT_FALSE(longer);
    EXPECT_NE(longer.error().message.find("65 bytes; at most 64"), std::string::npos);
}

TEST(PathHash, NeverChanges) {
    // Paths on users' disks are made of it.
    EXPECT_EQ(path_hash(""), 0xcbf29ce484222325u);
    EXPECT_EQ(path_hash("a"), 0xaf63dc4c8601ec8cu);
    EXPECT_EQ(path_hash("foobar"), 0x85944171f73967e8u);
}

}  // namespace
}  // namespace rh
