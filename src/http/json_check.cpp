#include "http/json_check.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::http {

namespace {

constexpr std::size_t k_members_kept = 8;
constexpr std::size_t k_key_bytes_kept = 64;
constexpr std::uint64_t k_hash_begin = 0xcbf29ce484222325;
constexpr std::uint64_t k_hash_step = 0x100000001b3;

bool is_space(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

}  // namespace

tl::unexpected<Error> JsonCheck::wrong(std::string_view what) const { return fail(Code::protocol, fmt::format("the body is not JSON: {}, at byte {}", what, at_)); }

Result<void> JsonCheck::feed(ByteView bytes) {
    const std::string_view text = as_text(bytes);
    for (std::size_t i = 0; i < text.size(); ++i, ++at_) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (state_ == State::string && utf8_left_ == 0 && !is_key_ && surrogate_ == 0) {
            // Most of most bodies.
            std::size_t end = i;
            while (end < text.size() && text[end] != '"' && text[end] != '\\' && static_cast<unsigned char>(text[end]) >= 0x20 && static_cast<unsigned char>(text[end]) < 0x80) ++end;
            if (end != i) {
                at_ += end - i - 1;
                i = end - 1;
                continue;
            }
        }
        RH_TRY_VOID(take(c));
    }
    return {};
}

Result<void> JsonCheck::finish() {
    if (state_ == State::number && levels_.empty()) RH_TRY_VOID(end_number());
    if (state_ != State::done) return wrong(at_ == 0 ? "it is empty" : "it ends in the middle");
    return {};
}

Result<void> JsonCheck::take(unsigned char c) {
    switch (state_) {
        case State::string: return take_in_string(c);
        case State::escape: return take_escape(c);
        case State::unicode: return take_unicode(c);
        case State::number: return take_in_number(c);
        case State::literal:
            if (c != static_cast<unsigned char>(literal_.front())) return wrong("this is no literal that JSON has");
            literal_.remove_prefix(1);
            // It ends behind this byte.
            if (literal_.empty()) {
                ++at_;
                end_value();
                --at_;
            }
            return {};
        default: break;
    }
    if (is_space(c)) return {};
    switch (state_) {
        case State::first_item:
            if (c == ']') return close();
            return begin_value(c);
        case State::value: return begin_value(c);
        case State::first_key:
            if (c == '}') return close();
            [[fallthrough]];
        case State::key:
            if (c != '"') return wrong("a key in quotes must stand here");
            begin_string(true);
            return {};
        case State::colon:
            if (c != ':') return wrong("a colon must stand behind a key");
            state_ = State::value;
            return {};
        case State::after: return take_after(c);
        default: return wrong("there is something behind the end of the text");
    }
}

Result<void> JsonCheck::take_after(unsigned char c) {
    const bool object = levels_.back().object;
    if (c == (object ? '}' : ']')) return close();
    if (c != ',') return wrong(object ? "a comma or a brace must stand here" : "a comma or a bracket must stand here");
    state_ = object ? State::key : State::value;
    return {};
}

Result<void> JsonCheck::begin_value(unsigned char c) {
    if (levels_.empty() && kind_ == Kind::unknown) kind_ = c == '{' ? Kind::object : c == '[' ? Kind::array : Kind::other;
    if (levels_.size() == 1 && keeps_member_) members_.back().value_begin = at_;
    switch (c) {
        case '{': return open(true);
        case '[': return open(false);
        case '"': begin_string(false); return {};
        case 't': literal_ = "rue"; break;
        case 'f': literal_ = "alse"; break;
        case 'n': literal_ = "ull"; break;
        default:
            if (c != '-' && !is_digit(c)) return wrong("a value must stand here");
            number_state_ = c == '-' ? Number::minus : c == '0' ? Number::zero : Number::digits;
            number_.assign(1, static_cast<char>(c));
            is_fraction_ = false;
            state_ = State::number;
            return {};
    }
    state_ = State::literal;
    return {};
}

Result<void> JsonCheck::open(bool object) {
    if (levels_.size() >= limits::k_json_depth_max) return wrong(fmt::format("it is nested deeper than {} levels", limits::k_json_depth_max));
    levels_.push_back({object, {}});
    state_ = object ? State::first_key : State::first_item;
    return {};
}

Result<void> JsonCheck::close() {
    std::vector<std::uint64_t> keys = std::move(levels_.back().keys);
    std::sort(keys.begin(), keys.end());
    if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) return wrong("a key stands twice in the object that ends here");
    levels_.pop_back();
    ++at_;
    end_value();
    --at_;
    return {};
}

// The byte at at_ is the first behind the value.
void JsonCheck::end_value() {
    if (levels_.size() == 1 && keeps_member_) {
        members_.back().value_end = at_;
        keeps_member_ = false;
    }
    state_ = levels_.empty() ? State::done : State::after;
}

// --- strings -------------------------------------------------------------------------------------------------------

void JsonCheck::begin_string(bool key) {
    state_ = State::string;
    is_key_ = key;
    hash_ = k_hash_begin;
    surrogate_ = 0;
    utf8_left_ = 0;
    if (!key) return;
    key_.clear();
    if (levels_.size() != 1) return;
    // Kept until it is known what it is called.
    members_.emplace_back();
    members_.back().key_begin = at_;
}

void JsonCheck::decoded(unsigned char c) {
    if (!is_key_) return;
    hash_ = (hash_ ^ c) * k_hash_step;
    if (key_.size() <= k_key_bytes_kept) key_ += static_cast<char>(c);
}

Result<void> JsonCheck::take_in_string(unsigned char c) {
    if (utf8_left_ != 0) {
        if (c < utf8_low_ || c > utf8_high_) return wrong("a string is not UTF-8");
        utf8_low_ = 0x80;
        utf8_high_ = 0xbf;
        --utf8_left_;
        decoded(c);
        return {};
    }
    if (c == '\\') {
        state_ = State::escape;
        return {};
    }
    if (surrogate_ != 0) return wrong("a string has half a character");
    if (c == '"') return end_string();
    if (c < 0x20) return wrong("a control character in a string must be escaped");
    if (c >= 0x80) {
        if (c >= 0xc2 && c <= 0xdf) {
            utf8_left_ = 1;
        } else if (c >= 0xe0 && c <= 0xef) {
            utf8_left_ = 2;
            if (c == 0xe0) utf8_low_ = 0xa0;
            if (c == 0xed) utf8_high_ = 0x9f;
        } else if (c >= 0xf0 && c <= 0xf4) {
            utf8_left_ = 3;
            if (c == 0xf0) utf8_low_ = 0x90;
            if (c == 0xf4) utf8_high_ = 0x8f;
        } else {
            return wrong("a string is not UTF-8");
        }
    }
    decoded(c);
    return {};
}

Result<void> JsonCheck::take_escape(unsigned char c) {
    state_ = State::string;
    if (c == 'u') {
        state_ = State::unicode;
        unicode_ = 0;
        unicode_digits_ = 0;
        return {};
    }
    if (surrogate_ != 0) return wrong("a string has half a character");
    switch (c) {
        case '"':
        case '\\':
        case '/': decoded(c); return {};
        case 'b': decoded('\b'); return {};
        case 'f': decoded('\f'); return {};
        case 'n': decoded('\n'); return {};
        case 'r': decoded('\r'); return {};
        case 't': decoded('\t'); return {};
        default: return wrong("there is no such escape");
    }
}

Result<void> JsonCheck::take_unicode(unsigned char c) {
    unsigned digit = 0;
    if (is_digit(c)) {
        digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10u;
    } else if (c >= 'A' && c <= 'F') {
        digit = c - 'A' + 10u;
    } else {
        return wrong("an escape must have four hexadecimal digits");
    }
    unicode_ = unicode_ * 16 + digit;
    if (++unicode_digits_ < 4) return {};
    state_ = State::string;
    return add_code_point(unicode_);
}

Result<void> JsonCheck::add_code_point(std::uint32_t code) {
    const bool high = code >= 0xd800 && code < 0xdc00;
    const bool low = code >= 0xdc00 && code < 0xe000;
    if (low != (surrogate_ != 0)) return wrong("a string has half a character");
    if (high) {
        surrogate_ = code;
        return {};
    }
    if (low) code = 0x10000 + ((std::exchange(surrogate_, 0) - 0xd800) << 10) + (code - 0xdc00);
    const auto tail = [&](unsigned shift) { decoded(static_cast<unsigned char>(0x80 | ((code >> shift) & 0x3f))); };
    if (code < 0x80) {
        decoded(static_cast<unsigned char>(code));
    } else if (code < 0x800) {
        decoded(static_cast<unsigned char>(0xc0 | (code >> 6)));
        tail(0);
    } else if (code < 0x10000) {
        decoded(static_cast<unsigned char>(0xe0 | (code >> 12)));
        tail(6);
        tail(0);
    } else {
        decoded(static_cast<unsigned char>(0xf0 | (code >> 18)));
        tail(12);
        tail(6);
        tail(0);
    }
    return {};
}

Result<void> JsonCheck::end_string() {
    if (!is_key_) {
        ++at_;
        end_value();
        --at_;
        return {};
    }
    Level& level = levels_.back();
    level.keys.push_back(hash_);
    state_ = State::colon;
    if (levels_.size() != 1) return {};
    ++member_count_;
    keeps_member_ = members_.size() <= k_members_kept || key_ == "*";
    if (keeps_member_) {
        members_.back().key = key_;
    } else {
        members_.pop_back();
    }
    return {};
}

// --- numbers -------------------------------------------------------------------------------------------------------

Result<void> JsonCheck::take_in_number(unsigned char c) {
    bool goes_on = true;
    switch (number_state_) {
        case Number::minus:
            if (!is_digit(c)) return wrong("a number must have digits");
            number_state_ = c == '0' ? Number::zero : Number::digits;
            break;
        case Number::zero:
        case Number::digits:
            if (is_digit(c)) {
                if (number_state_ == Number::zero) return wrong("a number must not begin with zeros");
            } else if (c == '.') {
                number_state_ = Number::dot;
            } else if (c == 'e' || c == 'E') {
                number_state_ = Number::e;
            } else {
                goes_on = false;
            }
            break;
        case Number::dot:
        case Number::sign:
            if (!is_digit(c)) return wrong("a number must have digits");
            number_state_ = number_state_ == Number::dot ? Number::fraction : Number::exponent;
            break;
        case Number::fraction:
            if (c == 'e' || c == 'E') {
                number_state_ = Number::e;
            } else {
                goes_on = is_digit(c);
            }
            break;
        case Number::e:
            if (c != '+' && c != '-' && !is_digit(c)) return wrong("a number must have digits");
            number_state_ = is_digit(c) ? Number::exponent : Number::sign;
            break;
        case Number::exponent: goes_on = is_digit(c); break;
    }
    if (!goes_on) {
        RH_TRY_VOID(end_number());
        return take(c);
    }
    is_fraction_ = is_fraction_ || !is_digit(c);
    if (number_.size() >= limits::k_json_number_bytes_max) return wrong(fmt::format("a number has more than {} digits", limits::k_json_number_bytes_max));
    number_ += static_cast<char>(c);
    return {};
}

Result<void> JsonCheck::end_number() {
    const bool whole = number_state_ == Number::zero || number_state_ == Number::digits || number_state_ == Number::fraction || number_state_ == Number::exponent;
    if (!whole) return wrong("a number must have digits");
    // Readers would make an infinity of it, which JSON does not have.
    if (is_fraction_ && number_.size() > 3 && !std::isfinite(std::strtod(number_.c_str(), nullptr))) return wrong("a number is too large");
    end_value();
    return {};
}

}  // namespace rh::http
