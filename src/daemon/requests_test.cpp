#include "daemon/requests.h"

#include <gtest/gtest.h>

namespace rh::daemon {
namespace {

TEST(AmountTest, TakesWholeNumbersHoweverTheyAreWritten) {
    const Json request = Json::parse(R"({"plain": 3, "pointed": 3.0, "big": 3e2, "none": null, "minus": -0.0})");
    EXPECT_EQ(amount(request, "plain", 7, 300).value(), 3u);
    EXPECT_EQ(amount(request, "pointed", 7, 300).value(), 3u);
    EXPECT_EQ(amount(request, "big", 7, 300).value(), 300u);
    EXPECT_EQ(amount(request, "none", 7, 300).value(), 7u);
    EXPECT_EQ(amount(request, "absent", 7, 300).value(), 7u);
    EXPECT_EQ(amount(request, "minus", 7, 300).value(), 0u);
}

TEST(AmountTest, RefusesEverythingElse) {
    for (const char* const wrong : {"-1", "-1.0", "1.5", "301", "301.0", "1e300", "18446744073709551616", "true", "\"3\"", "[3]"}) {
        const auto asked = amount(Json{{"count", Json::parse(wrong)}}, "count", 7, 300);
        ASSERT_FALSE(asked) << wrong;
        EXPECT_EQ(asked.error().code, Code::bad_arguments);
        EXPECT_EQ(asked.error().message, "the field \"count\" must be a whole number from 0 to 300");
    }
}

}  // namespace
}  // namespace rh::daemon
