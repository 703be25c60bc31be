#pragma once

// The head of one HTTP/1.1 request as values: read off bytes without I/O, and strict, because whoever stands in front of this node
// may read a request that is not clear in another way (protocol/http.md, Bounds).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "http/refusal.h"

namespace rh::http {

// The query of a target, decoded, in its order.
using Query = std::vector<std::pair<std::string, std::string>>;

struct Request {
    enum class Framing { none, length, chunked };

    std::string method;
    bool version_11 = true;
    std::string target;
    std::vector<std::string> path;  // decoded segments; none for "/"
    Query query;
    Headers headers;                // names in lower case
    Framing framing = Framing::none;
    std::uint64_t length = 0;       // with Framing::length
    bool expects_continue = false;
    bool keep_alive = true;
    bool wants_upgrade = false;     // to frames

    // The first header of that name (in lower case), or "".
    std::string_view header(std::string_view name) const;
    std::size_t count(std::string_view name) const;
    bool has_body() const { return framing == Framing::chunked || length != 0; }
    // The media type of its body in lower case, without parameters, and one of its parameters.
    std::string media_type() const;
    std::string media_parameter(std::string_view name) const;

    // The head at the front of `bytes`, and how long it is; nothing while it is not whole.
    static Try<std::optional<std::pair<Request, std::size_t>>> parse(ByteView bytes);
};

// "a%20b+c" as text; nothing where it is malformed. `plus` says that a plus stands for a space.
std::optional<std::string> percent_decoded(std::string_view text, bool plus);
std::string lower(std::string_view text);
bool is_utf8(std::string_view text);
// Entries of a list in a header, without the white space around them.
std::vector<std::string_view> list_of(std::string_view header, char separator = ',');
// The media types of an Accept header in lower case, the most wanted first; "*/*" where it says nothing.
std::vector<std::string> accepted_types(std::string_view header);

}  // namespace rh::http
