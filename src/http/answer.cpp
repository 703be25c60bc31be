#include "http/answer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace rh::http {

using net::asio::awaitable;
using Json = nlohmann::json;

namespace {

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string error_object(const Error& error) {
    Json facts = Json::object();
    for (const auto& [key, value] : error.context) facts[key] = value;
    return dump({{"type", code_type(error.code)}, {"code", code_name(error.code)}, {"message", error.message}, {"facts", facts}});
}

std::string raised_object(const Raised& raised) {
    const std::string_view type = raised.type;
    constexpr std::string_view k_builtins = "builtins.";
    Json facts = Json::object();
    facts["started"] = "yes";
    return dump({{"type", type.starts_with(k_builtins) ? type.substr(k_builtins.size()) : type}, {"code", "raised"}, {"message", raised.message},
                 {"traceback", raised.traceback}, {"facts", facts}});
}

std::string json_string(std::string_view text) { return dump(Json(text)); }

Answer::Answer(Connection& connection, const Request& request)
    : connection_(connection), version_11_(request.version_11), head_only_(request.method == "HEAD"), keep_alive_(request.keep_alive), timeout_(limits::k_http_write_timeout) {}

void Answer::head(int status, std::string_view type, const Headers& headers) {
    status_ = status;
    ++connection_.shared().answers[status];
    head_ = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_of(status));
    if (!type.empty()) head_ += fmt::format("Content-Type: {}\r\n", type);
    for (const auto& [name, value] : headers) head_ += fmt::format("{}: {}\r\n", name, value);
    head_ += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
    if (!keep_alive_) {
        head_ += "Connection: close\r\n";
    } else if (!version_11_) {
        head_ += "Connection: keep-alive\r\n";
    }
}

void Answer::begin(int status, std::string_view type, std::uint64_t length, Headers headers) {
    head(status, type, headers);
    head_ += fmt::format("Content-Length: {}\r\n\r\n", length);
}

void Answer::begin_stream(int status, std::string_view type, Headers headers) {
    chunked_ = version_11_;
    // Without chunks the body ends with the connection.
    if (!chunked_) keep_alive_ = false;
    head(status, type, headers);
    head_ += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
}

awaitable<bool> Answer::write(ByteView bytes) {
    if (head_only_) bytes = ByteView();
    if (!head_.empty()) {
        // One write, where the body is short.
        Bytes both(as_byte_view(head_));
        head_.clear();
        const std::size_t with = std::min(bytes.size(), limits::k_http_write_bytes);
        both.append(bytes.first(with));
        bytes = bytes.subspan(with);
        const bool written = co_await connection_.write(both.view(), timeout_);
        if (!written) co_return false;
    }
    co_return co_await connection_.write(bytes, timeout_);
}

awaitable<bool> Answer::flush() {
    Bytes out(as_byte_view(head_));
    head_.clear();
    if (!head_only_ && !pending_.empty()) {
        if (chunked_) out.append(as_byte_view(fmt::format("{:x}\r\n", pending_.size())));
        out.append(pending_.view());
        if (chunked_) out.append(as_byte_view("\r\n"));
    }
    pending_.clear();
    pending_.shrink_if_empty(limits::k_http_write_bytes);
    co_return co_await connection_.write(out.view(), timeout_);
}

awaitable<bool> Answer::end() {
    const bool framed = chunked_ && !head_only_;
    if (!framed) co_return co_await flush();
    Bytes out(as_byte_view(head_));
    head_.clear();
    if (!pending_.empty()) {
        out.append(as_byte_view(fmt::format("{:x}\r\n", pending_.size())));
        out.append(pending_.view());
        out.append(as_byte_view("\r\n"));
    }
    pending_.clear();
    out.append(as_byte_view("0\r\n\r\n"));
    co_return co_await connection_.write(out.view(), timeout_);
}

awaitable<bool> Answer::whole(int status, std::string_view type, std::string_view body, Headers headers) {
    begin(status, type, body.size(), std::move(headers));
    co_return co_await write(as_byte_view(body));
}

awaitable<bool> Answer::refuse(Refusal refusal) {
    if (begun()) {
        break_off();
        co_return false;
    }
    if (refusal.ends) keep_alive_ = false;
    const std::string body = fmt::format("{{\"error\":{}}}\n", error_object(refusal.error));
    co_return co_await whole(refusal.status, k_json, body, std::move(refusal.headers));
}

awaitable<bool> Answer::fail(const Outcome& outcome) {
    if (outcome.kind == Outcome::Kind::failed || begun()) {
        Refusal refusal(outcome.error);
        co_return co_await refuse(std::move(refusal));
    }
    const std::string body = fmt::format("{{\"error\":{}}}\n", raised_object(outcome.raised));
    co_return co_await whole(500, k_json, body);
}

std::string object_of(const Outcome& outcome) { return outcome.kind == Outcome::Kind::raised ? raised_object(outcome.raised) : error_object(outcome.error); }

}  // namespace rh::http
