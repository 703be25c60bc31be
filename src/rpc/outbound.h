#pragma once

// What one end of a connection has to send: a state machine without I/O or locks. Small messages are encoded at once;
// a body beyond one chunk waits here and is cut into chunks as the peer grants credit, so that control messages overtake
// it. Owned by a driver (blocking_link.h, async_link.h), which guards it and writes pending() to its stream.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/body.h"
#include "wire/frame.h"

namespace rh::rpc {

using wire::Message;

class Outbound {
public:
    // A message whose body, if any, is at most one chunk.
    void send(Message& message, ByteView body = {}) { wire::append_message(buffer_, message, body); }
    // A CALL, RESULT or ITEM with a body of any size, announced here.
    void send_whole(Message& message, Body body);
    // The same with a body that is kept elsewhere as well.
    void send_whole(Message& message, std::shared_ptr<const Body> body);
    // A frame that was made elsewhere.
    void send_frame(ByteView frame) { buffer_.append(frame); }
    // The peer has room for that much more of the stream's body.
    void grant(std::uint64_t stream, std::uint64_t bytes);
    // What was not yet sent of the stream's body will not be: the kind of message that it belonged to, if there was one.
    std::optional<wire::Kind> drop(std::uint64_t stream);
    // Streams whose body had to wait and has all been encoded since the last time this was asked.
    std::vector<std::uint64_t> take_finished() { return std::exchange(finished_, {}); }
    bool has_finished() const { return !finished_.empty(); }
    // Whether anybody asks; otherwise nothing is kept.
    void report_finished() { report_finished_ = true; }
    // The connection was lost: everything is forgotten, and these streams were in the middle of a body.
    std::vector<std::pair<std::uint64_t, wire::Kind>> reset();

    // What to write next. Valid until the next call of anything.
    ByteView pending();
    void consume(std::size_t bytes);
    std::size_t pending_bytes() const { return buffer_.size() - sent_; }
    // What the buffer keeps, with what of it was written already; bounded by about twice what is pending.
    std::size_t held_bytes() const { return buffer_.size(); }

private:
    struct Sending {
        wire::Kind kind = wire::NONE;
        std::shared_ptr<const Body> body;  // shared with whoever may have to send it again
        std::uint64_t sent = 0;
        std::uint64_t window = 0;
        bool queued = false;
    };

    void fill();

    Bytes buffer_;
    std::size_t sent_ = 0;
    std::unordered_map<std::uint64_t, Sending> bodies_;
    std::vector<std::uint64_t> finished_;
    bool report_finished_ = false;
    std::deque<std::uint64_t> turns_;  // streams that have both bytes and credit, in turn
};

}  // namespace rh::rpc
