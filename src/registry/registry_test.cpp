#include "registry/registry.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <atomic>
#include <csignal>
#include <iterator>
#include <thread>

#include <fmt/format.h>

namespace rh::registry {
namespace {

namespace fs = std::filesystem;

class RegistryTest : public ::testing::Test {
protected:
    RegistryTest() : folder_(made()), registry_(folder_ + "/state/registry.db") {}
    ~RegistryTest() override { fs::remove_all(folder_); }

    static std::string made() {
        std::string path = "/tmp/rh-registry-XXXXXX";
        return ::mkdtemp(path.data());
    }
    void write_file(const std::string& text) const {
        fs::create_directories(folder_ + "/state");
        std::ofstream(registry_.path()) << text;
    }
    std::string read_file() const {
        std::ifstream file(registry_.path());
        return {std::istreambuf_iterator<char>(file), {}};
    }

    std::string folder_;
    Registry registry_;
};

SavedCluster box(const std::string& name = "box", const std::string& config = "{}") { return {name, "local", config, name}; }

mode_t mode_of(const std::string& path) {
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 0777 : 0;
}

// What a child process returns from `work`, which must not throw.
template <class Work>
pid_t in_child(Work work) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(work());
    return child;
}
int end_of(pid_t child) {
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(RegistryTest, LookingMakesNothing) {
    EXPECT_TRUE(registry_.clusters().value().empty());
    EXPECT_FALSE(registry_.find_cluster("box").value());
    EXPECT_FALSE(registry_.find_service("fit").value());
    EXPECT_TRUE(registry_.settings().value().empty());
    EXPECT_FALSE(registry_.forget_cluster("box").value());
    EXPECT_FALSE(registry_.rename_cluster("box", "crate").value());
    EXPECT_TRUE(registry_.change_settings({}));
    EXPECT_FALSE(fs::exists(folder_ + "/state"));
}

TEST_F(RegistryTest, KeepsClusters) {
    ASSERT_TRUE(registry_.save(box("zoo", R"({"num_cpus":"4+"})"), false));
    ASSERT_TRUE(registry_.save(box(), false));
    const auto found = registry_.find_cluster("zoo").value();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->launcher, "local");
    EXPECT_EQ(found->config, R"({"num_cpus":"4+"})");
    EXPECT_EQ(found->state_key, "zoo");
    EXPECT_GT(found->saved_at_s, 1'600'000'000);
    const auto all = registry_.clusters().value();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].name, "box");

    const auto again = registry_.save(box("zoo"), false);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::name_taken);
    EXPECT_EQ(registry_.find_cluster("zoo").value()->config, R"({"num_cpus":"4+"})");
    ASSERT_TRUE(registry_.save(box("zoo"), true));
    EXPECT_EQ(registry_.find_cluster("zoo").value()->config, "{}");

    EXPECT_TRUE(registry_.forget_cluster("zoo").value());
    EXPECT_FALSE(registry_.forget_cluster("zoo").value());
    EXPECT_FALSE(registry_.find_cluster("zoo").value());
}

TEST_F(RegistryTest, TextsAreKeptAsTheyAre) {
    const std::string odd = "it's \"quoted\"; DROP TABLE clusters; \xc3\xa9 " + std::string("a\0b", 3);
    ASSERT_TRUE(registry_.save(box("box", odd), true));
    EXPECT_EQ(registry_.find_cluster("box").value()->config, odd);
}

TEST_F(RegistryTest, ServicesFollowTheirCluster) {
    ASSERT_TRUE(registry_.save(box(), false));
    ASSERT_TRUE(registry_.save(box("crate"), false));
    ASSERT_TRUE(registry_.save(SavedService{"fit", "box", "fit-1", "function"}, false));
    ASSERT_TRUE(registry_.save(SavedService{"gone", "crate", "gone", "class"}, false));
    EXPECT_EQ(registry_.save(SavedService{"fit", "box", "other", "class"}, false).error().code, Code::name_taken);
    ASSERT_TRUE(registry_.rename_cluster("box", "crate").value());
    EXPECT_FALSE(registry_.find_cluster("box").value());
    EXPECT_EQ(registry_.clusters().value().size(), 1U);
    const auto fit = registry_.find_service("fit").value();
    ASSERT_TRUE(fit);
    EXPECT_EQ(fit->cluster, "crate");
    EXPECT_EQ(fit->service, "fit-1");
    EXPECT_EQ(fit->kind, "function");
    EXPECT_FALSE(registry_.find_service("gone").value()) << "it was the other crate's";
    EXPECT_TRUE(registry_.rename_cluster("crate", "crate").value());
    EXPECT_TRUE(registry_.forget_cluster("crate").value());
    EXPECT_TRUE(registry_.services().value().empty());
    EXPECT_FALSE(registry_.forget_service("fit").value());
}

TEST_F(RegistryTest, KeepsSettings) {
    ASSERT_TRUE(registry_.change_settings({{"launcher", "\"local\""}, {"autostop", "60"}}));
    ASSERT_TRUE(registry_.change_settings({{"launcher", std::nullopt}, {"autostop", "5"}, {"never-there", std::nullopt}}));
    EXPECT_EQ(registry_.settings().value(), (std::map<std::string, std::string>{{"autostop", "5"}}));
}

TEST_F(RegistryTest, NobodyElseCanReadIt) {
    ::umask(0);
    ASSERT_TRUE(registry_.save(box(), false));
    ::umask(022);
    EXPECT_EQ(mode_of(registry_.path()), 0600U);
    EXPECT_EQ(mode_of(folder_ + "/state"), 0700U);
    ::chmod(registry_.path().c_str(), 0644);
    ASSERT_TRUE(registry_.save(box(), true));
    EXPECT_EQ(mode_of(registry_.path()), 0600U);
}

TEST_F(RegistryTest, ManyProcessesAndThreadsWriteAtOnce) {
    constexpr int k_processes = 6, k_threads = 2, k_saves = 10;
    std::vector<pid_t> children;
    // The file is not there yet: they race to make it as well.
    for (int process = 0; process < k_processes; ++process) {
        children.push_back(in_child([&] {
            std::vector<std::thread> threads;
            std::atomic<int> failures = 0;
            for (int thread = 0; thread < k_threads; ++thread) {
                threads.emplace_back([&, thread] {
                    for (int i = 0; i < k_saves; ++i) {
                        const auto saved = registry_.save(box(fmt::format("box-{}-{}-{}", process, thread, i)), false);
                        const auto read = registry_.clusters();
                        if (!saved) ADD_FAILURE() << saved.error().message;
                        if (!read) ADD_FAILURE() << read.error().message;
                        if (!saved || !read) ++failures;
                    }
                });
            }
            for (auto& thread : threads) thread.join();
            return failures.load();
        }));
    }
    for (const pid_t child : children) EXPECT_EQ(end_of(child), 0);
    EXPECT_EQ(registry_.clusters().value().size(), static_cast<std::size_t>(k_processes * k_threads * k_saves));
}

TEST_F(RegistryTest, AWriterThatIsKilledLeavesWhatWasThere) {
    ASSERT_TRUE(registry_.save(box(), false));
    const pid_t child = in_child([&] {
        for (int i = 0;; ++i) {
            if (!registry_.save(box(fmt::format("box-{}", i)), true)) return 1;
        }
    });
    for (int tries = 0; registry_.clusters().value().size() < 3 && tries < 10'000; ++tries) std::this_thread::yield();
    ::kill(child, SIGKILL);
    EXPECT_EQ(end_of(child), 128 + SIGKILL);
    EXPECT_TRUE(registry_.find_cluster("box").value());
    EXPECT_TRUE(registry_.save(box("after"), false));
}

TEST_F(RegistryTest, AFileThatIsNoRegistryIsNamedAndLeftAlone) {
    const std::string text = "this is not a database, and long enough to be taken for one: " + std::string(4096, '.');
    write_file(text);
    for (const auto& result : {registry_.save(box(), true), Result<void>(registry_.clusters().map([](const auto&) {}))}) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::io);
        EXPECT_NE(result.error().message.find(registry_.path()), std::string::npos) << result.error().message;
        EXPECT_NE(result.error().message.find("damaged"), std::string::npos) << result.error().message;
    }
    EXPECT_EQ(read_file(), text);
}

TEST_F(RegistryTest, ADamagedRegistryIsNamedAndLeftAlone) {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(registry_.save(box(fmt::format("box-{}", i), std::string(5000, 'x')), false));
    std::string text = read_file();
    ASSERT_GT(text.size(), 64U * 1024);
    // The header stays, so that it looks like one until its pages are read.
    for (std::size_t i = 100; i < text.size(); ++i) text[i] = static_cast<char>(i * 31);
    write_file(text);
    const auto result = registry_.clusters();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::io);
    EXPECT_NE(result.error().message.find(registry_.path()), std::string::npos) << result.error().message;
    EXPECT_FALSE(registry_.save(box(), true));
    EXPECT_EQ(read_file(), text);
}

TEST_F(RegistryTest, AnotherProgramsTablesAreLeftAlone) {
    fs::create_directories(folder_ + "/state");
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(registry_.path().c_str(), &other), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(other, "CREATE TABLE cookies (host TEXT)", nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(other);
    EXPECT_FALSE(registry_.save(box(), true));
    EXPECT_FALSE(registry_.clusters());
}

TEST_F(RegistryTest, ANewerFormatIsRefused) {
    ASSERT_TRUE(registry_.save(box(), true));
    sqlite3* newer = nullptr;
    ASSERT_EQ(sqlite3_open(registry_.path().c_str(), &newer), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(newer, "PRAGMA user_version = 7", nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(newer);
    const auto result = registry_.find_cluster("box");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::unsupported);
    EXPECT_NE(result.error().message.find("upgrade"), std::string::npos);
    EXPECT_EQ(registry_.save(box(), true).error().code, Code::unsupported);
}

TEST_F(RegistryTest, AnEmptyFileIsANewRegistry) {
    write_file("");
    EXPECT_TRUE(registry_.clusters().value().empty());
    EXPECT_TRUE(registry_.save(box(), false));
    EXPECT_TRUE(registry_.find_cluster("box").value());
}

// Runs `work` as a user who may not write here.
template <class Work>
int as_nobody(Work work) {
    return end_of(in_child([&] {
        if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 100;
        return work();
    }));
}

TEST_F(RegistryTest, AFolderThatCannotBeWrittenIsNamed) {
    fs::create_directories(folder_ + "/state");
    ::chmod(folder_.c_str(), 0755);
    ::chmod((folder_ + "/state").c_str(), 0555);
    EXPECT_EQ(as_nobody([&] {
                  if (!registry_.clusters()) return 1;
                  const auto saved = registry_.save(box(), true);
                  if (saved) return 2;
                  if (saved.error().code != Code::not_allowed) return 3;
                  return saved.error().message.find(registry_.path()) == std::string::npos ? 4 : 0;
              }),
              0);
    ::chmod((folder_ + "/state").c_str(), 0700);
    EXPECT_FALSE(fs::exists(registry_.path()));
}

TEST_F(RegistryTest, AnotherUsersRegistryIsNotRead) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can be two users";
    ASSERT_TRUE(registry_.save(box(), true));
    for (const auto& path : {folder_, folder_ + "/state"}) ::chmod(path.c_str(), 0777);
    ::chmod(registry_.path().c_str(), 0666);
    EXPECT_EQ(as_nobody([&] {
                  const auto read = registry_.clusters();
                  const auto saved = registry_.save(box(), true);
                  return !read && read.error().code == Code::not_allowed && !saved && saved.error().code == Code::not_allowed ? 0 : 1;
              }),
              0);
}

}  // namespace
}  // namespace rh::registry
