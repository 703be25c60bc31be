#include "rpc/handshake.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace rh::rpc {

namespace {

// What both sides must have to understand each other at all. Later features are optional and stand beside it.
constexpr std::string_view k_frames = "frames-1";
constexpr std::string_view k_resume = "resume-1";
constexpr std::size_t k_refusal_bytes_shown = 1024;

// What a node says in {"error": {"message"}}; nothing where another server answers something else.
std::string message_in(std::string_view body) {
    const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("error") || !json["error"].is_object()) return {};
    const auto message = json["error"].find("message");
    return message != json["error"].end() && message->is_string() ? message->get<std::string>() : std::string();
}

bool has(const wire::Hello& hello, std::string_view feature) { return std::find(hello.features().begin(), hello.features().end(), feature) != hello.features().end(); }

}  // namespace

std::string upgrade_request(std::string_view host, std::string_view token) {
    std::string request = fmt::format("GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n", host);
    if (!token.empty()) request += fmt::format("Authorization: Bearer {}\r\n", token);
    return request + "\r\n";
}

std::string upgrade_answer() { return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n"; }

Result<void> check_upgrade_answer(std::string_view head) {
    if (head.rfind("HTTP/1.1 101 ", 0) == 0) return {};
    const std::string_view line = head.substr(0, head.find("\r\n"));
    std::string_view words = head.substr(std::min(head.find("\r\n\r\n"), head.size() - 4) + 4);
    words = words.substr(0, words.find_last_not_of("\r\n") + 1).substr(0, k_refusal_bytes_shown);
    const std::string message = message_in(words);
    const std::string_view status = line.substr(0, 13);
    // The node's own words, where it has an opinion about whoever asks.
    if (!message.empty() && (status == "HTTP/1.1 401 " || status == "HTTP/1.1 403 ")) return fail(Error(Code::not_allowed, message).with("started", "no"));
    if (!message.empty() && (status == "HTTP/1.1 429 " || status == "HTTP/1.1 503 ")) return fail(Error(Code::limit_exceeded, message).with("started", "no"));
    if (!message.empty()) words = message;
    if (!words.empty()) return fail(Code::protocol, fmt::format("the server did not switch to frames but answered \"{}\": {}", line, words));
    return fail(Code::protocol, fmt::format("the server did not switch to frames but answered \"{}\": is it a Roundhouse daemon?", line));
}

void add_features(wire::Hello& hello) {
    hello.add_features(std::string(k_frames));
    hello.add_features(std::string(k_resume));
}

bool can_resume(const wire::Hello& hello) { return has(hello, k_resume); }

Result<void> check_features(const wire::Hello& hello) {
    if (has(hello, k_frames)) return {};
    return fail(Code::protocol, fmt::format("the peer ({}) does not speak {}: bring both sides to one version of Roundhouse", hello.software(), k_frames));
}

}  // namespace rh::rpc
