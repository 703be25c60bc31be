#include "rpc/outbound.h"

#include <algorithm>
#include <cstring>

#include "base/limits.h"
#include "wire/convert.h"

namespace rh::rpc {

void Outbound::send_whole(Message& message, Body body) {
    if (body.bytes.size() > limits::k_chunk_bytes) return send_whole(message, std::make_shared<const Body>(std::move(body)));
    wire::describe_body(message, body);
    send(message, body.bytes.view());
}

void Outbound::send_whole(Message& message, std::shared_ptr<const Body> body) {
    wire::describe_body(message, *body);
    const ByteView all = body->bytes.view();
    const std::size_t first = std::min(all.size(), limits::k_chunk_bytes);
    send(message, all.first(first));
    if (first == all.size()) return;
    Sending& sending = bodies_[message.stream()];
    sending.kind = message.kind();
    sending.body = std::move(body);
    sending.sent = first;
    sending.window = limits::k_body_window_bytes - first;
    sending.queued = true;
    turns_.push_back(message.stream());
}

std::vector<std::pair<std::uint64_t, wire::Kind>> Outbound::reset() {
    std::vector<std::pair<std::uint64_t, wire::Kind>> unsent;
    for (const auto& [stream, sending] : bodies_) unsent.emplace_back(stream, sending.kind);
    bodies_.clear();
    turns_.clear();
    finished_.clear();
    buffer_.clear();
    sent_ = 0;
    return unsent;
}

void Outbound::grant(std::uint64_t stream, std::uint64_t bytes) {
    const auto found = bodies_.find(stream);
    if (found == bodies_.end()) return;
    Sending& sending = found->second;
    // A peer that grants without end gets at most the window: it bounds nothing but its own memory.
    sending.window = sending.window + std::min(bytes, limits::k_body_window_bytes - sending.window);
    if (!sending.queued) {
        sending.queued = true;
        turns_.push_back(stream);
    }
}

std::optional<wire::Kind> Outbound::drop(std::uint64_t stream) {
    const auto found = bodies_.find(stream);
    if (found == bodies_.end()) return std::nullopt;
    const wire::Kind kind = found->second.kind;
    bodies_.erase(found);
    return kind;
}

void Outbound::fill() {
    while (!turns_.empty() && pending_bytes() < limits::k_write_batch_bytes) {
        const std::uint64_t stream = turns_.front();
        turns_.pop_front();
        const auto found = bodies_.find(stream);
        if (found == bodies_.end()) continue;
        Sending& sending = found->second;
        const ByteView rest = sending.body->bytes.view().subspan(sending.sent);
        const std::size_t count = std::min({rest.size(), limits::k_chunk_bytes, static_cast<std::size_t>(sending.window)});
        sending.queued = false;
        if (count == 0) continue;
        Message chunk;
        chunk.set_kind(wire::CHUNK);
        chunk.set_stream(stream);
        send(chunk, rest.first(count));
        sending.sent += count;
        sending.window -= count;
        if (count == rest.size()) {
            bodies_.erase(found);
            if (report_finished_) finished_.push_back(stream);
        } else if (sending.window != 0) {
            sending.queued = true;
            turns_.push_back(stream);
        }
    }
}

ByteView Outbound::pending() {
    if (!turns_.empty()) fill();
    return buffer_.view().subspan(sent_);
}

void Outbound::consume(std::size_t bytes) {
    sent_ += bytes;
    if (sent_ == buffer_.size()) {
        sent_ = 0;
        buffer_.clear();
        buffer_.shrink_if_empty(limits::k_chunk_bytes);
    } else if (sent_ >= limits::k_write_batch_bytes && sent_ >= pending_bytes()) {
        // A reader that is always a little behind never lets the buffer run empty: what was written must go all the same.
        // No byte is moved more often than another one was sent.
        const std::size_t rest = pending_bytes();
        std::memmove(buffer_.data(), buffer_.data() + sent_, rest);
        buffer_.truncate(rest);
        sent_ = 0;
    }
}

}  // namespace rh::rpc
