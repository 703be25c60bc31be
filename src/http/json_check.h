#pragma once

// Says of a text that comes in pieces whether it is strict JSON (protocol/http.md, A call), and where the members of its outermost
// object stand. It makes no values: bodies are passed on as they came. It keeps a few bytes for each key of the objects
// that are open, and its work for a piece is bounded by the piece, so that a huge body holds nobody up.

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace rh::http {

class JsonCheck {
public:
    enum class Kind { unknown, object, array, other };
    // Of the outermost object: offsets into the whole text.
    struct Member {
        std::string key;
        std::size_t key_begin = 0;  // at its quote
        std::size_t value_begin = 0;
        std::size_t value_end = 0;
    };

    // Code::protocol, with what is wrong and where.
    Result<void> feed(ByteView bytes);
    Result<void> finish();

    Kind kind() const { return kind_; }
    // The first few, and the one that is called "*".
    const std::vector<Member>& members() const { return members_; }
    std::size_t member_count() const { return member_count_; }

private:
    enum class State { value, first_item, first_key, key, colon, after, string, escape, unicode, literal, number, done };
    enum class Number { minus, zero, digits, dot, fraction, e, sign, exponent };
    struct Level {
        bool object = false;
        std::vector<std::uint64_t> keys;  // their hashes
    };

    Result<void> take(unsigned char c);
    Result<void> begin_value(unsigned char c);
    Result<void> take_after(unsigned char c);
    Result<void> take_in_string(unsigned char c);
    Result<void> take_escape(unsigned char c);
    Result<void> take_unicode(unsigned char c);
    Result<void> take_in_number(unsigned char c);
    Result<void> end_number();
    Result<void> end_string();
    Result<void> open(bool object);
    Result<void> close();
    void end_value();
    void begin_string(bool key);
    void decoded(unsigned char c);
    Result<void> add_code_point(std::uint32_t code);
    tl::unexpected<Error> wrong(std::string_view what) const;

    State state_ = State::value;
    Kind kind_ = Kind::unknown;
    std::vector<Level> levels_;
    std::size_t at_ = 0;
    // The string that is being read.
    bool is_key_ = false;
    std::uint64_t hash_ = 0;
    std::string key_;
    unsigned utf8_left_ = 0;
    unsigned utf8_low_ = 0x80;
    unsigned utf8_high_ = 0xbf;
    unsigned unicode_digits_ = 0;
    std::uint32_t unicode_ = 0;
    std::uint32_t surrogate_ = 0;
    // The literal, or the number.
    std::string_view literal_;
    Number number_state_ = Number::minus;
    bool is_fraction_ = false;
    std::string number_;
    std::vector<Member> members_;
    std::size_t member_count_ = 0;
    bool keeps_member_ = false;
};

}  // namespace rh::http
