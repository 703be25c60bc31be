#include "rpc/handshake.h"

#include <algorithm>
#include <fmt/format.h>

namespace rh::rpc {

namespace {

// What both sides must have to understand each other at all. Later features are optional and stand beside it.
constexpr std::string_view k_frames = "frames-1";
constexpr std::size_t k_refusal_bytes_shown = 1024;

}  // namespace

std::string upgrade_request() {
    return "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n";
}

std::string upgrade_answer() { return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n"; }

Result<void> check_upgrade_answer(std::string_view head) {
    if (head.rfind("HTTP/1.1 101 ", 0) == 0) return {};
    const std::string_view line = head.substr(0, head.find("\r\n"));
    std::string_view words = head.substr(std::min(head.find("\r\n\r\n"), head.size() - 4) + 4);
    words = words.substr(0, words.find_last_not_of("\r\n") + 1).substr(0, k_refusal_bytes_shown);
    if (!words.empty()) return fail(Code::protocol, fmt::format("the server did not switch to frames but answered \"{}\": {}", line, words));
    return fail(Code::protocol, fmt::format("the server did not switch to frames but answered \"{}\": is it a Roundhouse daemon?", line));
}

void add_features(wire::Hello& hello) { hello.add_features(std::string(k_frames)); }

Result<void> check_features(const wire::Hello& hello) {
    const auto& features = hello.features();
    if (std::find(features.begin(), features.end(), k_frames) != features.end()) return {};
    return fail(Code::protocol, fmt::format("the peer ({}) does not speak {}: bring both sides to one version of Roundhouse", hello.software(), k_frames));
}

}  // namespace rh::rpc
