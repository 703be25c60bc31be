#include "http/json_check.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>

namespace rh::http {
namespace {

bool is_json(std::string_view text, std::size_t piece = std::string::npos) {
    JsonCheck check;
    while (!text.empty()) {
        const std::string_view now = text.substr(0, piece);
        if (!check.feed(as_byte_view(now))) return false;
        text.remove_prefix(now.size());
    }
    return check.finish().has_value();
}

TEST(JsonCheckTest, TakesWhatJsonIsInAnyPieces) {
    for (const std::string text : {R"({"a":[1,-2.5e-3,true,false,null,"x\u00e9\n\"\ud83d\ude00"],"b":{}})", "[]", " [ ] ", "0", "-0", "1e308", "\"\"", "[[[]]]", R"({"":{"":0}})",
                                   "\"gr\xc3\xbcn \xf0\x9f\x98\x80\"", R"([{"a":1},{"a":2}])"}) {
        for (std::size_t piece = 1; piece <= text.size(); ++piece) EXPECT_TRUE(is_json(text, piece)) << text << " in pieces of " << piece;
    }
}

TEST(JsonCheckTest, RefusesWhatItIsNot) {
    for (const std::string text : {"", " ", "[", "]", "[1,]", "[,1]", "[1 2]", "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "01", "1.", ".1", "+1", "1e", "1e+", "-", "--1", "NaN", "Infinity",
                                   "tru", "truee", "nul", "'a'", "\"a", "\"\\x\"", "\"\\u12g4\"", "\"\t\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\\ud800\"", "\"\\udc00\"",
                                   "\"\\ud800\\ud800\"", "\"\\ud800x\"", "1 2", "[] []", "{} x", "// c\n1", "\xef\xbb\xbf[]", "1e999", "[1e400]", R"({"a":1,"a":1})", R"({"a":1,"\u0061":1})"}) {
        EXPECT_FALSE(is_json(text)) << text;
        EXPECT_FALSE(is_json(text, 1)) << text;
    }
}

TEST(JsonCheckTest, BoundsDepthAndNumbers) {
    EXPECT_TRUE(is_json(std::string(64, '[') + std::string(64, ']')));
    EXPECT_FALSE(is_json(std::string(65, '[') + std::string(65, ']')));
    EXPECT_TRUE(is_json(std::string(1024, '9')));
    EXPECT_FALSE(is_json(std::string(1025, '9')));
}

TEST(JsonCheckTest, TellsWhereTheMembersAre) {
    const std::string text = R"( {"a" : [1, 2] , "*":[3],"b":"x"} )";
    JsonCheck check;
    ASSERT_TRUE(check.feed(as_byte_view(text)));
    ASSERT_TRUE(check.finish());
    EXPECT_EQ(check.kind(), JsonCheck::Kind::object);
    ASSERT_EQ(check.members().size(), 3u);
    const auto value = [&](std::size_t i) { return text.substr(check.members()[i].value_begin, check.members()[i].value_end - check.members()[i].value_begin); };
    EXPECT_EQ(value(0), "[1, 2]");
    EXPECT_EQ(check.members()[1].key, "*");
    EXPECT_EQ(value(1), "[3]");
    EXPECT_EQ(value(2), "\"x\"");
}

TEST(JsonCheckTest, KeepsFewMembersButAlwaysTheStar) {
    std::string text = "{";
    for (int i = 0; i < 100; ++i) text += "\"k" + std::to_string(i) + "\":1,";
    text += R"("*":[1]})";
    JsonCheck check;
    ASSERT_TRUE(check.feed(as_byte_view(text)));
    ASSERT_TRUE(check.finish());
    EXPECT_EQ(check.member_count(), 101u);
    EXPECT_LT(check.members().size(), 12u);
    EXPECT_EQ(check.members().back().key, "*");
}

}  // namespace
}  // namespace rh::http
