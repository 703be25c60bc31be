#include "sync/glob.h"

#include <algorithm>
#include <cctype>

namespace rh::sync {

namespace {

struct Class {
    std::string_view name;
    int (*is)(int);
};
// Of ASCII, as git has them.
constexpr Class k_classes[] = {{"alnum", std::isalnum}, {"alpha", std::isalpha}, {"blank", std::isblank}, {"cntrl", std::iscntrl},
                               {"digit", std::isdigit}, {"graph", std::isgraph}, {"lower", std::islower}, {"print", std::isprint},
                               {"punct", std::ispunct}, {"space", std::isspace}, {"upper", std::isupper}, {"xdigit", std::isxdigit}};

unsigned char byte_of(char letter) { return static_cast<unsigned char>(letter); }

}  // namespace

// From behind the '[' to behind its ']'. A ']' that stands first is one of the set.
std::optional<Glob::Set> Glob::read_set(std::string_view pattern, std::size_t& at) {
    Set set;
    const auto peek = [&](std::size_t where) { return where < pattern.size() ? pattern[where] : '\0'; };
    const bool negated = peek(at) == '!' || peek(at) == '^';
    if (negated) ++at;
    unsigned char before = 0;  // what a range may begin with
    for (bool first = true; first || peek(at) != ']'; first = false) {
        if (at >= pattern.size()) return std::nullopt;
        const bool is_range = pattern[at] == '-' && before != 0 && at + 1 < pattern.size() && pattern[at + 1] != ']';
        if (is_range) ++at;
        if (!is_range && pattern.substr(at, 2) == "[:") {
            const std::size_t end = pattern.find(']', at + 2);
            if (end == pattern.npos) return std::nullopt;
            if (end > at + 2 && pattern[end - 1] == ':') {
                const std::string_view name = pattern.substr(at + 2, end - at - 3);
                const auto* found = std::find_if(std::begin(k_classes), std::end(k_classes), [&](const Class& each) { return each.name == name; });
                if (found == std::end(k_classes)) return std::nullopt;
                for (int letter = 0; letter < 128; ++letter) {
                    if (found->is(letter) != 0) set.set(static_cast<std::size_t>(letter));
                }
                before = 0;
                at = end + 1;
                continue;
            }
        }
        if (pattern[at] == '\\' && ++at >= pattern.size()) return std::nullopt;
        const unsigned char letter = byte_of(pattern[at++]);
        for (unsigned each = is_range ? before : letter; each <= letter; ++each) set.set(each);
        before = is_range ? 0 : letter;
    }
    ++at;
    if (negated) set.flip();
    set.reset(byte_of('/'));
    return set;
}

std::optional<Glob> Glob::compile(std::string_view pattern) {
    Glob glob;
    for (std::size_t at = 0; at < pattern.size();) {
        const char letter = pattern[at];
        if (letter == '*') {
            const std::size_t from = at;
            at = std::min(pattern.find_first_not_of('*', at), pattern.size());
            const std::string_view rest = pattern.substr(at);
            const bool alone = (from == 0 || pattern[from - 1] == '/') && (rest.empty() || rest[0] == '/' || rest.starts_with("\\/"));
            if (at - from < 2 || !alone) {
                glob.tokens_.push_back({Kind::star});
            } else if (rest.starts_with('/')) {
                glob.tokens_.push_back({Kind::folders});
                ++at;
            } else {
                glob.tokens_.push_back({Kind::deep});
            }
            continue;
        }
        ++at;
        if (letter == '?') {
            glob.tokens_.push_back({Kind::any});
        } else if (letter == '[') {
            const std::optional<Set> set = read_set(pattern, at);
            if (!set) return std::nullopt;
            glob.tokens_.push_back({Kind::set, 0, static_cast<std::uint32_t>(glob.sets_.size())});
            glob.sets_.push_back(*set);
        } else {
            if (letter == '\\' && at == pattern.size()) return std::nullopt;
            glob.tokens_.push_back({Kind::letter, byte_of(letter == '\\' ? pattern[at++] : letter)});
        }
    }
    return glob;
}

bool Glob::fits(const Token& token, unsigned char letter) const {
    switch (token.kind) {
        case Kind::letter: return letter == token.letter;
        case Kind::any: return letter != '/';
        case Kind::set: return sets_[token.set].test(letter);
        case Kind::star:
        case Kind::deep:
        case Kind::folders: break;
    }
    return false;
}

// Lets the last "**" take one more byte, or one with a slash behind it one more folder.
bool Glob::go_deeper(Retry& deep, std::string_view text) const {
    if (deep.token == 0) return false;
    if (tokens_[deep.token - 1].kind == Kind::folders) {
        const std::size_t slash = text.find('/', deep.at);
        if (slash == text.npos) return false;
        deep.at = slash;
    } else if (deep.at == text.size()) {
        return false;
    }
    ++deep.at;
    return true;
}

bool Glob::matches(std::string_view text) const {
    Retry star;
    Retry deep;
    std::size_t token = 0;
    std::size_t at = 0;
    for (;;) {
        if (token == tokens_.size()) {
            if (at == text.size()) return true;
        } else if (const Kind kind = tokens_[token].kind; kind == Kind::star) {
            star = {++token, at};
            continue;
        } else if (kind == Kind::deep || kind == Kind::folders) {
            deep = {++token, at};
            star = {};
            continue;
        } else if (at < text.size() && fits(tokens_[token], byte_of(text[at]))) {
            ++token;
            ++at;
            continue;
        }
        if (star.token != 0 && star.at < text.size() && text[star.at] != '/') {
            token = star.token;
            at = ++star.at;
        } else if (go_deeper(deep, text)) {
            token = deep.token;
            at = deep.at;
            star = {};
        } else {
            return false;
        }
    }
}

}  // namespace rh::sync
