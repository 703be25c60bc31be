#include "http/request.h"

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::http {

namespace {

namespace beast = boost::beast;

constexpr std::string_view k_end_of_head = "\r\n\r\n";

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// What two readers of one head could take for different things.
Try<> check_bytes(std::string_view head) {
    std::size_t line_begin = 0;
    bool first_line = true;
    for (std::size_t i = 0; i < head.size(); ++i) {
        const auto c = static_cast<unsigned char>(head[i]);
        if (c == '\r') {
            if (i + 1 == head.size() || head[i + 1] != '\n') return refuse(Refusal::broken(400, "the head of the request has a carriage return without a line feed"));
            const std::string_view line = head.substr(line_begin, i - line_begin);
            if (!first_line && !line.empty()) {
                if (line.front() == ' ' || line.front() == '\t') return refuse(Refusal::broken(400, "a header goes on in a second line, which HTTP/1.1 no longer has"));
                const std::size_t colon = line.find(':');
                if (colon == 0 || colon == line.npos) return refuse(Refusal::broken(400, "a line of the head is no header"));
                if (line[colon - 1] == ' ' || line[colon - 1] == '\t') return refuse(Refusal::broken(400, "there is a space before the colon of a header"));
            }
            first_line = false;
            line_begin = i + 2;
            ++i;
            continue;
        }
        if (c == '\n') return refuse(Refusal::broken(400, "the head of the request has a line feed without a carriage return"));
        if ((c < 0x20 && c != '\t') || c == 0x7f) return refuse(Refusal::broken(400, "the head of the request has a control character"));
    }
    return {};
}

Try<> read_target(Request& request) {
    if (request.target.size() > limits::k_http_target_bytes_max)
        return refuse(Refusal::broken(414, fmt::format("the target has {} bytes; at most {} are allowed: send arguments in the body of a POST", request.target.size(), limits::k_http_target_bytes_max)));
    std::string_view rest = request.target;
    if (!rest.starts_with('/')) return refuse(Refusal::broken(400, "the target must be a path that begins with '/'"));
    for (const char c : rest) {
        if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) return refuse(Refusal::broken(400, "the target has a character that must be percent-encoded"));
    }
    if (rest.find('#') != rest.npos) return refuse(Refusal::broken(400, "the target has a fragment, which is not sent"));
    const std::size_t mark = rest.find('?');
    std::string_view path = rest.substr(1, mark == rest.npos ? rest.npos : mark - 1);
    // One slash at the end means the same as none.
    if (path.ends_with('/')) path.remove_suffix(1);
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view raw = path.substr(0, slash);
        const std::optional<std::string> segment = percent_decoded(raw, false);
        if (!segment || !is_utf8(*segment)) return refuse(Refusal::broken(400, "a segment of the path is not percent-encoded UTF-8"));
        const bool odd = std::any_of(segment->begin(), segment->end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '/' || c == '\\' || c == 0x7f; });
        if (odd || segment->empty() || *segment == "." || *segment == "..")
            return refuse(Refusal::broken(400, "a segment of the path is empty, \".\" or \"..\", or has a slash, a backslash or a control character in it"));
        request.path.push_back(*segment);
        path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
    }
    if (mark == rest.npos) return {};
    std::string_view query = rest.substr(mark + 1);
    while (!query.empty()) {
        const std::size_t end = query.find('&');
        const std::string_view pair = query.substr(0, end);
        query = end == query.npos ? std::string_view() : query.substr(end + 1);
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        const std::optional<std::string> name = percent_decoded(pair.substr(0, equals), true);
        const std::optional<std::string> value = percent_decoded(equals == pair.npos ? std::string_view() : pair.substr(equals + 1), true);
        if (!name || !value || !is_utf8(*name) || !is_utf8(*value)) return refuse(400, "the query is not percent-encoded UTF-8");
        request.query.emplace_back(*name, *value);
    }
    return {};
}

// Exactly one clear statement of how long the body is, or none.
Try<> read_framing(Request& request) {
    const std::size_t lengths = request.count("content-length");
    const std::size_t encodings = request.count("transfer-encoding");
    if (lengths != 0 && encodings != 0) return refuse(Refusal::broken(400, "the request has both a Content-Length and a Transfer-Encoding"));
    if (lengths > 1) return refuse(Refusal::broken(400, "the request has more than one Content-Length"));
    if (encodings > 1 || (encodings == 1 && lower(request.header("transfer-encoding")) != "chunked"))
        return refuse(Refusal::broken(400, "the only Transfer-Encoding that is understood is \"chunked\""));
    if (encodings == 1 && !request.version_11) return refuse(Refusal::broken(400, "HTTP/1.0 has no Transfer-Encoding"));
    if (encodings == 1) request.framing = Request::Framing::chunked;
    if (lengths == 1) {
        const std::string_view digits = request.header("content-length");
        const bool whole = !digits.empty() && digits.size() <= 19 && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
        if (!whole) return refuse(Refusal::broken(400, "the Content-Length is no whole number"));
        std::from_chars(digits.data(), digits.data() + digits.size(), request.length);
        request.framing = Request::Framing::length;
    }
    return {};
}

Try<> read_connection(Request& request) {
    if (request.count("host") > 1) return refuse(Refusal::broken(400, "the request has more than one Host"));
    request.keep_alive = request.version_11;
    bool upgrade = false;
    for (const auto& [name, value] : request.headers) {
        if (name != "connection") continue;
        for (const std::string_view token : list_of(value)) {
            const std::string word = lower(token);
            if (word == "close") request.keep_alive = false;
            if (word == "keep-alive" && !request.version_11) request.keep_alive = true;
            if (word == "upgrade") upgrade = true;
        }
    }
    request.wants_upgrade = upgrade && lower(request.header("upgrade")) == "roundhouse";
    if (request.count("expect") != 0) {
        if (lower(request.header("expect")) != "100-continue") return refuse(Refusal::broken(417, "the only expectation that is understood is \"100-continue\""));
        request.expects_continue = request.version_11;
    }
    return {};
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return {};
}

std::size_t Request::count(std::string_view name) const {
    return static_cast<std::size_t>(std::count_if(headers.begin(), headers.end(), [&](const auto& entry) { return entry.first == name; }));
}

std::string Request::media_type() const {
    const std::string_view value = header("content-type");
    return lower(trimmed(value.substr(0, value.find(';'))));
}

std::string Request::media_parameter(std::string_view name) const {
    std::string_view value = header("content-type");
    while (true) {
        const std::size_t semicolon = value.find(';');
        if (semicolon == value.npos) return {};
        value.remove_prefix(semicolon + 1);
        const std::size_t equals = value.find('=');
        if (equals == value.npos || lower(trimmed(value.substr(0, equals))) != name) continue;
        std::string_view found = trimmed(value.substr(equals + 1));
        if (found.starts_with('"')) return std::string(found.substr(1, found.find('"', 1) - 1));
        return std::string(trimmed(found.substr(0, found.find(';'))));
    }
}

Try<std::optional<std::pair<Request, std::size_t>>> Request::parse(ByteView bytes) {
    std::string_view text = as_text(bytes);
    // Some clients send an empty line behind a body.
    std::size_t skipped = 0;
    while (text.starts_with("\r\n") && skipped < 4) {
        text.remove_prefix(2);
        skipped += 2;
    }
    const std::size_t end = text.find(k_end_of_head);
    if (end == text.npos || end + k_end_of_head.size() > limits::k_http_head_bytes_max) {
        const std::size_t line = text.find("\r\n");
        // What cannot become a request is told so before all of it has come.
        if (const auto checked = check_bytes(text.substr(0, line == text.npos ? std::min<std::size_t>(text.find('\r'), text.size()) : line)); !checked) return refuse(checked.error());
        if (line == text.npos ? text.size() > limits::k_http_target_bytes_max + 64 : line > limits::k_http_target_bytes_max + 64)
            return refuse(Refusal::broken(414, fmt::format("the first line of the request is too long; a target may have {} bytes", limits::k_http_target_bytes_max)));
        if (text.size() >= limits::k_http_head_bytes_max) return refuse(Refusal::broken(431, fmt::format("the head of the request exceeds {} bytes", limits::k_http_head_bytes_max)));
        return std::nullopt;
    }
    const std::string_view head = text.substr(0, end + k_end_of_head.size());
    if (const auto checked = check_bytes(head); !checked) return refuse(checked.error());

    beast::http::request_parser<beast::http::empty_body> parser;
    parser.header_limit(limits::k_http_head_bytes_max);
    parser.skip(true);
    beast::error_code error;
    parser.put(boost::asio::const_buffer(head.data(), head.size()), error);
    if (error || !parser.is_header_done()) return refuse(Refusal::broken(400, fmt::format("this is not an HTTP request: {}", error ? error.message() : "it has no end")));
    const auto& parsed = parser.get();
    std::pair<Request, std::size_t> made;
    made.second = skipped + head.size();
    Request& request = made.first;
    request.method = std::string(parsed.method_string());
    request.target = std::string(parsed.target());
    if (parsed.version() != 11 && parsed.version() != 10) return refuse(Refusal::broken(400, "this is no HTTP/1.1 request"));
    request.version_11 = parsed.version() == 11;
    for (const auto& field : parsed) {
        if (request.headers.size() >= limits::k_http_headers_max) return refuse(Refusal::broken(431, fmt::format("the request has more than {} headers", limits::k_http_headers_max)));
        const auto value = field.value();
        const auto name = field.name_string();
        request.headers.emplace_back(lower({name.data(), name.size()}), std::string(value.data(), value.size()));
    }
    if (const auto read = read_framing(request); !read) return refuse(read.error());
    if (const auto read = read_connection(request); !read) return refuse(read.error());
    if (const auto read = read_target(request); !read) return refuse(read.error());
    return made;
}

std::optional<std::string> percent_decoded(std::string_view text, bool plus) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus) {
            decoded += ' ';
        } else if (text[i] == '%') {
            if (i + 2 >= text.size()) return std::nullopt;
            const int high = digit_of(text[i + 1]);
            const int low = digit_of(text[i + 2]);
            if (high < 0 || low < 0) return std::nullopt;
            decoded += static_cast<char>(high * 16 + low);
            i += 2;
        } else {
            decoded += text[i];
        }
    }
    return decoded;
}

std::string lower(std::string_view text) {
    std::string made(text);
    std::transform(made.begin(), made.end(), made.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return made;
}

bool is_utf8(std::string_view text) {
    std::size_t i = 0;
    const auto at = [&](std::size_t place) { return place < text.size() ? static_cast<unsigned char>(text[place]) : 0u; };
    while (i < text.size()) {
        const unsigned lead = at(i);
        std::size_t more = 0;
        unsigned low = 0x80;
        unsigned high = 0xbf;
        if (lead < 0x80) {
            more = 0;
        } else if (lead >= 0xc2 && lead <= 0xdf) {
            more = 1;
        } else if (lead >= 0xe0 && lead <= 0xef) {
            more = 2;
            if (lead == 0xe0) low = 0xa0;
            if (lead == 0xed) high = 0x9f;
        } else if (lead >= 0xf0 && lead <= 0xf4) {
            more = 3;
            if (lead == 0xf0) low = 0x90;
            if (lead == 0xf4) high = 0x8f;
        } else {
            return false;
        }
        for (std::size_t k = 1; k <= more; ++k) {
            if (at(i + k) < low || at(i + k) > high) return false;
            low = 0x80;
            high = 0xbf;
        }
        i += more + 1;
    }
    return true;
}

std::vector<std::string_view> list_of(std::string_view header, char separator) {
    std::vector<std::string_view> entries;
    while (!header.empty()) {
        const std::size_t end = header.find(separator);
        const std::string_view entry = trimmed(header.substr(0, end));
        if (!entry.empty()) entries.push_back(entry);
        header = end == header.npos ? std::string_view() : header.substr(end + 1);
    }
    return entries;
}

std::vector<std::string> accepted_types(std::string_view header) {
    std::vector<std::pair<double, std::string>> found;
    for (const std::string_view entry : list_of(header)) {
        const auto parts = list_of(entry, ';');
        if (parts.empty()) continue;
        double quality = 1;
        for (std::size_t i = 1; i < parts.size(); ++i) {
            const std::string parameter = lower(parts[i]);
            if (!parameter.starts_with("q=")) continue;
            const auto [end, error] = std::from_chars(parameter.data() + 2, parameter.data() + parameter.size(), quality);
            if (error != std::errc()) quality = 0;
        }
        if (quality > 0) found.emplace_back(quality, lower(parts[0]));
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<std::string> types;
    for (auto& [quality, type] : found) types.push_back(std::move(type));
    if (types.empty()) types.emplace_back("*/*");
    return types;
}

}  // namespace rh::http
