#pragma once

// How a connection turns from HTTP into frames (protocol/wire.md): the client's request, the server's answer, and the
// features that both sides must share.

#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/frame.h"

namespace rh::rpc {

inline constexpr std::string_view k_upgrade_protocol = "roundhouse";

// The bytes that ask for the Upgrade and that grant it. Over TCP the request names its host, and has a token.
std::string upgrade_request(std::string_view host = "localhost", std::string_view token = {});
std::string upgrade_answer();
// Whether `head` (an HTTP answer's head with its blank line, and what of its body has come) grants it; otherwise the
// server's own words, with the code that they have.
Result<void> check_upgrade_answer(std::string_view head);

// Every feature of this build. A peer without all of "required" is refused.
void add_features(wire::Hello& hello);
Result<void> check_features(const wire::Hello& hello);
// Whether the peer takes part in resuming (protocol/wire.md, Resuming).
bool can_resume(const wire::Hello& hello);

}  // namespace rh::rpc
