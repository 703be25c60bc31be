#include "daemon/tokens.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <gtest/gtest.h>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/listening.h"
#include "daemon/requests.h"

namespace rh::daemon {
namespace {

namespace fs = std::filesystem;
namespace asio = net::asio;
using Clock = std::chrono::steady_clock;

class DoorsTest : public ::testing::Test {
protected:
    DoorsTest() { fs::create_directory(folder_); }
    ~DoorsTest() override { fs::remove_all(folder_); }

    Result<Principal> authenticate(Tokens& tokens, const std::string& text, const std::string& address = "127.0.0.1") {
        std::optional<Result<Principal>> answer;
        asio::co_spawn(context_, tokens.authenticate(text, address), [&](const std::exception_ptr&, Result<Principal> principal) { answer = std::move(principal); });
        context_.restart();
        context_.run();
        return std::move(*answer);
    }

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    const store::Store store_{folder_ + "/store.db"};
    asio::io_context context_{1};
};

TEST_F(DoorsTest, ATokenSaysWhoItIs) {
    Tokens tokens(context_.get_executor(), store_);
    const auto made = tokens.create({"ci", Scope::deploy, "", 0});
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->text.size(), 3U + 43U);
    EXPECT_EQ(made->text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), std::string::npos);
    EXPECT_EQ(made->token.hash.find(made->text.substr(3)), std::string::npos);
    // Also for the next daemon.
    Tokens again(context_.get_executor(), store_);
    for (Tokens* each : {&tokens, &again}) {
        const Result<Principal> known = authenticate(*each, made->text);
        ASSERT_TRUE(known) << known.error().message;
        EXPECT_EQ(known->name, "token:ci");
        EXPECT_EQ(known->scope, Scope::deploy);
    }
    EXPECT_NE(tokens.create({"", Scope::call, "", 0})->text, made->text);
}

TEST_F(DoorsTest, AnythingElseIsNobody) {
    Tokens tokens(context_.get_executor(), store_);
    const std::string right = tokens.create({"ci", Scope::call, "", 0})->text;
    int address = 0;
    for (std::string wrong : {std::string(), std::string("rh_"), right.substr(1), right + " ", right + "A", std::string(1000, 'x'), right.substr(0, right.size() - 1)}) {
        const Result<Principal> known = authenticate(tokens, wrong, std::to_string(++address));
        ASSERT_FALSE(known) << wrong;
        EXPECT_EQ(known.error().code, Code::not_allowed);
        EXPECT_EQ(known.error().message.find("rh_"), std::string::npos);
    }
}

TEST_F(DoorsTest, GuessingGetsSlowForItsAddressAlone) {
    Tokens tokens(context_.get_executor(), store_);
    const std::string right = tokens.create({"ci", Scope::call, "", 0})->text;
    const auto start = Clock::now();
    for (int i = 0; i < 4; ++i) EXPECT_FALSE(authenticate(tokens, "wrong", "10.0.0.1"));
    EXPECT_GE(Clock::now() - start, 15 * limits::k_wrong_token_delay);  // 1 + 2 + 4 + 8
    // No timer runs for a right one.
    std::optional<Result<Principal>> answer;
    asio::co_spawn(context_, tokens.authenticate(right, "10.0.0.1"), [&](const std::exception_ptr&, Result<Principal> principal) { answer = std::move(principal); });
    context_.restart();
    context_.poll();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(*answer);
}

TEST_F(DoorsTest, SoManyWrongOnesWaitAtOnce) {
    Tokens tokens(context_.get_executor(), store_);
    int refused = 0;
    int wrong = 0;
    for (std::size_t i = 0; i < limits::k_wrong_token_waiting_max + 5; ++i) {
        asio::co_spawn(context_, tokens.authenticate("wrong", std::to_string(i)), [&](const std::exception_ptr&, const Result<Principal>& principal) {
            ++(principal.error().code == Code::limit_exceeded ? refused : wrong);
        });
    }
    context_.run();
    EXPECT_EQ(refused, 5);
    EXPECT_EQ(wrong, static_cast<int>(limits::k_wrong_token_waiting_max));
}

TEST_F(DoorsTest, RevokingTellsWhoIsOver) {
    Tokens tokens(context_.get_executor(), store_);
    std::vector<std::string> over;
    tokens.on_end([&](const std::string& principal) { over.push_back(principal); });
    const auto one = tokens.create({"one", Scope::call, "", 0});
    const auto two = tokens.create({"two", Scope::call, "", 0});
    ASSERT_TRUE(tokens.revoke(one->token.id));
    ASSERT_TRUE(tokens.revoke("two"));
    EXPECT_EQ(over, (std::vector<std::string>{"token:one", "token:two"}));
    EXPECT_EQ(tokens.revoke("two").error().code, Code::not_found);
    EXPECT_FALSE(authenticate(tokens, one->text));
    EXPECT_TRUE(Tokens(context_.get_executor(), store_).all().empty());
}

TEST_F(DoorsTest, WhatIsAskedForIsChecked) {
    Tokens tokens(context_.get_executor(), store_);
    ASSERT_TRUE(tokens.create({"ci", Scope::call, "fit", 60}));
    EXPECT_EQ(tokens.create({"ci", Scope::call, "", 0}).error().code, Code::name_taken);
    EXPECT_EQ(tokens.create({"a b", Scope::call, "", 0}).error().code, Code::invalid_name);
    EXPECT_EQ(tokens.create({"", Scope::call, "a b", 0}).error().code, Code::invalid_name);
    EXPECT_EQ(tokens.create({"", Scope::deploy, "fit", 0}).error().code, Code::bad_arguments);
    EXPECT_EQ(tokens.create({"", Scope::call, "", -1}).error().code, Code::bad_arguments);
}

TEST(PrincipalTest, ScopesIncludeThoseBelow) {
    const Principal call{"token:c", Scope::call, ""};
    const Principal deploy{"token:d", Scope::deploy, ""};
    const Principal one{"token:o", Scope::call, "fit"};
    EXPECT_TRUE(call.may(Scope::call, "to look"));
    EXPECT_FALSE(call.may(Scope::deploy, "to deploy"));
    EXPECT_TRUE(deploy.may(Scope::call, "to look"));
    EXPECT_FALSE(deploy.may(Scope::admin, "to stop"));
    EXPECT_NE(deploy.may(Scope::admin, "to stop").error().message.find("needs admin to stop"), std::string::npos);
    EXPECT_FALSE(one.may(Scope::call, "to look"));
    EXPECT_TRUE(one.may_call("fit"));
    EXPECT_FALSE(one.may_call("fits"));
    EXPECT_TRUE(call.may_call("fit"));
    EXPECT_FALSE(call.may_call("roundhouse-webhooks"));
    EXPECT_FALSE(call.may_call("roundhouse-run-stores"));
    EXPECT_FALSE(call.may_pickle());
    EXPECT_TRUE(deploy.may_pickle());
}

TEST_F(DoorsTest, ListeningComesBack) {
    Listening first(context_.get_executor(), store_, folder_);
    EXPECT_TRUE(first.description().empty());
    const Result<void> listens = first.listen(Json::object({{"port", 0U}}));
    ASSERT_TRUE(listens) << listens.error().message;
    const Json described = first.description();
    EXPECT_EQ(described["host"], "127.0.0.1");
    EXPECT_EQ(described["tls"], false);
    EXPECT_TRUE(described["pin"].is_null());
    // The same port again is no conflict with itself.
    ASSERT_TRUE(first.listen(Json::object({{"port", described["port"]}, {"tls", true}})));
    const Json secure = first.description();
    EXPECT_EQ(secure["port"], described["port"]);
    EXPECT_EQ(secure["tls"], true);
    Listening second(context_.get_executor(), store_, folder_);
    second.restore();
    EXPECT_TRUE(second.description().empty()) << "the port is taken";
    first.stop();
    second.restore();
    EXPECT_EQ(second.description(), secure);
    ASSERT_TRUE(second.unlisten());
    second.stop();
    Listening third(context_.get_executor(), store_, folder_);
    third.restore();
    EXPECT_TRUE(third.description().empty());
    third.stop();
}

TEST_F(DoorsTest, ListeningRefuses) {
    Listening listening(context_.get_executor(), store_, folder_);
    for (const Json& request : {Json::object({{"host", "0.0.0.0"}, {"tls", false}}), Json::object({{"host", "192.0.2.1"}, {"tls", false}}), Json::object({{"host", "::"}, {"tls", false}})})
        EXPECT_EQ(listening.listen(request).error().code, Code::not_allowed) << request.dump();
    for (const Json& request : {Json::object({{"host", "example.org"}}), Json::object({{"port", 70000U}}), Json::object({{"port", "80"}}), Json::object({{"port", -1}}), Json::object({{"certificate", "/a"}}), Json::object({{"key", "/a"}}),
                                Json::object({{"tls", false}, {"certificate", "/a"}, {"key", "/b"}}), Json::object({{"names", "box"}}), Json::object({{"tls", 1}}), Json::object({{"tls", true}, {"names", {"a b"}}})})
        EXPECT_EQ(listening.listen(request).error().code, Code::bad_arguments) << request.dump();
    EXPECT_TRUE(listening.description().empty());
    EXPECT_FALSE(fs::exists(folder_ + "/store.db"));
    listening.stop();
}

}  // namespace
}  // namespace rh::daemon
