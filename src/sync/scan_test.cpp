#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/limits.h"
#include "sync/tree_test.h"

namespace rh::sync {
namespace {

namespace fs = std::filesystem;

class ScanTest : public TreeTest {
protected:
    using TreeTest::TreeTest;

    static std::string refusal(const Result<Scanned>& result) {
        EXPECT_FALSE(result);
        if (result) return {};
        EXPECT_EQ(result.error().code, Code::code_sync) << result.error().message;
        return result.error().message;
    }
};

bool says(const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; }

TEST_F(ScanTest, FindsFilesInTheOrderOfTheirPaths) {
    write("a/x.py", "one");
    write("a-b", "two");
    write("a.py", "three");
    write("a/b/c", "");
    write("tool");
    ::chmod(path("tool").c_str(), 0755);
    fs::create_directories(path("empty/folder"));
    const Scanned found = scanned();
    EXPECT_EQ(paths(found), (Names{"a-b", "a.py", "a/b/c", "a/x.py", "tool"}));
    EXPECT_EQ(entry(found, "a/x.py")->digest, digest_of(as_byte_view("one")));
    EXPECT_EQ(entry(found, "a/x.py")->bytes, 3u);
    EXPECT_EQ(entry(found, "a/x.py")->kind, EntryKind::file);
    EXPECT_EQ(entry(found, "tool")->kind, EntryKind::executable);
    EXPECT_EQ(found.bytes, 3u + 3u + 5u + 0u + 1u);
    EXPECT_EQ(found.hashed_files, 5u);
    EXPECT_EQ(found.hashed_bytes, found.bytes);
    EXPECT_TRUE(found.left_out.empty());
    EXPECT_TRUE(check(found.manifest));
}

TEST_F(ScanTest, LeavesOutWhatIsNoCode) {
    for (const char* name : {".git/config", ".hg/x", "pkg/__pycache__/a.pyc", "pkg/a.pyc", "pkg/.mypy_cache/x", ".ipynb_checkpoints/x", "env/pyvenv.cfg", "env/lib/x.py",
                             "conda/conda-meta/history", "conda/lib/x.py", "pkg/a.py"}) {
        write(name);
    }
    EXPECT_EQ(paths(scanned()), Names{"pkg/a.py"});
    // A project within a virtual environment is a project.
    write("pyvenv.cfg");
    EXPECT_EQ(paths(scanned()), (Names{"pkg/a.py", "pyvenv.cfg"}));
}

TEST_F(ScanTest, IgnoreFilesCountWithoutARepositoryToo) {
    write(".gitignore", "*.so\n/build/\n!keep.so\n");
    write(".roundhouseignore", "!data.so\nweights/\n");
    for (const char* name : {"a.so", "keep.so", "data.so", "build/x.py", "sub/build/x.py", "weights/w.bin", "a.py"}) write(name);
    EXPECT_EQ(paths(scanned()), (Names{".gitignore", ".roundhouseignore", "a.py", "data.so", "keep.so", "sub/build/x.py"}));
}

TEST_F(ScanTest, TakesWhatIsAskedForAlthoughIgnored) {
    write(".gitignore", "*.so\nbuild/\n");
    for (const char* name : {"pkg/fast.so", "build/lib/deep.so", "build/other.so", "z.py"}) write(name);
    link("around", "build");
    options_.also = {"pkg/fast.so", "build/lib/deep.so", "z.py", "missing.so", "../escape", "build/lib", "around/other.so", "pkg/fast.so"};
    const Scanned found = scanned();
    EXPECT_EQ(paths(found), (Names{".gitignore", "around", "build/lib/deep.so", "pkg/fast.so", "z.py"}));
    const auto reasons = left_out(found);
    EXPECT_EQ(reasons.size(), 4u);
    EXPECT_TRUE(says(reasons.at("missing.so"), "No such file"));
    EXPECT_TRUE(says(reasons.at("../escape"), "'..'"));
    EXPECT_EQ(reasons.at("build/lib"), "it is no file");
    EXPECT_TRUE(says(reasons.at("around/other.so"), "Not a directory"));
}

TEST_F(ScanTest, LinksStayLinksBeneathTheRoot) {
    write("pkg/data/x.txt", "data");
    write("../outside.txt", "from outside");
    write("../elsewhere/x");
    link("plain", "pkg/data/x.txt");
    link("folder", "pkg/data");
    link("pkg/up", "../pkg/data");
    link("whole", ".");
    link("pkg/data/top", "../..");
    link("absolute", path("pkg/data/x.txt"));       // from here it would lead back to this machine's file
    link("pkg/winding", "../pkg/./data/../data/x.txt");
    link("pkg/data/absolute_folder", path("pkg"));
    link("outside", "../outside.txt");
    link("outside_folder", "../elsewhere");
    link("dangling", "nowhere");
    link("loop", "loop");
    link("device", "/dev/null");
    const Scanned found = scanned();
    EXPECT_TRUE(check(found.manifest));
    const std::pair<const char*, const char*> links[] = {
        {"plain", "pkg/data/x.txt"},  {"folder", "pkg/data"},        {"pkg/up", "../pkg/data"},         {"whole", "."}, {"pkg/data/top", "../.."},
        {"absolute", "pkg/data/x.txt"}, {"pkg/winding", "data/x.txt"}, {"pkg/data/absolute_folder", ".."},
    };
    for (const auto& [name, target] : links) {
        const Entry* each = entry(found, name);
        ASSERT_NE(each, nullptr) << name;
        EXPECT_EQ(each->kind, EntryKind::link) << name;
        EXPECT_EQ(each->target, target) << name;
    }
    ASSERT_NE(entry(found, "outside"), nullptr);
    EXPECT_EQ(entry(found, "outside")->kind, EntryKind::file);
    EXPECT_EQ(entry(found, "outside")->digest, digest_of(as_byte_view("from outside")));
    const auto reasons = left_out(found);
    EXPECT_EQ(reasons.size(), 4u);
    EXPECT_TRUE(says(reasons.at("outside_folder"), "a folder outside"));
    EXPECT_TRUE(says(reasons.at("dangling"), "a link to nothing"));
    EXPECT_TRUE(says(reasons.at("loop"), "Too many levels"));
    EXPECT_TRUE(says(reasons.at("device"), "no file"));
}

TEST_F(ScanTest, SocketsAndPipesAreLeftOutAndHardLinksAreFiles) {
    write("a", "same");
    ASSERT_EQ(::link(path("a").c_str(), path("b").c_str()), 0);
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const Scanned found = scanned();
    EXPECT_EQ(paths(found), (Names{"a", "b"}));
    EXPECT_EQ(entry(found, "a")->digest, entry(found, "b")->digest);
    EXPECT_EQ(left_out(found).count("pipe"), 1u);
    EXPECT_EQ(left_out(found).count("socket"), 1u);
}

TEST_F(ScanTest, NamesNeedNotBeUtf8) {
    write("caf\xe9.py", "x");
    ASSERT_EQ(::mkfifo(path("p\xff").c_str(), 0600), 0);
    const Scanned found = scanned();
    EXPECT_EQ(paths(found), Names{"caf\xe9.py"});
    const Result<Manifest> decoded = decode(encode(found.manifest).view());
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, found.manifest);
    EXPECT_EQ(left_out(found).count("p\xff"), 1u);
}

// Tests run as root in containers, who may read everything; so these become nobody meanwhile.
TEST_F(ScanTest, WhatMayNotBeReadIsLeftOutAndSaid) {
    write("secret.py");
    write("closed/x.py");
    write("open.py");
    ::chmod(path("secret.py").c_str(), 0);
    ::chmod(path("closed").c_str(), 0);
    ::chmod(outside_.c_str(), 0755);
    const bool is_root = ::geteuid() == 0;
    ASSERT_EQ(::seteuid(is_root ? 65534 : ::geteuid()), 0);
    const Result<Scanned> found = scan(options_);
    ASSERT_EQ(::seteuid(is_root ? 0 : ::geteuid()), 0);
    ::chmod(path("closed").c_str(), 0700);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(paths(*found), Names{"open.py"});
    EXPECT_EQ(left_out(*found).at("secret.py"), "Permission denied");
    EXPECT_EQ(left_out(*found).at("closed"), "Permission denied");
}

TEST_F(ScanTest, SaysOnlySoManyThatItLeftOut) {
    for (std::size_t at = 0; at < limits::k_sync_left_out_max + 7; ++at) link("l" + std::to_string(at), "nowhere");
    const Scanned found = scanned();
    EXPECT_EQ(found.left_out.size(), limits::k_sync_left_out_max);
    EXPECT_EQ(found.left_out_more, 7u);
}

TEST_F(ScanTest, RefusesRootsThatAreNoProject) {
    options_.home = outside_;
    options_.root = "/";
    EXPECT_TRUE(says(refusal(scan(options_)), "the whole file system"));
    options_.root = outside_;
    EXPECT_TRUE(says(refusal(scan(options_)), "the home folder"));
    ASSERT_EQ(::symlink(outside_.c_str(), path("home").c_str()), 0);
    options_.root = path("home");
    EXPECT_TRUE(says(refusal(scan(options_)), "the home folder"));
    options_.root = fs::path(outside_).parent_path().string();
    EXPECT_TRUE(says(refusal(scan(options_)), "above the home folder"));
    options_.root = outside_ + "/nowhere";
    EXPECT_TRUE(says(refusal(scan(options_)), "no folder"));
    write("file");
    options_.root = path("file");
    EXPECT_TRUE(says(refusal(scan(options_)), "no folder"));
}

// A file of holes has a size and takes no room. It is refused before it is read, which would take its time.
TEST_F(ScanTest, RefusesWhatIsTooBigAndNamesTheBiggest) {
    write("src/a.py");
    write("data/small.bin");
    write("data/big.bin");
    fs::resize_file(path("data/big.bin"), limits::k_sync_bytes_max);
    write("model.bin");
    fs::resize_file(path("model.bin"), 20 * 1024 * 1024);
    const Result<Scanned> result = scan(options_);
    const std::string message = refusal(result);
    EXPECT_TRUE(says(message, "data/ (1.0 GiB in 2 files), model.bin (20.0 MiB), src/")) << message;
    EXPECT_TRUE(says(message, root_ + "/.roundhouseignore")) << message;
    EXPECT_TRUE(says(message, "4 files")) << message;
    EXPECT_TRUE(std::string(result.error().fact("biggest")).starts_with("data/"));
    write(".roundhouseignore", "data/\n");
    EXPECT_EQ(paths(scanned()), (Names{".roundhouseignore", "model.bin", "src/a.py"}));
}

class ManyFilesTest : public ScanTest {
protected:
    ManyFilesTest() : ScanTest(fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) {}
};

TEST_F(ManyFilesTest, StopsWhenThereAreTooManyFilesAndNamesTheBiggest) {
    write("src/a.py", "code");
    write("aa/few");
    for (std::size_t at = 0; at <= limits::k_sync_entries_max; ++at) {
        const std::string folder = path("many" + std::to_string(at / 10'000));
        if (at % 10'000 == 0) fs::create_directory(folder);
        const Fd file(::open((folder + "/" + std::to_string(at)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        ASSERT_TRUE(file);
    }
    const std::string message = refusal(scan(options_));
    EXPECT_TRUE(says(message, "more than")) << message;
    EXPECT_TRUE(says(message, "at most 1.0 GiB in 100000 are sent. The biggest: many0/ (0.0 KiB in 10000 files), many1/")) << message;
    write(".roundhouseignore", "many*/\n");
    EXPECT_EQ(paths(scanned()), (Names{".roundhouseignore", "aa/few", "src/a.py"}));
}

TEST_F(ScanTest, AnIgnoreFileHasABound) {
    write(".gitignore", std::string(limits::k_sync_ignore_file_bytes_max + 1, 'x'));
    EXPECT_TRUE(says(refusal(scan(options_)), ".gitignore"));
}

TEST_F(ScanTest, TellsHowFarItIsAndCanBeStopped) {
    for (int at = 0; at < 20; ++at) write("f" + std::to_string(at), std::string(100, 'x'));
    std::vector<ScanProgress> told;
    ASSERT_TRUE(scan(options_, [&](const ScanProgress& progress) {
        told.push_back(progress);
        return true;
    }));
    ASSERT_FALSE(told.empty());
    EXPECT_EQ(told.back().files_found, 20u);
    EXPECT_EQ(told.back().files_hashed, 20u);
    EXPECT_EQ(told.back().files_to_hash, 20u);
    EXPECT_EQ(told.back().bytes_hashed, 2'000u);
    EXPECT_EQ(told.back().bytes_to_hash, 2'000u);
    const Result<Scanned> stopped = scan(options_, [](const ScanProgress& progress) { return progress.files_hashed < 3; });
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Code::cancelled);
}

TEST_F(ScanTest, LooseFilesBecomeASnapshotToo) {
    write("one/helpers.py", "one");
    write("two/tools.py", "two");
    const auto found = scan_files({{"tools.py", path("two/tools.py")}, {"lib/helpers.py", path("one/helpers.py")}}, {});
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(paths(*found), (Names{"lib/helpers.py", "tools.py"}));
    EXPECT_EQ(entry(*found, "tools.py")->digest, digest_of(as_byte_view("two")));
    EXPECT_EQ(found->places, (Names{path("one/helpers.py"), path("two/tools.py")}));
    EXPECT_EQ(found->bytes, 6u);

    EXPECT_TRUE(says(refusal(scan_files({{"x.py", path("nowhere.py")}}, {})), "nowhere.py: No such file"));
    EXPECT_TRUE(says(refusal(scan_files({{"x.py", root_}}, {})), "no file"));
    EXPECT_TRUE(says(refusal(scan_files({{"../x.py", path("two/tools.py")}}, {})), "'..'"));
    EXPECT_TRUE(says(refusal(scan_files({{"x.py", path("two/tools.py")}, {"x.py", path("one/helpers.py")}}, {})), "twice"));
}

}  // namespace
}  // namespace rh::sync
