#pragma once

// Between the engine's values (base/body.h, base/result.h) and the fields of a Message.

#include <string>

#include "base/body.h"
#include "base/result.h"
#include "wire/frame.h"

namespace rh::wire {

// A message of that stream with nothing in it yet.
Message message_of(Kind kind, std::uint64_t stream);

// Whether a CALL or RESULT with a body of `parts` parts can be sent at all: Code::limit_exceeded or Code::invalid_name, which
// concern this message alone. A peer that gets it all the same gives up the connection.
Result<void> check_sendable(const Message& message, std::size_t parts);
// The sum of the announced parts: how long the message's whole body is. Code::protocol when it breaks a limit.
Result<std::uint64_t> whole_body_bytes(const Message& message);
// Announces `body` in the message (encoding and parts); the bytes themselves follow as chunks.
void describe_body(Message& message, const Body& body);
// Takes the announcement over into `body`, whose bytes are filled by the reader.
void take_description(Message& message, Body& body);

void set_error(Message& message, const Error& error);
Error error_of(const Message& message);

// The RESULT for an outcome, without stream; its body is to be sent from outcome.body.
Message result_message(const rh::Outcome& outcome);
rh::Outcome outcome_of(Message& message, Body body);

// At most `bytes_max` bytes of `text`, its end kept and the cut marked: the last frame is the one that failed. What is not
// UTF-8, which proto3 strings must be, becomes '?'.
std::string keep_end(std::string_view text, std::size_t bytes_max);

}  // namespace rh::wire
