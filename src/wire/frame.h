#pragma once

// Frames as bytes: no I/O. protocol/wire.md is the specification and src/wire/frame_test.cpp pins its bytes.
// FrameDecoder takes bytes as they come and hands out whole messages; append_message writes one. Neither owns a socket
// nor knows what a message means. A decoder belongs to whoever reads its connection.

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "protocol/messages.pb.h"

namespace rh::wire {

// header_bytes and body_bytes, each 32 bits, little endian. Never renumber.
inline constexpr std::size_t k_prefix_bytes = 8;

// One frame of one message. Sets message.body_bytes. The body is at most one chunk (limits.h).
void append_message(Bytes& out, Message& message, ByteView body);

class FrameDecoder {
public:
    // Called once per message, in order; both arguments are valid only during the call, and the message may be moved from.
    // An Error from it ends feed() with that Error.
    class Sink {
    public:
        virtual Result<void> on_message(Message& message, ByteView body) = 0;

    protected:
        ~Sink() = default;
    };

    // Decodes what is whole and keeps the rest. An Error (Code::protocol) is final: the peer does not speak this protocol.
    Result<void> feed(ByteView bytes, Sink& sink);
    // True between frames: a connection that ends elsewhere was cut.
    bool at_boundary() const { return partial_.empty(); }

private:
    // How many bytes of `bytes` made whole frames.
    Result<std::size_t> decode(ByteView bytes, Sink& sink);

    Bytes partial_;
    Frame frame_;
};

}  // namespace rh::wire
