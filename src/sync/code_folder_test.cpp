#include "sync/code_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/ids.h"
#include "base/limits.h"

namespace rh::sync {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const fs::path& path, std::string_view text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

struct Project {
    Manifest manifest;
    std::vector<std::string> contents;  // of the entries

    void add(std::string path, std::string content, EntryKind kind = EntryKind::file) {
        Entry entry;
        entry.path = std::move(path);
        entry.kind = kind;
        if (kind == EntryKind::link) {
            entry.target = content;
        } else {
            entry.bytes = content.size();
            entry.digest = digest_of(as_byte_view(content));
        }
        manifest.entries.push_back(std::move(entry));
        contents.push_back(std::move(content));
    }
    Bytes encoded() const { return encode(manifest); }
    Digest id() const { return id_of(encoded().view()); }
};

class CodeFolderTest : public testing::Test {
protected:
    CodeFolderTest() : base_(fs::temp_directory_path() / ("code-folder-" + random_hex(8))), path_(base_ / "code"), folder_(path_.string()) { fs::create_directories(base_); }
    ~CodeFolderTest() override { fs::remove_all(base_); }

    Result<void> put(const std::string& content) { return folder_.put({digest_of(as_byte_view(content)), content.size(), 0, as_byte_view(content)}); }

    // As a client sends it.
    Digest sync(const Project& project, std::string_view name = "project") {
        const Bytes encoded = project.encoded();
        const Digest id = id_of(encoded.view());
        EXPECT_TRUE(folder_.put_manifest(id, encoded.view()));
        const auto absent = folder_.absent(id, name);
        EXPECT_TRUE(absent);
        for (const std::size_t at : *absent) EXPECT_TRUE(put(project.contents[at]));
        const auto made = folder_.make(id, name);
        EXPECT_TRUE(made) << made.error().message;
        EXPECT_TRUE(made->empty());
        return id;
    }

    fs::path of(const Digest& id) const { return snapshot_path(path_.string(), id.hex()); }
    fs::path content(const std::string& text) const {
        const std::string hex = digest_of(as_byte_view(text)).hex();
        return path_ / "files" / hex.substr(0, 2) / hex;
    }
    // Nothing of it is asked for any more, for a long time.
    void age(const Digest& id) {
        const timespec old[2] = {{1'000'000, 0}, {1'000'000, 0}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (path_ / "manifests" / id.hex()).c_str(), old, 0), 0);
        for (const auto& entry : fs::recursive_directory_iterator(path_ / "files")) ::utimensat(AT_FDCWD, entry.path().c_str(), old, 0);
    }
    std::size_t made_and_left() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_ / "new"), fs::directory_iterator())); }

    const fs::path base_;
    const fs::path path_;
    CodeFolder folder_;
};

Project example() {
    Project project;
    project.add("pkg/__init__.py", "");
    project.add("pkg/data/table.csv", "1,2\n");
    project.add("pkg/run.sh", "#!/bin/sh\n", EntryKind::executable);
    project.add("pkg/same.csv", "1,2\n");
    project.add("pkg/zz", "../pkg/data", EntryKind::link);
    return project;
}

TEST_F(CodeFolderTest, ASnapshotIsWhatItsManifestSays) {
    const Project project = example();
    const fs::path made = of(sync(project));
    EXPECT_EQ(read_file(made / "pkg/data/table.csv"), "1,2\n");
    EXPECT_EQ(read_file(made / "pkg/__init__.py"), "");
    EXPECT_EQ(fs::read_symlink(made / "pkg/zz"), "../pkg/data");
    struct stat plain {}, executable {};
    ASSERT_EQ(::stat((made / "pkg/same.csv").c_str(), &plain), 0);
    ASSERT_EQ(::stat((made / "pkg/run.sh").c_str(), &executable), 0);
    EXPECT_EQ(plain.st_mode & 0777, 0444u);
    EXPECT_EQ(executable.st_mode & 0777, 0555u);
    // One content for both of the same, and its own name.
    EXPECT_EQ(plain.st_nlink, 3u);
    EXPECT_EQ(made_and_left(), 0u);
    EXPECT_TRUE(folder_.has_snapshot(project.id()));
}

TEST_F(CodeFolderTest, OnlyWhatIsLackingIsAskedFor) {
    sync(example());
    Project edited = example();
    edited.manifest.entries[0].bytes = 5;
    edited.manifest.entries[0].digest = digest_of(as_byte_view("x = 1"));
    edited.contents[0] = "x = 1";
    ASSERT_TRUE(folder_.put_manifest(edited.id(), edited.encoded().view()));
    for (const char* const project : {"project", "one that nobody has sent before"}) {
        const auto absent = folder_.absent(edited.id(), project);
        ASSERT_TRUE(absent);
        EXPECT_EQ(*absent, (std::vector<std::size_t>{0})) << project;
        // And nothing is made of half of it.
        const auto made = folder_.make(edited.id(), project);
        ASSERT_TRUE(made);
        EXPECT_EQ(made->size(), 1u);
        EXPECT_FALSE(folder_.has_snapshot(edited.id()));
    }
    EXPECT_EQ(read_file(of(sync(edited)) / "pkg/__init__.py"), "x = 1");
    EXPECT_EQ(read_file(of(example().id()) / "pkg/__init__.py"), "");
}

TEST_F(CodeFolderTest, WhatIsNotWhatItsNameSaysIsRefused) {
    const Digest other = digest_of(as_byte_view("another"));
    const Result<void> wrong = folder_.put({other, 4, 0, as_byte_view("this")});
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, Code::code_sync);
    EXPECT_FALSE(fs::exists(content("another")));
    EXPECT_FALSE(folder_.put({digest_of(as_byte_view("this")), 3, 0, as_byte_view("this")}));
    EXPECT_FALSE(folder_.put({digest_of(as_byte_view("this")), 4, 2, as_byte_view("this")}));
    EXPECT_FALSE(folder_.put_manifest(other, example().encoded().view()));
    EXPECT_EQ(made_and_left(), 0u);
}

TEST_F(CodeFolderTest, AFileMayComeInPieces) {
    const std::string whole = "the first half and the second";
    const Digest digest = digest_of(as_byte_view(whole));
    const auto piece = [&](std::size_t from, std::size_t count) { return folder_.put({digest, whole.size(), from, as_byte_view(whole).subspan(from, count)}); };
    ASSERT_TRUE(piece(0, 14));
    EXPECT_FALSE(fs::exists(content(whole)));
    ASSERT_TRUE(piece(14, whole.size() - 14));
    EXPECT_EQ(read_file(content(whole)), whole);
    // A hole in the middle is found.
    const std::string holed = "another that comes in three";
    const Digest other = digest_of(as_byte_view(holed));
    ASSERT_TRUE(folder_.put({other, holed.size(), 0, as_byte_view(holed).first(5)}));
    EXPECT_FALSE(folder_.put({other, holed.size(), 10, as_byte_view(holed).subspan(10)}));
    EXPECT_FALSE(fs::exists(content(holed)));
}

// Whatever a peer says, nothing is made outside.
TEST_F(CodeFolderTest, AHostileManifestMakesNothing) {
    write_file(base_ / "outside/kept", "kept");
    const std::map<std::string, std::vector<std::pair<std::string, std::string>>> hostile{
        {"up", {{"../escaped", ""}}},
        {"up in the middle", {{"a/../../escaped", ""}}},
        {"absolute", {{(base_ / "escaped").string(), ""}}},
        {"a link to elsewhere", {{"a", base_.string()}}},
        {"a link upwards", {{"a", "../../escaped"}}},
        {"through a link", {{"a", "../outside"}, {"a/escaped", ""}}},
        {"through a link within", {{"a", "b"}, {"a/escaped", ""}}},
        {"a file as a folder", {{"a", ""}, {"a/b", ""}}},
        {"twice", {{"a", ""}, {"a", ""}}},
        {"a name with NUL", {{std::string("a\0b", 3), ""}}},
        {"nothing", {{"", ""}}},
        {"an empty name", {{"a//b", ""}}},
    };
    for (const auto& [what, entries] : hostile) {
        Project project;
        for (const auto& [path, target] : entries) project.add(path, target, target.empty() ? EntryKind::file : EntryKind::link);
        const Bytes encoded = project.encoded();
        const Result<void> put = folder_.put_manifest(id_of(encoded.view()), encoded.view());
        ASSERT_FALSE(put) << what;
        EXPECT_EQ(put.error().code, Code::code_sync) << what;
        EXPECT_FALSE(folder_.make(id_of(encoded.view()), what)) << what;
    }
    EXPECT_FALSE(fs::exists(base_ / "escaped"));
    EXPECT_EQ(std::distance(fs::directory_iterator(base_ / "outside"), fs::directory_iterator()), 1);
}

TEST_F(CodeFolderTest, ByteCodeOfWhatIsTheSameIsTakenOver) {
    Project before;
    before.add("edited.py", "x = 1\n");
    before.add("pkg/__init__.py", "");
    before.add("pkg/kept.py", "y = 1\n");
    const fs::path old = of(sync(before));
    for (const char* const name : {"__pycache__/edited.cpython-311.pyc", "pkg/__pycache__/__init__.cpython-311.pyc", "pkg/__pycache__/kept.cpython-311.pyc", "pkg/__pycache__/gone.cpython-311.pyc"}) write_file(old / name, "byte-code");
    Project after;
    after.add("edited.py", "x = 2\n");
    after.add("pkg/__init__.py", "");
    after.add("pkg/kept.py", "y = 1\n");
    const fs::path made = of(sync(after));
    EXPECT_FALSE(fs::exists(made / "__pycache__/edited.cpython-311.pyc"));
    EXPECT_TRUE(fs::exists(made / "pkg/__pycache__/__init__.cpython-311.pyc"));
    EXPECT_TRUE(fs::exists(made / "pkg/__pycache__/kept.cpython-311.pyc"));
    EXPECT_FALSE(fs::exists(made / "pkg/__pycache__/gone.cpython-311.pyc"));
    // It is valid by its source's time.
    EXPECT_EQ(fs::last_write_time(made / "pkg/kept.py"), fs::last_write_time(old / "pkg/kept.py"));
}

TEST_F(CodeFolderTest, ASpareSnapshotBecomesTheNewOne) {
    Project before, after;
    before.add("a-b.py", "beside a folder");
    before.add("a/changed.py", "x = 1");
    before.add("a/kept.py", "y = 1");
    before.add("becomes_a_folder", "a file");
    before.add("gone/deep/module.py", "z = 1");
    before.add("was_a_folder/module.py", "");
    before.add("zlink", "a/kept.py", EntryKind::link);
    after.add("a-b.py", "beside a folder");
    after.add("a/changed.py", "x = 2");
    after.add("a/kept.py", "y = 1");
    after.add("a/new/module.py", "new");
    after.add("becomes_a_folder/module.py", "");
    after.add("was_a_folder", "a file");
    after.add("zlink", "a/changed.py", EntryKind::link);
    const Digest old = sync(before);
    for (const char* const name : {"a/__pycache__/changed.cpython-311.pyc", "a/__pycache__/kept.cpython-311.pyc", "gone/deep/__pycache__/module.cpython-311.pyc"}) write_file(of(old) / name, "byte-code");
    write_file(of(old) / "written/by/somebody.txt", "left there");
    write_file(of(old) / "a/left.txt", "left there");
    const ino_t kept = [&] {
        struct stat about {};
        ::stat(of(old).c_str(), &about);
        return about.st_ino;
    }();
    ASSERT_TRUE(folder_.put_manifest(after.id(), after.encoded().view()));
    for (const std::string& content : after.contents) ASSERT_TRUE(put(content));
    const auto made = folder_.make(after.id(), "project", old);
    ASSERT_TRUE(made) << made.error().message;
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(of(after.id()))) {
        const std::string path = entry.path().lexically_relative(of(after.id())).string();
        if (entry.is_symlink()) found[path] = "-> " + fs::read_symlink(entry.path()).string();
        else if (entry.is_regular_file()) found[path] = read_file(entry.path());
    }
    const std::map<std::string, std::string> expected{
        {"a-b.py", "beside a folder"}, {"a/changed.py", "x = 2"}, {"a/kept.py", "y = 1"}, {"a/new/module.py", "new"}, {"a/__pycache__/kept.cpython-311.pyc", "byte-code"},
        {"becomes_a_folder/module.py", ""}, {"was_a_folder", "a file"}, {"zlink", "-> a/changed.py"}};
    EXPECT_EQ(found, expected);
    EXPECT_FALSE(folder_.has_snapshot(old));
    EXPECT_FALSE(folder_.manifest(old));
    struct stat about {};
    ASSERT_EQ(::stat(of(after.id()).c_str(), &about), 0);
    EXPECT_EQ(about.st_ino, kept);
    EXPECT_EQ(made_and_left(), 0u);
    // The one before can be had again.
    EXPECT_EQ(read_file(of(sync(before)) / "gone/deep/module.py"), "z = 1");
}

TEST_F(CodeFolderTest, WhatNobodyNeedsIsCollected) {
    Project first, second;
    first.add("a.py", "only in the first");
    first.add("b.py", "in both");
    second.add("a.py", "only in the second");
    second.add("b.py", "in both");
    const Digest one = sync(first), two = sync(second);
    // Somebody may be about to deploy it.
    folder_.collect({}, 0, seconds{3600});
    EXPECT_TRUE(folder_.has_snapshot(one));
    age(one);
    age(two);
    folder_.collect({one.hex()}, 1, seconds{3600});
    EXPECT_TRUE(folder_.has_snapshot(two)) << "the last few stay";
    folder_.collect({two.hex()}, 0, seconds{3600});
    EXPECT_FALSE(folder_.has_snapshot(one));
    EXPECT_TRUE(folder_.has_snapshot(two));
    EXPECT_FALSE(fs::exists(content("only in the first")));
    EXPECT_EQ(read_file(of(two) / "b.py"), "in both");
    EXPECT_FALSE(folder_.manifest(one));
    // It can be had again.
    EXPECT_EQ(read_file(of(sync(first)) / "a.py"), "only in the first");
}

TEST_F(CodeFolderTest, WhatADeadClientLeftIsCollected) {
    const Digest kept = sync(example());
    ASSERT_TRUE(put("sent, and never made a snapshot of"));
    write_file(path_ / "new/part-of-something", "half");
    const timespec old[2] = {{1'000'000, 0}, {1'000'000, 0}};
    ::utimensat(AT_FDCWD, (path_ / "new/part-of-something").c_str(), old, 0);
    age(kept);
    CodeFolder next(path_.string());
    next.collect({kept.hex()}, 0, seconds{3600});
    EXPECT_FALSE(fs::exists(content("sent, and never made a snapshot of")));
    EXPECT_EQ(made_and_left(), 0u);
    EXPECT_EQ(read_file(of(kept) / "pkg/data/table.csv"), "1,2\n");
}

TEST_F(CodeFolderTest, AFullDiskLosesNothing) {
    const Digest kept = sync(example());
    const std::string large(1 << 20, 'x');
    // Nothing larger than this can be written, as if there were no room.
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit little{4096, before.rlim_max};
    const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
    const Result<void> failed = put(large);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ::signal(SIGXFSZ, old_handler);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::io);
    EXPECT_FALSE(fs::exists(content(large)));
    EXPECT_EQ(made_and_left(), 0u);
    EXPECT_EQ(read_file(of(kept) / "pkg/data/table.csv"), "1,2\n");
    EXPECT_TRUE(put(large));
}

TEST_F(CodeFolderTest, EntriesAreReadBack) {
    const Project project = example();
    const Digest id = sync(project);
    const Result<Manifest> manifest = folder_.manifest(id);
    ASSERT_TRUE(manifest);
    EXPECT_EQ(*manifest, project.manifest);
    const Result<Bytes> all = folder_.read(manifest->entries[1], 0, 100);
    ASSERT_TRUE(all);
    EXPECT_EQ(as_text(all->view()), "1,2\n");
    EXPECT_EQ(as_text(folder_.read(manifest->entries[1], 2, 1)->view()), "2");
}

}  // namespace
}  // namespace rh::sync
