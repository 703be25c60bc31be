// Scans that follow each other, and files that do not keep still.

#include <array>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "sync/index.h"
#include "sync/tree_test.h"

namespace rh::sync {
namespace {

namespace fs = std::filesystem;

class ScanChangesTest : public TreeTest {
protected:
    ScanChangesTest() { options_.index_path = outside_ + "/index"; }

    bool is_settled_now(const std::string& name) const {
        struct stat status {};
        timespec now{};
        EXPECT_EQ(::lstat(path(name).c_str(), &status), 0);
        ::clock_gettime(CLOCK_REALTIME, &now);
        return is_settled(Stamp::of(status), now.tv_sec * 1'000'000'000 + now.tv_nsec);
    }
    // Until whatever changes a file from now on must show in its stamp.
    void settle(const std::string& name) const {
        while (!is_settled_now(name)) {
            const timespec moment{0, 5'000'000};
            ::nanosleep(&moment, nullptr);
        }
    }

    static Result<std::string> content(const Scanned& of, std::size_t at) {
        RH_TRY(Content content, Content::open(of, at));
        std::string text;
        std::array<std::byte, 7> piece;
        for (;;) {
            RH_TRY(const std::size_t count, content.read(piece));
            if (count == 0) return text;
            text += as_text({piece.data(), count});
        }
    }
    static std::string changed(const Result<std::string>& read) {
        EXPECT_FALSE(read);
        if (read) return {};
        EXPECT_EQ(read.error().code, Code::code_sync);
        return std::string(read.error().fact("changed"));
    }

    struct stat index_status() const {
        struct stat status {};
        EXPECT_EQ(::stat(options_.index_path.c_str(), &status), 0);
        return status;
    }
};

TEST_F(ScanChangesTest, WhatHasNotChangedIsNotReadAgain) {
    write("a", "one");
    write("b/c", "two");
    link("d", "a");
    settle("b/c");
    const Scanned first = scanned();
    EXPECT_EQ(first.hashed_files, 2u);
    const auto written = index_status();
    const Scanned second = scanned();
    EXPECT_EQ(second.hashed_files, 0u);
    EXPECT_EQ(second.manifest, first.manifest);
    EXPECT_EQ(index_status().st_ino, written.st_ino) << "nothing has changed, and the index was written";

    write("b/c", "2wo");  // the same size
    write("b/new", "new");
    settle("b/new");
    const Scanned third = scanned();
    EXPECT_EQ(third.hashed_files, 2u);
    EXPECT_EQ(entry(third, "b/c")->digest, digest_of(as_byte_view("2wo")));
    EXPECT_EQ(scanned().hashed_files, 0u);

    fs::remove(path("a"));
    fs::remove(path("d"));
    EXPECT_EQ(paths(scanned()), (Names{"b/c", "b/new"}));
    EXPECT_EQ(scanned().hashed_files, 0u);
}

// Its size and its time of modification are set back, as `touch -r` or an archive does it; that of its inode cannot be.
TEST_F(ScanChangesTest, AChangeThatHidesIsFound) {
    write("a", "one");
    settle("a");
    struct stat before {};
    ASSERT_EQ(::stat(path("a").c_str(), &before), 0);
    EXPECT_EQ(scanned().hashed_files, 1u);
    write("a", "two");
    const timespec times[] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, path("a").c_str(), times, 0), 0);
    EXPECT_EQ(entry(scanned(), "a")->digest, digest_of(as_byte_view("two")));
    // And another file in its place.
    write("b", "six");
    settle("b");
    scanned();
    fs::rename(path("b"), path("a"));
    EXPECT_EQ(entry(scanned(), "a")->digest, digest_of(as_byte_view("six")));
}

// Written and scanned within one tick of the clock, again and again: no change is ever missed. Some kernels give each change that
// somebody has looked at a time of its own; so what counts on all of them is that the index does not keep what is so young.
TEST_F(ScanChangesTest, QuickChangesAreFound) {
    int young = 0;
    for (int at = 0; at < 300; ++at) {
        const std::string text = std::to_string(1'000 + at);
        {
            std::fstream file(path("a"), std::ios::in | std::ios::out | (at == 0 ? std::ios::trunc : std::ios::openmode{}));
            file << text;
        }
        ASSERT_EQ(entry(scanned(), "a")->digest, digest_of(as_byte_view(text)));
        if (is_settled_now("a")) continue;
        ASSERT_EQ(Index::read(options_.index_path).size(), 0u);
        ++young;
    }
    EXPECT_GT(young, 0);
}

TEST_F(ScanChangesTest, AnIndexThatCannotBeUsedCostsTimeAndNothingElse) {
    write("a", "one");
    settle("a");
    std::ofstream(options_.index_path) << "not an index";
    EXPECT_EQ(scanned().hashed_files, 1u);
    EXPECT_EQ(scanned().hashed_files, 0u);
    options_.index_path = outside_ + "/nowhere/index";
    const Scanned found = scanned();
    EXPECT_EQ(found.hashed_files, 1u);
    EXPECT_NE(found.index_trouble.find("No such file"), std::string::npos) << found.index_trouble;
}

TEST_F(ScanChangesTest, LooseFilesHaveAnIndexToo) {
    write("a", "one");
    settle("a");
    const auto look = [&] { return scan_files({{"pkg/a.py", path("a")}}, options_.index_path); };
    EXPECT_EQ(look()->hashed_files, 1u);
    EXPECT_EQ(look()->hashed_files, 0u);
}

TEST_F(ScanChangesTest, WhatGoesDuringAScanIsAsIfItHadNeverBeen) {
    write("a", "one");
    write("b", "two");
    write("c/d", "three");
    write("e", "five");
    // The first report comes when a is read; by then all of them were found.
    const auto meanwhile = [&](const ScanProgress& progress) {
        if (progress.files_hashed == 1) {
            fs::remove(path("b"));
            fs::remove_all(path("c"));
            fs::create_directory_symlink("/etc", path("c"));
            fs::remove(path("e"));
            fs::create_symlink("/etc/passwd", path("e"));
        }
        return true;
    };
    const Result<Scanned> found = scan(options_, meanwhile);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(paths(*found), Names{"a"});
    EXPECT_EQ(found->bytes, 3u);
    EXPECT_TRUE(found->left_out.empty());
}

TEST_F(ScanChangesTest, ContentIsReadAgainAsItWasScanned) {
    write("a", std::string(1'000, 'a'));
    write("b", "");
    write("../outside", "from outside");
    link("c", "../outside");
    const Scanned found = scanned();
    EXPECT_EQ(content(found, 0).value(), std::string(1'000, 'a'));
    EXPECT_EQ(content(found, 1).value(), "");
    EXPECT_EQ(content(found, 2).value(), "from outside");
    const auto loose = scan_files({{"x/y", path("a")}}, {});
    ASSERT_TRUE(loose);
    EXPECT_EQ(content(*loose, 0).value(), std::string(1'000, 'a'));
}

TEST_F(ScanChangesTest, ContentThatHasChangedSinceIsNotSentAsIfItHadNot) {
    write("grown", "one");
    write("other", "one");
    write("shorter", "one");
    write("gone", "one");
    write("folder", "one");
    const Scanned found = scanned();
    ASSERT_EQ(paths(found), (Names{"folder", "gone", "grown", "other", "shorter"}));
    write("grown", "one more line of a log");  // what was scanned is still there, and is what is sent
    write("other", "two");
    write("shorter", "on");
    fs::remove(path("gone"));
    fs::remove(path("folder"));
    fs::create_directory(path("folder"));
    EXPECT_EQ(content(found, 2).value(), "one");
    EXPECT_EQ(changed(content(found, 3)), "other");
    EXPECT_EQ(changed(content(found, 4)), "shorter");
    EXPECT_EQ(changed(content(found, 1)), "gone");
    EXPECT_EQ(changed(content(found, 0)), "folder");
}

}  // namespace
}  // namespace rh::sync
