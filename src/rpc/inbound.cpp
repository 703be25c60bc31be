#include "rpc/inbound.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "wire/convert.h"

namespace rh::rpc {

Result<void> Inbound::on_message(Message& message, ByteView body) {
    if (handler_.relay(message, body)) return {};
    switch (message.kind()) {
        case wire::CALL:
        case wire::ITEM:
        case wire::RESULT: return begin(message, body);
        case wire::CHUNK: return more(message, body);
        case wire::ABORT: partial_.erase(message.stream()); break;
        default: break;
    }
    Body text;
    text.bytes.append(body);
    return handler_.on_message(message, std::move(text));
}

Result<void> Inbound::begin(Message& message, ByteView body) {
    RH_TRY(const std::uint64_t whole, wire::whole_body_bytes(message));
    if (body.size() > whole)
        return fail(Code::protocol, fmt::format("a message brings {} body bytes but announces {}", body.size(), whole));
    if (!partial_.empty() && partial_.count(message.stream()) != 0)
        return fail(Code::protocol, fmt::format("stream {} begins a body before its last one is whole", message.stream()));
    Body taken;
    wire::take_description(message, taken);
    taken.bytes.append(body);
    if (body.size() == whole) return handler_.on_message(message, std::move(taken));
    if (partial_.size() >= limits::k_calls_per_connection_max)
        return fail(Code::protocol, fmt::format("{} bodies are unfinished on one connection", partial_.size()));
    Partial& partial = partial_[message.stream()];
    partial.head.Swap(&message);
    partial.body = std::move(taken);
    partial.whole_bytes = whole;
    partial.ungranted_bytes = body.size();
    return {};
}

Result<void> Inbound::more(Message& message, ByteView body) {
    const auto found = partial_.find(message.stream());
    if (found == partial_.end()) return {};  // of a call that was given up; its sender will hear of that
    Partial& partial = found->second;
    if (body.empty() || partial.body.bytes.size() + body.size() > partial.whole_bytes)
        return fail(Code::protocol, fmt::format("a chunk of {} bytes does not fit a body of {} that has {}", body.size(), partial.whole_bytes,
                                                partial.body.bytes.size()));
    partial.body.bytes.append(body);
    partial.ungranted_bytes += body.size();
    if (partial.body.bytes.size() == partial.whole_bytes) {
        Partial whole = std::move(partial);
        partial_.erase(found);
        return handler_.on_message(whole.head, std::move(whole.body));
    }
    if (partial.ungranted_bytes >= limits::k_body_window_bytes / 4) {
        const std::uint64_t grant = std::exchange(partial.ungranted_bytes, 0);
        handler_.on_room(message.stream(), grant);
    }
    return {};
}

}  // namespace rh::rpc
