#include "process/node_folder.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "process/local_socket.h"

namespace rh::process {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class NodeFolderTest : public ::testing::Test {
protected:
    NodeFolderTest() {
        std::string made = (fs::temp_directory_path() / "rh-folder-XXXXXX").string();
        folder_ = ::mkdtemp(made.data());
    }
    ~NodeFolderTest() override { fs::remove_all(folder_); }

    std::string path(const std::string& name) const { return folder_ + "/" + name; }

    static bool names(const Error& error, const std::string& text) { return error.message.find(text) != std::string::npos; }

    Fd listen_at(const std::string& at) const {
        Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        at.copy(address.sun_path, at.size());
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(socket.get(), 1), 0);
        return socket;
    }

    std::string folder_;
};

TEST_F(NodeFolderTest, MakesPrivateFoldersAllTheWay) {
    ASSERT_TRUE(make_private_folder(path("a/b/c")));
    ASSERT_TRUE(make_private_folder(path("a/b/c")));
    struct stat made {};
    ASSERT_EQ(::stat(path("a/b").c_str(), &made), 0);
    EXPECT_EQ(made.st_mode & 0777u, 0700u);
}

TEST_F(NodeFolderTest, RefusesAFolderThatIsOpenOrALinkOrAFile) {
    fs::create_directory(path("open"));
    ::chmod(path("open").c_str(), 0755);
    fs::create_directory_symlink(folder_, path("link"));
    std::ofstream(path("file")) << "x";
    for (const char* name : {"open", "link", "file"}) {
        const auto result = make_private_folder(path(name));
        ASSERT_FALSE(result) << name;
        EXPECT_EQ(result.error().code, Code::not_allowed);
        EXPECT_TRUE(names(result.error(), path(name))) << result.error().message;
    }
}

TEST_F(NodeFolderTest, RefusesAnotherUsersFolderAndSocket) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
    ASSERT_TRUE(make_private_folder(path("theirs")));
    ASSERT_EQ(::chown(path("theirs").c_str(), 4242, 4242), 0);
    const auto folder = check_private_folder(path("theirs"));
    ASSERT_FALSE(folder);
    EXPECT_EQ(folder.error().code, Code::not_allowed);
    EXPECT_TRUE(names(folder.error(), "belongs to user 4242")) << folder.error().message;

    const Fd listener = listen_at(path("their.sock"));
    ASSERT_EQ(::lchown(path("their.sock").c_str(), 4242, 4242), 0);
    const auto accepts = accepts_connections(path("their.sock"));
    ASSERT_FALSE(accepts);
    EXPECT_EQ(accepts.error().code, Code::not_allowed);
    EXPECT_TRUE(names(accepts.error(), path("their.sock") + " belongs to user 4242")) << accepts.error().message;
    ASSERT_FALSE(remove_stale_socket(path("their.sock")));
    EXPECT_TRUE(fs::exists(path("their.sock")));
}

TEST_F(NodeFolderTest, TellsAListeningSocketFromAStaleOne) {
    const std::string at = path("d.sock");
    EXPECT_FALSE(accepts_connections(at).value());
    EXPECT_TRUE(remove_stale_socket(at));
    {
        const Fd listener = listen_at(at);
        EXPECT_TRUE(accepts_connections(at).value());
        EXPECT_TRUE(remove_stale_socket(at));
        // The queue of one is full now, and still somebody listens.
        for (int i = 0; i < 4; ++i) EXPECT_TRUE(accepts_connections(at).value());
    }
    EXPECT_FALSE(accepts_connections(at).value());
    ASSERT_TRUE(fs::exists(at));
    EXPECT_TRUE(remove_stale_socket(at));
    EXPECT_FALSE(fs::exists(at));
    std::ofstream(path("d.sock")) << "not a socket";
    EXPECT_EQ(accepts_connections(at).error().code, Code::not_allowed);
    EXPECT_EQ(remove_stale_socket(at).error().code, Code::not_allowed);
}

TEST_F(NodeFolderTest, RefusesASocketPathThatIsTooLong) {
    const std::string longest(k_socket_path_bytes_max, 'x');
    EXPECT_TRUE(check_socket_path(longest));
    const auto result = accepts_connections(longest + "x");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::invalid_name);
    EXPECT_TRUE(names(result.error(), "at most 107")) << result.error().message;
}

TEST_F(NodeFolderTest, LocksAgainstOthersAndOutlivesAFork) {
    auto lock = FileLock::try_take(path("lock"));
    ASSERT_TRUE(lock && *lock);
    EXPECT_FALSE(FileLock::try_take(path("lock")).value());
    const auto late = FileLock::take(path("lock"), steady_clock::now() + milliseconds(20));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::timeout);
    const pid_t child = ::fork();
    if (child == 0) {
        ::pause();
        ::_exit(0);
    }
    lock->reset();
    EXPECT_FALSE(FileLock::try_take(path("lock")).value()) << "the child holds it still";
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(FileLock::try_take(path("lock")).value());
}

TEST_F(NodeFolderTest, ARemovedLockProtectsNothing) {
    auto first = FileLock::take(path("lock"), steady_clock::now());
    ASSERT_TRUE(first);
    first->remove();
    auto second = FileLock::try_take(path("lock"));
    ASSERT_TRUE(second && *second) << "a new file, whoever holds the old one";
    EXPECT_TRUE(fs::exists(path("lock")));
}

TEST_F(NodeFolderTest, KeepsTheKeepersRecord) {
    EXPECT_FALSE(read_keeper_record(folder_));
    auto lock = FileLock::take(keeper_lock_path(folder_), steady_clock::now());
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->content(), "");
    ASSERT_TRUE(lock->set_content(format_keeper_record({4711, 123456, "/tmp/a b.sock"})));
    const auto record = read_keeper_record(folder_);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->pid, 4711);
    EXPECT_EQ(record->start_time, 123456u);
    EXPECT_EQ(record->socket_path, "/tmp/a b.sock");
    for (const char* wrong : {"", "\n", "1 2\n/x\n", "12 3", "12 3\n", "12 3\n/x", "x 3\n/x\n", "12 \n/x\n", "-5 3\n/x\n", "12\n/x y\n"})
        EXPECT_FALSE(parse_keeper_record(wrong)) << wrong;
}

TEST_F(NodeFolderTest, SaysWhatToTryOnAFullOrReadOnlyDisk) {
    ASSERT_EQ(::mkdir(path("disk").c_str(), 0700), 0);
    if (::mount("none", path("disk").c_str(), "tmpfs", 0, "size=4k,mode=0700") != 0) GTEST_SKIP() << "only root can make a full disk";
    std::ofstream(path("disk/filler")) << std::string(4096, 'x');
    auto lock = FileLock::take(path("disk/lock"), steady_clock::now());
    ASSERT_TRUE(lock);
    const auto full = lock->set_content("123");
    lock = fail(Code::unknown, "");  // an open file would keep the disk writable
    ::mount("none", path("disk").c_str(), "", MS_REMOUNT | MS_RDONLY, "");
    const auto read_only = make_private_folder(path("disk/new"));
    const auto no_lock = FileLock::try_take(path("disk/new.lock"));
    ::umount2(path("disk").c_str(), MNT_DETACH);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code, Code::io);
    EXPECT_EQ(full.error().fact("errno"), std::to_string(ENOSPC));
    EXPECT_TRUE(names(full.error(), "no space left on device: " + path("disk/lock"))) << full.error().message;
    EXPECT_TRUE(names(full.error(), "set ROUNDHOUSE_STATE"));
    if (read_only) GTEST_SKIP() << "this kernel does not remount read-only";
    EXPECT_TRUE(names(read_only.error(), "read-only file system: " + path("disk/new"))) << read_only.error().message;
    ASSERT_FALSE(no_lock);
    EXPECT_EQ(no_lock.error().fact("errno"), std::to_string(EROFS));
}

TEST_F(NodeFolderTest, ReadsTheEndOfALog) {
    std::ofstream(path("log")) << "0123456789";
    EXPECT_EQ(file_tail(path("log"), 4), "6789");
    EXPECT_EQ(file_tail(path("log"), 100), "0123456789");
    EXPECT_EQ(file_tail(path("log"), 100, 8), "89");
    EXPECT_EQ(file_tail(path("log"), 100, 10), "");
    EXPECT_EQ(file_tail(path("none"), 100), "");
}

}  // namespace
}  // namespace rh::process
