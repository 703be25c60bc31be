#include "sync/ignore.h"

#include <algorithm>
#include <utility>

namespace rh::sync {

namespace {

constexpr std::string_view k_wildcards = "*?[\\";

constexpr std::string_view k_never[] = {".git",         ".hg",           ".svn",         "__pycache__",
                                        ".mypy_cache",  ".pytest_cache", ".ruff_cache",  ".ipynb_checkpoints"};

// Without the spaces at its end, unless a backslash stands before them.
std::string_view without_spaces(std::string_view line) {
    std::size_t end = 0;
    for (std::size_t at = 0; at < line.size(); ++at) {
        if (line[at] == '\\') {
            end = std::min(++at + 1, line.size());
        } else if (line[at] != ' ') {
            end = at + 1;
        }
    }
    return line.substr(0, end);
}

}  // namespace

Patterns::Patterns(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (!line.starts_with('#')) add(without_spaces(line));
    }
}

void Patterns::add(std::string_view line) {
    Pattern pattern;
    if ((pattern.negated = line.starts_with('!'))) line.remove_prefix(1);
    if ((pattern.folders_only = line.ends_with('/'))) line.remove_suffix(1);
    if (line.empty()) return;
    pattern.any_depth = line.find('/') == line.npos;
    if (line.starts_with('/')) line.remove_prefix(1);
    const std::size_t literal = std::min(line.find_first_of(k_wildcards), line.size());
    pattern.literal = line.substr(0, literal);
    pattern.exact = literal == line.size();
    if (pattern.any_depth && line.starts_with('*') && line.find_first_of(k_wildcards, 1) == line.npos) pattern.suffix = line.substr(1);
    // Only what is behind the literal is a glob, and a "**" at its beginning stands alone, as git has it ("a**/b" matches "a/x/b").
    std::optional<Glob> rest = Glob::compile(line.substr(literal));
    if (!rest) return;
    pattern.rest = std::move(*rest);
    patterns_.push_back(std::move(pattern));
}

bool Patterns::matches(const Pattern& pattern, std::string_view text) {
    if (pattern.exact) return text == pattern.literal;
    if (!pattern.suffix.empty()) return text.ends_with(pattern.suffix);
    return text.starts_with(pattern.literal) && pattern.rest.matches(text.substr(pattern.literal.size()));
}

Verdict Patterns::verdict(std::string_view path, bool is_folder) const {
    const std::size_t slash = path.rfind('/');
    const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
    for (auto pattern = patterns_.rbegin(); pattern != patterns_.rend(); ++pattern) {
        if (pattern->folders_only && !is_folder) continue;
        if (matches(*pattern, pattern->any_depth ? name : path)) return pattern->negated ? Verdict::taken : Verdict::ignored;
    }
    return Verdict::none;
}

void IgnoreRules::push(Source source, std::size_t base, Patterns patterns) {
    if (!patterns.empty()) files_.push_back({source, base, std::move(patterns)});
}

void IgnoreRules::pop_to(std::size_t depth) { files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(depth), files_.end()); }

bool IgnoreRules::ignores(std::string_view path, bool is_folder) const {
    for (const Source source : {Source::roundhouse, Source::git, Source::git_exclude}) {
        for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
            if (file->source != source) continue;
            const Verdict verdict = file->patterns.verdict(path.substr(file->base), is_folder);
            if (verdict != Verdict::none) return verdict == Verdict::ignored;
        }
    }
    return false;
}

bool never_taken(std::string_view name) {
    return name.ends_with(".pyc") || std::find(std::begin(k_never), std::end(k_never), name) != std::end(k_never);
}

}  // namespace rh::sync
