#pragma once

// What one end of a connection receives: a state machine without I/O or locks. Takes bytes as they come, puts bodies that
// arrive in chunks together again, and says when the sender may be granted more. Owned by a driver, which guards it.

#include <cstdint>
#include <unordered_map>

#include "base/body.h"
#include "wire/frame.h"

namespace rh::rpc {

using wire::Message;

class Inbound : private wire::FrameDecoder::Sink {
public:
    class Handler {
    public:
        virtual ~Handler() = default;
        // A chance to pass a message on as it came; true when that was done, and nothing else happens to it.
        virtual bool relay(Message&, ByteView) { return false; }
        // A whole message: for CALL, RESULT and ITEM all of the body, for OUTPUT its text. CHUNK is never seen here. An Error
        // ends the connection.
        virtual Result<void> on_message(Message& message, Body body) = 0;
        // `bytes` of the stream's body were taken: the peer is to be granted as much.
        virtual void on_room(std::uint64_t stream, std::uint64_t bytes) = 0;
    };

    explicit Inbound(Handler& handler) : handler_(handler) {}

    Result<void> feed(ByteView bytes) { return decoder_.feed(bytes, *this); }
    // The rest of that stream's body is not wanted: what still comes is thrown away.
    void forget(std::uint64_t stream) { partial_.erase(stream); }
    // The connection was lost: what had come in part will not be whole.
    void reset() {
        decoder_ = wire::FrameDecoder();
        partial_.clear();
    }
    bool at_boundary() const { return decoder_.at_boundary() && partial_.empty(); }

private:
    struct Partial {
        Message head;
        Body body;
        std::uint64_t whole_bytes = 0;
        std::uint64_t ungranted_bytes = 0;
    };

    Result<void> on_message(Message& message, ByteView body) override;
    Result<void> begin(Message& message, ByteView body);
    Result<void> more(Message& message, ByteView body);

    Handler& handler_;
    wire::FrameDecoder decoder_;
    std::unordered_map<std::uint64_t, Partial> partial_;
};

}  // namespace rh::rpc
