#include "http/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "http/multipart.h"

namespace rh::http {

using net::asio::awaitable;

namespace {

constexpr double k_longest_seconds = 10.0 * 365 * 24 * 3600;

Try<bool> flag(std::string_view name, std::string_view value) {
    const std::string word = lower(value);
    if (word == "true" || word == "1" || word.empty()) return true;
    if (word == "false" || word == "0") return false;
    return refuse(400, fmt::format("\"{}\" is true or false, not \"{:.64}\"", name, value));
}

Try<> set_option(CallOptions& options, std::string_view name, const std::string& value) {
    if (name == "name") {
        if (const auto valid = check_name("object", value, limits::k_name_bytes_max); !valid) return refuse(Refusal(valid.error()));
        options.name = value;
        return {};
    }
    if (name == "process") {
        options.process = value;
        return {};
    }
    if (name == "timeout") {
        double seconds = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
        if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(seconds) || seconds <= 0)
            return refuse(400, fmt::format("\"timeout\" is a number of seconds above zero, not \"{:.64}\"", value));
        options.timeout_ms = static_cast<std::uint64_t>(std::ceil(std::min(seconds, k_longest_seconds) * 1000));
        return {};
    }
    const Try<bool> on = flag(name, value);
    if (!on) return refuse(on.error());
    if (name == "remote") options.remote = *on;
    if (name == "logs") options.logs = *on;
    if (name == "kill") options.kill = *on;
    return {};
}

constexpr std::string_view k_options[] = {"remote", "timeout", "logs", "name", "kill", "process"};

bool is_option(std::string_view name) { return std::find(std::begin(k_options), std::end(k_options), name) != std::end(k_options); }

std::string accept_member(const std::string& accept) { return accept.empty() ? std::string() : fmt::format(",\"accept\":{}", json_string(accept)); }

// {"name": "text", "again": ["one", "two"]}
std::string texts_object(const std::vector<std::pair<std::string, std::string>>& named) {
    std::map<std::string, std::vector<std::string>> grouped;
    for (const auto& [name, value] : named) grouped[name].push_back(json_string(value));
    std::string object = "{";
    for (const auto& [name, values] : grouped) {
        if (object.size() > 1) object += ',';
        object += fmt::format("{}:{}", json_string(name), values.size() == 1 ? values.front() : fmt::format("[{}]", fmt::join(values, ",")));
    }
    return object + '}';
}

Arguments of_text(const std::string& text) {
    Arguments arguments;
    arguments.part_bytes.push_back(text.size());
    arguments.bytes.append(as_byte_view(text));
    return arguments;
}

bool is_raw(std::string_view type) { return type == k_npy || type == k_bytes || type.starts_with("text/"); }

// The text that says that the one positional argument is the part behind it.
std::string text_of_raw(const Request& request, const std::string& accept) {
    const std::string type(request.media_type() == "text/plain" || request.media_type().starts_with("text/") ? std::string(request.header("content-type")) : request.media_type());
    return fmt::format(R"({{"args":[{{"$part":1,"type":{}}}],"kwargs":{},"texts":true{}}})", json_string(type), texts_object(request.query), accept_member(accept));
}

Try<Arguments> arguments_of_form(const Bytes& body, const Request& request, const std::string& accept) {
    const Try<std::vector<FormField>> fields = read_form(as_text(body.view()), request.media_parameter("boundary"));
    if (!fields) return refuse(fields.error());
    std::map<std::string, std::vector<std::string>> named;
    Arguments arguments;
    arguments.part_bytes.push_back(0);
    for (const FormField& field : *fields) {
        if (field.is_file) {
            named[field.name].push_back(fmt::format(R"({{"$part":{},"type":"application/octet-stream"}})", arguments.part_bytes.size()));
            arguments.part_bytes.push_back(field.content.size());
        } else {
            if (!is_utf8(field.content)) return refuse(400, fmt::format("the field \"{:.64}\" of the form is not UTF-8", field.name));
            named[field.name].push_back(json_string(field.content));
        }
    }
    std::string object = "{";
    for (const auto& [name, values] : named) {
        if (object.size() > 1) object += ',';
        object += fmt::format("{}:{}", json_string(name), values.size() == 1 ? values.front() : fmt::format("[{}]", fmt::join(values, ",")));
    }
    const std::string text = fmt::format(R"({{"kwargs":{}}},"texts":true{}}})", object, accept_member(accept));
    arguments.part_bytes.front() = text.size();
    arguments.bytes.append(as_byte_view(text));
    for (const FormField& field : *fields) {
        if (field.is_file) arguments.bytes.append(as_byte_view(field.content));
    }
    return arguments;
}

}  // namespace

bool is_json_or_nothing(const Request& request) {
    return !request.has_body() || request.media_type() == k_json;
}

Try<CallOptions> options_of(const Request& request, bool in_query) {
    CallOptions options;
    for (const auto& [name, value] : request.query) {
        if (!in_query) break;
        if (!is_option(name)) {
            return refuse(400, fmt::format("\"{:.64}\" is no option of a call (those are {}); arguments stand in the body of a POST, or in the query of a GET of a readonly method", name,
                                           fmt::join(k_options, ", ")));
        }
        if (const auto set = set_option(options, name, value); !set) return refuse(set.error());
    }
    for (const std::string_view name : k_options) {
        const std::string header = fmt::format("roundhouse-{}", name);
        if (request.count(header) == 0) continue;
        const std::string value(request.header(header));
        if (const auto set = set_option(options, name, value); !set) return refuse(set.error());
    }
    return options;
}

std::string accept_for_worker(const Request& request) {
    const std::string accept = lower(request.header("accept"));
    if (accept.empty() || accept == "*/*" || accept == k_json) return {};
    return accept;
}

Arguments arguments_of_query(const Request& request, const std::string& accept) {
    return of_text(fmt::format(R"({{"kwargs":{},"texts":true{}}})", texts_object(request.query), accept_member(accept)));
}

awaitable<Try<JsonBody>> read_json(Exchange& exchange, Kept& kept) {
    BodyReader& body = exchange.body;
    const std::size_t most = body.has_length() ? limits::k_http_json_bytes_max : limits::k_http_chunked_bytes_max;
    if (body.has_length() && body.length() > most) co_return refuse(413, fmt::format("the body has {} bytes; JSON may have {}: send arrays and files as they are (application/x-npy, application/octet-stream)", body.length(), most));
    JsonBody read;
    for (;;) {
        const Try<ByteView> piece = co_await body.next();
        if (!piece) co_return refuse(piece.error());
        if (piece->empty()) break;
        if (read.text.size() + piece->size() > most) co_return refuse(Refusal::broken(411, fmt::format("the body has more than {} bytes: send its Content-Length", most)));
        const Result<void> fed = read.check.feed(*piece);
        if (!fed) co_return refuse(Refusal(fed.error()));
        const Try<> counted = kept.add(piece->size());
        if (!counted) co_return refuse(counted.error());
        read.text.append(*piece);
        body.take(piece->size());
    }
    const Result<void> finished = read.check.finish();
    if (!finished) co_return refuse(Refusal(finished.error()));
    co_return read;
}

Try<Arguments> arguments_of_json(const JsonBody& body, const std::string& accept) {
    const std::string_view text = as_text(body.text.view());
    const std::string end = accept_member(accept) + '}';
    Arguments arguments;
    const auto add = [&](std::string_view more) { arguments.bytes.append(as_byte_view(more)); };
    arguments.bytes.reserve(text.size() + end.size() + 24);
    if (body.check.kind() == JsonCheck::Kind::array) {
        add("{\"args\":");
        add(text);
    } else if (body.check.kind() == JsonCheck::Kind::object) {
        const auto& members = body.check.members();
        const auto star = std::find_if(members.begin(), members.end(), [](const auto& member) { return member.key == "*"; });
        if (star == members.end()) {
            add("{\"kwargs\":");
            add(text);
        } else {
            const std::string_view positional = text.substr(star->value_begin, star->value_end - star->value_begin);
            if (!positional.starts_with('[')) return refuse(Refusal(Error(Code::bad_arguments, "\"*\" holds the positional arguments: an array")));
            // The member goes, with the comma on one of its sides.
            std::string_view before = text.substr(0, star->key_begin);
            std::string_view after = text.substr(star->value_end);
            const std::size_t following = after.find_first_not_of(" \t\r\n");
            if (after[following] == ',') {
                after.remove_prefix(following + 1);
            } else if (const std::size_t preceding = before.find_last_not_of(" \t\r\n"); before[preceding] == ',') {
                before = before.substr(0, preceding);
            }
            add("{\"args\":");
            add(positional);
            add(",\"kwargs\":");
            add(before);
            add(after);
        }
    } else {
        return refuse(400, "the body must be an object of named arguments, or an array of positional ones");
    }
    add(end);
    arguments.part_bytes.push_back(arguments.bytes.size());
    return arguments;
}

awaitable<Try<Arguments>> read_arguments(Exchange& exchange, Kept& kept, std::string accept, std::uint64_t kept_max) {
    const Request& request = exchange.request;
    BodyReader& body = exchange.body;
    if (!request.has_body()) {
        const std::string none = fmt::format(R"({{"args":[],"kwargs":{{}}{}}})", accept_member(accept));
        co_return of_text(none);
    }
    const std::string type = request.media_type();
    if (type == k_json) {
        const Try<JsonBody> json = co_await read_json(exchange, kept);
        if (!json) co_return refuse(json.error());
        co_return arguments_of_json(*json, accept);
    }
    if (type == "multipart/form-data") {
        const Try<Bytes> form = co_await read_whole(exchange, kept, body.has_length() ? limits::k_http_json_bytes_max : limits::k_http_chunked_bytes_max);
        if (!form) co_return refuse(form.error());
        co_return arguments_of_form(*form, request, accept);
    }
    if (type == k_pickle) {
        const Result<void> may = exchange.principal.may(daemon::Scope::deploy, "to send a pickle, which runs code");
        if (!may) co_return refuse(Refusal(may.error()));
    } else if (!is_raw(type)) {
        co_return refuse(415, fmt::format("a body of the type \"{:.64}\" is not understood: say Content-Type: application/json for arguments (curl: --json), application/x-npy for an array, "
                                          "application/octet-stream, text/plain or multipart/form-data", type));
    }
    Arguments arguments = of_text(type == k_pickle ? fmt::format(R"({{"args":{{"$part":1,"type":"application/x-pickle"}}{}}})", accept_member(accept)) : text_of_raw(request, accept));
    if (body.has_length() && kept_max == 0) {
        if (body.length() > limits::k_body_bytes_max - limits::k_http_head_bytes_max) co_return refuse(413, fmt::format("the body has more than {} bytes", limits::k_body_bytes_max));
        arguments.part_bytes.push_back(body.length());
        arguments.unread_bytes = body.length();
        co_return arguments;
    }
    const Try<Bytes> raw = co_await read_whole(exchange, kept, body.has_length() ? kept_max : limits::k_http_chunked_bytes_max);
    if (!raw) {
        Refusal refusal = raw.error();
        // It may be sent all the same, in another way.
        if (refusal.status == 413 && !body.has_length()) refusal.status = 411;
        co_return refuse(std::move(refusal));
    }
    arguments.part_bytes.push_back(raw->size());
    arguments.bytes.append(raw->view());
    co_return arguments;
}

}  // namespace rh::http
