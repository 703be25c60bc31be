#include "sync/ignore.h"

#include <gtest/gtest.h>

namespace rh::sync {
namespace {

// Most of the rules are compared with git itself (ignore_git_test.cpp); here stands what git does not have, or what must not be slow.

bool matches(std::string_view pattern, std::string_view text) {
    const auto glob = Glob::compile(pattern);
    return glob && glob->matches(text);
}

TEST(Glob, StarsStopAtSlashesAndDoubleStarsDoNot) {
    EXPECT_TRUE(matches("*.py", "a.py"));
    EXPECT_FALSE(matches("*.py", "a/b.py"));
    EXPECT_TRUE(matches("a/**/b", "a/b"));
    EXPECT_TRUE(matches("a/**/b", "a/x/y/b"));
    EXPECT_FALSE(matches("a/**/b", "a/xb"));
    EXPECT_TRUE(matches("**/x*/y*z", "x/xa/yz/xb/y1z"));
    EXPECT_FALSE(matches("?", "/"));
    EXPECT_FALSE(matches("[!a]", "/"));
    EXPECT_TRUE(matches("[]a-c[:digit:]]*", "]x"));
    EXPECT_TRUE(matches("[]a-c[:digit:]]*", "7x"));
    EXPECT_TRUE(matches("\\*", "*"));
}

TEST(Glob, WhatHasNoEndMatchesNothing) {
    for (const std::string_view pattern : {"[", "[a", "[!", "a[[:alpha:]", "[[:none:]]", "a\\"}) EXPECT_FALSE(Glob::compile(pattern)) << pattern;
}

// A matcher that tries every way would not come back from this one.
TEST(Glob, ManyStarsTakeNoTime) {
    std::string pattern;
    for (int each = 0; each < 40; ++each) pattern += "*a";
    EXPECT_FALSE(matches(pattern + "b", std::string(2'000, 'a')));
    EXPECT_FALSE(matches("**/" + pattern + "/**/" + pattern + "b", std::string(500, 'a') + "/" + std::string(500, 'a') + "/" + std::string(500, 'a')));
}

TEST(IgnoreRules, RoundhousesFileGoesBeforeGits) {
    using Source = IgnoreRules::Source;
    IgnoreRules rules;
    rules.push(Source::roundhouse, 0, Patterns("!keep.bin\n/secret\n"));
    rules.push(Source::git, 0, Patterns("*.bin\n"));
    rules.push(Source::git, 5, Patterns("keep.bin\n!more.bin\n"));
    rules.push(Source::git_exclude, 0, Patterns("notes\n"));
    EXPECT_TRUE(rules.ignores("a.bin", false));
    EXPECT_FALSE(rules.ignores("keep.bin", false));
    EXPECT_FALSE(rules.ignores("data/keep.bin", false));
    EXPECT_FALSE(rules.ignores("data/more.bin", false));
    EXPECT_TRUE(rules.ignores("secret", true));
    EXPECT_FALSE(rules.ignores("data/secret", true));
    EXPECT_TRUE(rules.ignores("data/notes", false));
    rules.pop_to(2);
    EXPECT_TRUE(rules.ignores("data/more.bin", false));
    EXPECT_FALSE(rules.ignores("data/notes", false));
}

TEST(IgnoreRules, WhatIsNeverTaken) {
    for (const std::string_view name : {".git", ".hg", ".svn", "__pycache__", "x.pyc", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"}) {
        EXPECT_TRUE(never_taken(name)) << name;
    }
    for (const std::string_view name : {"a.py", ".gitignore", "git", "pyc", ".env"}) EXPECT_FALSE(never_taken(name)) << name;
}

}  // namespace
}  // namespace rh::sync
