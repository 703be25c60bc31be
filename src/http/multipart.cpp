#include "http/multipart.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "http/request.h"

namespace rh::http {

namespace {

constexpr std::size_t k_boundary_bytes_max = 70;
constexpr std::size_t k_field_head_bytes_max = 4096;

// A parameter of a Content-Disposition; quotes may hold escaped ones.
std::string parameter(std::string_view header, std::string_view name) {
    std::size_t at = header.find(';');
    while (at != header.npos) {
        std::string_view rest = header.substr(at + 1);
        while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
        const std::size_t equals = rest.find('=');
        if (equals == rest.npos) return {};
        const bool is_it = lower(rest.substr(0, equals)) == name;
        rest.remove_prefix(equals + 1);
        std::string value;
        std::size_t i = 0;
        if (rest.starts_with('"')) {
            for (i = 1; i < rest.size() && rest[i] != '"'; ++i) {
                if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
                value += rest[i];
            }
        } else {
            for (; i < rest.size() && rest[i] != ';'; ++i) value += rest[i];
        }
        if (is_it) return value;
        const std::size_t next = rest.find(';', i);
        at = next == rest.npos ? header.npos : static_cast<std::size_t>(rest.data() - header.data()) + next;
    }
    return {};
}

tl::unexpected<Refusal> malformed(std::string_view what) { return refuse(400, fmt::format("the form is malformed: {}", what)); }

}  // namespace

Try<std::vector<FormField>> read_form(std::string_view body, std::string_view boundary) {
    if (boundary.empty() || boundary.size() > k_boundary_bytes_max) return malformed("its Content-Type names no boundary");
    const std::string first = fmt::format("--{}", boundary);
    const std::string next = "\r\n" + first;
    std::vector<FormField> fields;
    if (!body.starts_with(first)) return malformed("it does not begin with its boundary");
    body.remove_prefix(first.size());
    for (;;) {
        if (body.starts_with("--")) return fields;
        if (!body.starts_with("\r\n")) return malformed("a boundary is not the whole of its line");
        body.remove_prefix(2);
        if (fields.size() >= limits::k_http_form_fields_max) return refuse(413, fmt::format("the form has more than {} fields", limits::k_http_form_fields_max));
        const std::size_t head_end = body.substr(0, k_field_head_bytes_max).find("\r\n\r\n");
        if (head_end == body.npos) return malformed("a field has no head, or a very long one");
        std::string_view head = body.substr(0, head_end);
        body.remove_prefix(head_end + 4);
        FormField field;
        while (!head.empty()) {
            const std::size_t line_end = head.find("\r\n");
            const std::string_view line = head.substr(0, line_end);
            head = line_end == head.npos ? std::string_view() : head.substr(line_end + 2);
            const std::size_t colon = line.find(':');
            if (colon == line.npos) return malformed("a line of a field's head is no header");
            const std::string key = lower(line.substr(0, colon));
            if (key == "content-transfer-encoding") return malformed("its fields must be sent as they are");
            if (key != "content-disposition") continue;
            field.name = parameter(line, "name");
            field.is_file = lower(line).find("filename") != std::string::npos;
        }
        if (field.name.empty() || !is_utf8(field.name)) return malformed("a field has no name");
        const std::size_t end = body.find(next);
        if (end == body.npos) return malformed("its end is missing");
        field.content = body.substr(0, end);
        body.remove_prefix(end + next.size());
        fields.push_back(std::move(field));
    }
}

}  // namespace rh::http
