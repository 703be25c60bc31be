// Any bytes are a request or are refused, and so are any bytes as JSON: within bounds, with the same verdict in pieces, and what is
// taken for JSON is JSON to another reader as well.

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "http/json_check.h"
#include "http/multipart.h"
#include "http/request.h"

namespace {

void expect(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "request_fuzz: broken: %s\n", what);
    std::abort();
}

void check_request(rh::ByteView input) {
    const auto parsed = rh::http::Request::parse(input);
    if (!parsed) {
        expect(parsed.error().status >= 400 && parsed.error().status < 500, "a refusal blames the sender");
        return;
    }
    if (!*parsed) {
        expect(input.size() < rh::limits::k_http_head_bytes_max + 8, "a head is bounded");
        return;
    }
    const auto& [request, bytes] = **parsed;
    expect(bytes <= input.size() && bytes <= rh::limits::k_http_head_bytes_max + 8, "a head is within its bytes");
    expect(request.target.size() <= rh::limits::k_http_target_bytes_max, "a target is bounded");
    expect(request.count("content-length") + request.count("transfer-encoding") <= 1, "the framing is clear");
    for (const std::string& segment : request.path) {
        expect(!segment.empty() && segment != "." && segment != "..", "a segment is a name");
        expect(segment.find('/') == segment.npos && segment.find('\0') == segment.npos, "a segment is one name");
    }
    static_cast<void>(request.media_type());
    static_cast<void>(request.media_parameter("boundary"));
    static_cast<void>(rh::http::accepted_types(request.header("accept")));
}

// It keeps a whole number that is too large for its own in a double and stops where that overflows; JSON itself has no bound.
bool another_reader_takes(std::string_view text) {
    try {
        static_cast<void>(nlohmann::json::parse(text));
        return true;
    } catch (const nlohmann::json::out_of_range& error) {
        return error.id == 406;
    } catch (const nlohmann::json::exception&) {
        return false;
    }
}

void check_json(rh::ByteView input) {
    rh::http::JsonCheck whole;
    const bool accepted = whole.feed(input) && whole.finish();
    rh::http::JsonCheck pieces;
    bool accepted_in_pieces = true;
    for (std::size_t i = 0; i < input.size() && accepted_in_pieces; ++i) accepted_in_pieces = pieces.feed(input.subspan(i, 1)).has_value();
    accepted_in_pieces = accepted_in_pieces && pieces.finish();
    expect(accepted == accepted_in_pieces, "the verdict does not depend on the pieces");
    if (!accepted) return;
    expect(another_reader_takes(rh::as_text(input)), "another reader takes it for JSON");
    for (const auto& member : whole.members()) {
        const auto value = rh::as_text(input).substr(member.value_begin, member.value_end - member.value_begin);
        expect(another_reader_takes(value), "a member's value is where it is said to be");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const rh::ByteView input(reinterpret_cast<const std::byte*>(bytes), size);
    check_request(input);
    check_json(input);
    static_cast<void>(rh::http::read_form(rh::as_text(input), "b"));
    return 0;
}
