#pragma once

// A file name pattern as git understands it (gitignore(5)): '*' and '?' stop at '/', "**" between slashes does not, [..] holds ranges
// and classes, '\' takes the next as it is. Matching goes back at most to the last '*' and the last "**", so that no pattern makes it
// exponential.

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace rh::sync {

class Glob {
public:
    // Nothing for a pattern that can match nothing: a bracket or a backslash without its end.
    static std::optional<Glob> compile(std::string_view pattern);

    bool matches(std::string_view text) const;

private:
    using Set = std::bitset<256>;
    enum class Kind : std::uint8_t { letter, any, set, star, deep, folders };
    struct Token {
        Kind kind;
        unsigned char letter = 0;
        std::uint32_t set = 0;  // which of sets_
    };
    // Where matching goes on when what followed a '*' or "**" did not fit.
    struct Retry {
        std::size_t token = 0;  // behind it; 0 when there is none
        std::size_t at = 0;
    };

    static std::optional<Set> read_set(std::string_view pattern, std::size_t& at);
    bool fits(const Token& token, unsigned char letter) const;
    bool go_deeper(Retry& deep, std::string_view text) const;

    std::vector<Token> tokens_;
    std::vector<Set> sets_;
};

}  // namespace rh::sync
