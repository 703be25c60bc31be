#include "base/result.h"

#include <cerrno>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <set>
#include <unistd.h>

#include "base/bug.h"
#include "base/fd.h"

namespace rh {
namespace {

TEST(Code, EachHasAWordAndANumberThatComesBack) {
    std::set<std::string_view> words;
    for (std::uint16_t number = 0; number <= static_cast<std::uint16_t>(Code::code_sync); ++number) {
        words.insert(code_name(static_cast<Code>(number)));
        EXPECT_EQ(code_from_number(number), static_cast<Code>(number));
    }
    EXPECT_EQ(words.size(), 22u);
    EXPECT_EQ(code_from_number(22), Code::unknown);
    EXPECT_EQ(code_from_number(0xffffffff), Code::unknown);
    EXPECT_EQ(code_type(Code::not_found), "NotFound");
    EXPECT_EQ(code_type(Code::protocol), "ProtocolError");
    EXPECT_EQ(code_type(static_cast<Code>(999)), "RoundhouseError");
    EXPECT_EQ(code_name(static_cast<Code>(999)), "unknown");
}

TEST(Code, EachHasATypeAStatusAndAnExitCode) {
    std::set<std::string_view> types;
    for (std::uint16_t number = 0; number <= static_cast<std::uint16_t>(Code::code_sync); ++number) {
        const auto code = static_cast<Code>(number);
        types.insert(code_type(code));
        EXPECT_GE(code_http_status(code), 400);
        EXPECT_LT(code_http_status(code), 600);
        EXPECT_NE(code_exit(code), 0);
        EXPECT_LT(code_exit(code), 126);
    }
    EXPECT_EQ(types.size(), 22u);  // an error can be told by its type alone
    EXPECT_EQ(code_http_status(Code::out_of_memory), 502);
    EXPECT_EQ(code_http_status(static_cast<Code>(999)), 500);
    EXPECT_EQ(code_exit(Code::timeout), 124);
}

TEST(Code, NumbersAreThoseOnTheWire) {
    EXPECT_EQ(static_cast<int>(Code::not_found), 1);
    EXPECT_EQ(static_cast<int>(Code::worker_died), 8);
    EXPECT_EQ(static_cast<int>(Code::node_lost), 9);
    EXPECT_EQ(static_cast<int>(Code::protocol), 14);
    EXPECT_EQ(static_cast<int>(Code::unsupported), 18);
    EXPECT_EQ(static_cast<int>(Code::run_conflict), 19);
    EXPECT_EQ(static_cast<int>(Code::damaged), 20);
    EXPECT_EQ(static_cast<int>(Code::code_sync), 21);
}

TEST(Error, CarriesFacts) {
    const Error error = Error(Code::worker_died, "it died").with("signal", "9").with("started", "yes");
    EXPECT_EQ(error.fact("signal"), "9");
    EXPECT_EQ(error.fact("started"), "yes");
    EXPECT_EQ(error.fact("exit_code"), "");
}

TEST(Error, OfTheSystemHasItsWords) {
    const Error error = os_error("cannot open /x", ENOENT);
    EXPECT_EQ(error.code, Code::io);
    EXPECT_EQ(error.message, "cannot open /x: No such file or directory");
    EXPECT_EQ(error.fact("errno"), std::to_string(ENOENT));
}

Result<int> half(int number) {
    if (number % 2 != 0) return fail(Code::bad_arguments, "odd");
    return number / 2;
}

Result<int> quarter(int number) {
    RH_TRY(const int once, half(number));
    RH_TRY(const int twice, half(once));
    return twice;
}

TEST(Result, TryPassesErrorsOn) {
    EXPECT_EQ(quarter(12).value(), 3);
    EXPECT_EQ(quarter(6).error().message, "odd");
}

TEST(BugDeathTest, SaysWhereAndAborts) {
    RH_CHECK(1 + 1 == 2);
    EXPECT_DEATH(RH_CHECK(1 + 1 == 3), "expected `1 \\+ 1 == 3` at .*result_test.cpp");
    EXPECT_EQ(bug_error("x", "file.cpp", 7).code, Code::internal);
}

TEST(Fd, ClosesWhatItOwnsOnce) {
    const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int copy = ::dup(null.get());
    {
        Fd owner(copy);
        const Fd next(std::move(owner));
        EXPECT_FALSE(owner);  // NOLINT(bugprone-use-after-move): that is the promise
        EXPECT_EQ(next.get(), copy);
        EXPECT_NE(::fcntl(copy, F_GETFD), -1);
    }
    EXPECT_EQ(::fcntl(copy, F_GETFD), -1);
    Fd given(::dup(null.get()));
    const int raw = given.release();
    EXPECT_FALSE(given);
    EXPECT_EQ(::close(raw), 0);
}

}  // namespace
}  // namespace rh
