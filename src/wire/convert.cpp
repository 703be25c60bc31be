#include "wire/convert.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::wire {

namespace {

// Facts beside a stderr tail (signal, exit_code, started, ...) share this much of a header.
constexpr std::size_t k_small_facts_bytes = 4 * 1024;
constexpr std::size_t k_small_fact_bytes_min = 64;
constexpr std::size_t k_fact_key_bytes_max = 128;
constexpr std::size_t k_fact_frame_bytes = 16;  // tags and lengths, at most

// How many bytes the UTF-8 character at the front of `text` has; 0 where none stands there. As strict as protobuf's own
// check, which refuses overlong forms and surrogates: what passes here never breaks a frame.
std::size_t character_bytes(std::string_view text) {
    const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const auto in = [](unsigned value, unsigned low, unsigned high) { return value >= low && value <= high; };
    const unsigned lead = at(0);
    if (lead < 0x80) return 1;
    if (in(lead, 0xc2, 0xdf)) return in(at(1), 0x80, 0xbf) ? 2 : 0;
    if (in(lead, 0xe0, 0xef)) {
        const unsigned low = lead == 0xe0 ? 0xa0 : 0x80;
        const unsigned high = lead == 0xed ? 0x9f : 0xbf;
        return in(at(1), low, high) && in(at(2), 0x80, 0xbf) ? 3 : 0;
    }
    if (in(lead, 0xf0, 0xf4)) {
        const unsigned low = lead == 0xf0 ? 0x90 : 0x80;
        const unsigned high = lead == 0xf4 ? 0x8f : 0xbf;
        return in(at(1), low, high) && in(at(2), 0x80, 0xbf) && in(at(3), 0x80, 0xbf) ? 4 : 0;
    }
    return 0;
}

bool is_text(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = character_bytes(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

// What a part's size takes in a header, and what stands around a message there.
constexpr std::size_t k_part_size_bytes_max = 6;
constexpr std::size_t k_header_frame_bytes = 32;

}  // namespace

Message message_of(Kind kind, std::uint64_t stream) {
    Message message;
    message.set_kind(kind);
    message.set_stream(stream);
    return message;
}

Result<void> check_sendable(const Message& message, std::size_t parts) {
    if (parts > limits::k_body_parts_max)
        return fail(Code::limit_exceeded, fmt::format("a value with {} separate buffers cannot be sent; at most {} are allowed: join small arrays into larger ones",
                                                      parts - 1, limits::k_body_parts_max - 1));
    if (!is_text(message.service()) || !is_text(message.method()))
        return fail(Code::invalid_name, "a service's or method's name is not UTF-8");
    const std::size_t header_bytes = message.ByteSizeLong() + parts * k_part_size_bytes_max + k_header_frame_bytes;
    if (header_bytes > limits::k_frame_header_bytes_max)
        return fail(Code::limit_exceeded, fmt::format("the names of service and method and the ids of the call take {} bytes; at most {} are allowed",
                                                      header_bytes, limits::k_frame_header_bytes_max));
    return {};
}

Result<std::uint64_t> whole_body_bytes(const Message& message) {
    if (static_cast<std::size_t>(message.parts_size()) > limits::k_body_parts_max)
        return fail(Code::protocol, fmt::format("a body has {} parts; at most {} are allowed", message.parts_size(), limits::k_body_parts_max));
    std::uint64_t sum = 0;
    for (const std::uint64_t part : message.parts()) {
        if (part > limits::k_body_bytes_max || sum + part > limits::k_body_bytes_max)
            return fail(Code::protocol, fmt::format("a body announces more than {} bytes", limits::k_body_bytes_max));
        sum += part;
    }
    return sum;
}

void describe_body(Message& message, const Body& body) {
    message.set_encoding(static_cast<Encoding>(body.encoding));
    message.clear_parts();
    for (const std::uint64_t part : body.part_bytes) message.add_parts(part);
}

void take_description(Message& message, Body& body) {
    // Proto3 keeps numbers that this build does not know; they are the enum's zero here.
    body.encoding = Encoding_IsValid(message.encoding()) ? static_cast<rh::Encoding>(message.encoding()) : rh::Encoding::empty;
    body.part_bytes.assign(message.parts().begin(), message.parts().end());
}

void set_error(Message& message, const Error& error) {
    Failure& failure = *message.mutable_error();
    failure.set_code(static_cast<std::uint32_t>(error.code));
    failure.set_message(keep_end(error.message, limits::k_error_text_bytes_max));
    // All of it has to fit one header, whatever was collected: facts are cut, and then left out, in their order.
    std::size_t left = limits::k_stderr_tail_bytes + k_small_facts_bytes;
    for (const auto& [key, value] : error.context) {
        const std::string name = keep_end(key, k_fact_key_bytes_max);
        if (left < name.size() + k_fact_frame_bytes + k_small_fact_bytes_min) break;
        left -= name.size() + k_fact_frame_bytes;
        Fact& fact = *failure.add_facts();
        fact.set_key(name);
        fact.set_value(keep_end(value, std::min(left, limits::k_stderr_tail_bytes)));
        left -= fact.value().size();
    }
}

Error error_of(const Message& message) {
    Error error(code_from_number(message.error().code()), message.error().message());
    for (const Fact& fact : message.error().facts()) error.context.emplace_back(fact.key(), fact.value());
    return error;
}

Message result_message(const rh::Outcome& outcome) {
    Message message;
    message.set_kind(RESULT);
    message.set_outcome(static_cast<Ending>(outcome.kind));
    if (outcome.kind == rh::Outcome::Kind::raised) {
        Raised& raised = *message.mutable_raised();
        raised.set_type(keep_end(outcome.raised.type, 1024));
        raised.set_message(keep_end(outcome.raised.message, limits::k_error_text_bytes_max));
        raised.set_traceback(keep_end(outcome.raised.traceback, limits::k_error_text_bytes_max));
    } else if (outcome.kind == rh::Outcome::Kind::failed) {
        set_error(message, outcome.error);
    }
    describe_body(message, outcome.body);
    return message;
}

rh::Outcome outcome_of(Message& message, Body body) {
    rh::Outcome outcome;
    outcome.body = std::move(body);
    if (message.outcome() == RETURNED) return outcome;
    if (message.outcome() == RAISED) {
        outcome.kind = rh::Outcome::Kind::raised;
        outcome.raised = {message.raised().type(), message.raised().message(), message.raised().traceback()};
    } else {
        // FAILED, or an ending that only a newer peer knows: never taken for a value.
        outcome.kind = rh::Outcome::Kind::failed;
        outcome.error = error_of(message);
    }
    return outcome;
}

std::string keep_end(std::string_view text, std::size_t bytes_max) {
    constexpr std::string_view k_mark = "[... cut ...]\n";
    std::string_view kept = text;
    bool cut = false;
    if (text.size() > bytes_max) {
        cut = bytes_max > k_mark.size();  // where not even the mark fits, the end alone is kept
        kept.remove_prefix(text.size() - bytes_max + (cut ? k_mark.size() : 0));
        // Continuation bytes of a character that the cut has split.
        while (!kept.empty() && (static_cast<unsigned char>(kept.front()) & 0xc0) == 0x80) kept.remove_prefix(1);
    }
    // proto3 strings are UTF-8: a byte that cannot stand there becomes '?', so that a program's stderr never breaks a frame.
    std::string clean;
    clean.reserve(kept.size() + k_mark.size());
    if (cut) clean = k_mark;
    while (!kept.empty()) {
        const std::size_t length = character_bytes(kept);
        if (length != 0) {
            clean.append(kept.substr(0, length));
        } else {
            clean += '?';
        }
        kept.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return clean;
}

}  // namespace rh::wire
