// The ignore rules beside git's own: trees and patterns are drawn from a seed, and `git ls-files` says what belongs to them.

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <random>

#include "sync/tree_test.h"

namespace rh::sync {
namespace {

namespace fs = std::filesystem;

class IgnoreGitTest : public TreeTest {
protected:
    // Thousands of small files; in memory where that can be, for the disk is not what is tested.
    IgnoreGitTest() : TreeTest(fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()) {}

    static bool has_git() { return std::system("git --version >/dev/null 2>&1") == 0; }

    // What git needs to take a folder for a repository.
    void make_repository() const {
        fs::create_directories(path(".git/objects"));
        fs::create_directories(path(".git/refs"));
        write(".git/HEAD", "ref: refs/heads/main\n");
    }

    // What git would track of a folder, sorted as a manifest is; nothing if git says that the folder itself is ignored.
    Names as_git_has_it(const std::string& folder) const {
        const std::string command = fmt::format(
            "cd '{}' && export HOME='{}' GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null && unset XDG_CONFIG_HOME && git ls-files -co --exclude-standard -z", folder, outside_);
        const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
        std::string text;
        char piece[4096];
        while (const std::size_t count = std::fread(piece, 1, sizeof piece, pipe.get())) text.append(piece, count);
        Names names;
        for (std::size_t from = 0; from < text.size(); from = text.find('\0', from) + 1) names.emplace_back(text.c_str() + from);
        std::sort(names.begin(), names.end());
        return names;
    }

    template <class T>
    const T& any(const std::vector<T>& of) {
        return of[random_() % of.size()];
    }
    bool one_in(unsigned times) { return random_() % times == 0; }

    std::string any_pattern() {
        static const Names parts = {"a",   "b",    "ab",   "foo", "bar",    "*",           "*",  "?",    "**", "/",  "/",    "/", "[ab]", "[!a]", "[a-f]", "[[:alpha:]]", "[]x]",
                                    "\\a", "\\*",  " ",    "\\ ", ".o",     "x y",         "#",  "!",    "**/", "/**", "[",   "]", "\\",   "-",    "[^-b]", "[[:digit:]o]"};
        std::string pattern = one_in(4) ? "!" : "";
        if (one_in(4)) pattern += "/";
        for (unsigned count = 1 + random_() % 4; count > 0; --count) pattern += any(parts);
        if (one_in(4)) pattern += "/";
        if (one_in(12)) pattern += "  ";
        if (one_in(12)) pattern += "\r";
        return pattern;
    }

    void fill(const std::string& folder, unsigned depth) {
        static const Names names = {"a", "b", "ab", "foo", "bar", "foo.o", "b.o", "x y", "a-b", "a ", "]", "*", "#x", "!y", "A", "f0", "foo bar", "b]", "-"};
        for (unsigned count = 2 + random_() % 5; count > 0; --count) {
            const std::string name = folder + any(names);
            if (fs::exists(path(name))) continue;
            if (depth < 3 && one_in(2)) {
                fill(name + "/", depth + 1);
            } else {
                write(name);
            }
        }
        if (depth == 0 || one_in(4)) {
            std::string text;
            for (unsigned count = 1 + random_() % 5; count > 0; --count) text += any_pattern() + "\n";
            if (one_in(8)) text.pop_back();
            write(folder + ".gitignore", text);
        }
    }

    void make_trees(unsigned seed) {
        random_.seed(seed);
        fs::remove_all(root_);
        make_repository();
        if (one_in(3)) write(".git/info/exclude", any_pattern() + "\n");
        for (unsigned tree = 0; tree < k_trees; ++tree) fill(fmt::format("tree{}/", tree), 0);
    }

    // The ignore files of the first tree about which they disagree.
    std::string rules_around(const Names& ours, const Names& git) const {
        const auto [here, there] = std::mismatch(ours.begin(), ours.end(), git.begin(), git.end());
        const std::string& name = here != ours.end() ? *here : there != git.end() ? *there : ".git/";
        std::string text;
        for (const auto& each : fs::recursive_directory_iterator(path(name.substr(0, name.find('/'))))) {
            if (each.path().filename() != ".gitignore" && each.path().filename() != "exclude") continue;
            std::ifstream file(each.path());
            text += fmt::format("--- {}\n{}\n", each.path().string(), std::string(std::istreambuf_iterator<char>(file), {}));
        }
        return text;
    }

    static constexpr unsigned k_trees = 40;
    std::mt19937 random_;
};

// Git is asked about many trees at once, for starting it is what costs: each stands in a folder of its own in one repository.
TEST_F(IgnoreGitTest, AgreesWithGitOnAnyTree) {
    if (!has_git()) GTEST_SKIP() << "there is no git";
    std::size_t taken = 0;
    std::size_t all = 0;
    for (unsigned seed = 1; seed <= 4; ++seed) {
        make_trees(seed);
        const Names ours = paths(scanned());
        const Names git = as_git_has_it(root_);
        ASSERT_EQ(ours, git) << "seed " << seed << "\n" << rules_around(ours, git);
        taken += ours.size();
        for (const auto& each : fs::recursive_directory_iterator(root_)) all += each.is_regular_file() ? 1 : 0;
    }
    // The draw is worth something only if both verdicts are common.
    EXPECT_GT(taken, all / 5);
    EXPECT_LT(taken, all * 4 / 5);
}

TEST_F(IgnoreGitTest, TheFilesAboveARootWithinARepositoryCount) {
    if (!has_git()) GTEST_SKIP() << "there is no git";
    make_trees(77);
    std::size_t compared = 0;
    for (unsigned tree = 0; tree < k_trees; ++tree) {
        options_.root = path(fmt::format("tree{}/a", tree));
        if (!fs::is_directory(options_.root)) continue;
        const Names git = as_git_has_it(options_.root);
        if (git.empty()) continue;  // git is asked about a folder that it ignores; we were told to take it
        ASSERT_EQ(paths(scanned()), git) << rules_around({}, {});
        ++compared;
    }
    EXPECT_GT(compared, 3u);
}

TEST_F(IgnoreGitTest, AWorkTreeHasTheExcludesOfItsRepository) {
    write("../main/.git/info/exclude", "local\n");
    write("../main/.git/worktrees/project/commondir", "../..\n");
    write(".git", "gitdir: ../main/.git/worktrees/project\n");
    write("local");
    write("code.py");
    EXPECT_EQ(paths(scanned()), Names{"code.py"});
}

}  // namespace
}  // namespace rh::sync
