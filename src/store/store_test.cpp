#include "store/store.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/ids.h"
#include "store/database.h"

namespace rh::store {
namespace {

namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
protected:
    StoreTest() { fs::create_directory(folder_); }
    ~StoreTest() override { fs::remove_all(folder_); }

    static Token token(const std::string& name) { return {"id-" + name, name, std::string("\0\xffhash of ", 10) + name, 2, "service", 100, 200, 0}; }

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    const std::string path_ = folder_ + "/store.db";
    const Store store_{path_};
};

TEST_F(StoreTest, LookingMakesNothing) {
    EXPECT_TRUE(store_.tokens().value().empty());
    EXPECT_FALSE(store_.setting("listener").value());
    EXPECT_FALSE(fs::exists(path_));
}

TEST_F(StoreTest, TokensAreKept) {
    ASSERT_TRUE(store_.add(token("b")));
    ASSERT_TRUE(store_.add(token("a")));
    const Result<void> again = store_.add(token("a"));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::name_taken);
    ASSERT_TRUE(store_.note_use("id-a", 150));
    ASSERT_TRUE(store_.remove_token("id-b"));
    ASSERT_TRUE(store_.remove_token("id-none"));
    const std::vector<Token> kept = Store(path_).tokens().value();
    ASSERT_EQ(kept.size(), 1U);
    EXPECT_EQ(kept[0].name, "a");
    EXPECT_EQ(kept[0].hash, token("a").hash);
    EXPECT_EQ(kept[0].scope, 2);
    EXPECT_EQ(kept[0].service, "service");
    EXPECT_EQ(kept[0].created_s, 100);
    EXPECT_EQ(kept[0].expires_s, 200);
    EXPECT_EQ(kept[0].used_s, 150);
    struct stat file {};
    ASSERT_EQ(::stat(path_.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(StoreTest, SettingsAreKeptAndForgotten) {
    ASSERT_TRUE(store_.set("listener", "{\"port\": 1}"));
    ASSERT_TRUE(store_.set("listener", "{\"port\": 2}"));
    EXPECT_EQ(store_.setting("listener").value(), "{\"port\": 2}");
    ASSERT_TRUE(store_.set("listener", std::nullopt));
    EXPECT_FALSE(store_.setting("listener").value());
}

TEST_F(StoreTest, ADamagedFileIsNamed) {
    std::ofstream(path_) << std::string(5000, 'x');
    const auto kept = store_.tokens();
    ASSERT_FALSE(kept);
    EXPECT_EQ(kept.error().code, Code::io);
    EXPECT_NE(kept.error().message.find(path_), std::string::npos);
    EXPECT_NE(kept.error().message.find("store"), std::string::npos);
    EXPECT_FALSE(store_.add(token("a")));
}

// A file of the format before gets the steps that it lacks, once, and keeps what it has.
TEST_F(StoreTest, AnOlderFormatIsBroughtUpToDate) {
    const Format one{"test", 42, "nothing is lost.", {"CREATE TABLE things (name TEXT) STRICT"}};
    const Format two{"test", 42, "nothing is lost.", {"CREATE TABLE things (name TEXT) STRICT", "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7"}};
    const auto count = [](const Database& database) -> Result<std::int64_t> {
        RH_TRY(Statement row, database.prepare("SELECT sum(size) FROM things"));
        RH_TRY_VOID(row.step());
        return row.number(0);
    };
    ASSERT_TRUE(write(one, path_, [](const Database& database) { return database.run("INSERT INTO things VALUES ('a'), ('b')"); }));
    for (int i = 0; i < 2; ++i) {
        const Result<std::int64_t> sum = read(two, path_, std::int64_t{0}, count);
        ASSERT_TRUE(sum) << sum.error().message;
        EXPECT_EQ(*sum, 14);
    }
    const auto newer = read(one, path_, std::int64_t{0}, count);
    ASSERT_FALSE(newer);
    EXPECT_EQ(newer.error().code, Code::unsupported);
    const Format another{"other", 43, "nothing is lost.", one.steps};
    EXPECT_EQ(read(another, path_, std::int64_t{0}, count).error().code, Code::io);
}

}  // namespace
}  // namespace rh::store
