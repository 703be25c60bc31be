#pragma once

// Which files of a folder are the project's, by its ignore files. The syntax and meaning are git's (gitignore(5), and a test compares
// with git itself): patterns in every folder, the last one that matches decides, and what stands in a deeper folder goes before what
// stands above it. A .roundhouseignore, wherever it stands, goes before every .gitignore, and those before .git/info/exclude. Pure:
// whoever walks the folders asks about each name in them, from the top down, and never enters a folder that is ignored.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sync/glob.h"

namespace rh::sync {

enum class Verdict : std::uint8_t { none, ignored, taken };

// The patterns of one ignore file.
class Patterns {
public:
    explicit Patterns(std::string_view text);

    bool empty() const { return patterns_.empty(); }
    // Of a path relative to the folder in which the file stands.
    Verdict verdict(std::string_view path, bool is_folder) const;

private:
    struct Pattern {
        std::string literal;  // what it begins with, up to its first wildcard
        Glob rest;
        std::string suffix;  // '*' and this are all of it, where this is not empty
        bool exact = false;  // the literal is all of it
        bool negated = false;
        bool folders_only = false;
        bool any_depth = false;  // has no slash, so it is compared with the name alone
    };
    void add(std::string_view line);
    static bool matches(const Pattern& pattern, std::string_view text);

    std::vector<Pattern> patterns_;  // in the order of the file
};

// The ignore files that count at one place of a walk; the walker pushes a folder's when it enters it and pops them when it leaves.
class IgnoreRules {
public:
    enum class Source : std::uint8_t { git_exclude, git, roundhouse };  // whose word goes before the others', last first

    // A file in the folder that is the first `base` bytes (with the '/') of each path below it.
    void push(Source source, std::size_t base, Patterns patterns);
    std::size_t depth() const { return files_.size(); }
    void pop_to(std::size_t depth);

    bool ignores(std::string_view path, bool is_folder) const;

private:
    struct File {
        Source source;
        std::size_t base;
        Patterns patterns;
    };
    std::vector<File> files_;  // from the top down
};

// What is never code of a project, whatever the files say: what version control, Python and its tools keep for themselves. A folder
// with a pyvenv.cfg in it, a virtual environment, is none either; the walker sees that.
bool never_taken(std::string_view name);

}  // namespace rh::sync
