#include "wire/frame.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>

#include "base/bug.h"
#include "base/limits.h"

namespace rh::wire {

namespace {

using google::protobuf::io::CodedOutputStream;

// Field 1 of Frame, length-delimited.
constexpr std::uint8_t k_messages_tag = 0x0a;

void store_u32(std::byte* to, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint32_t load_u32(const std::byte* from) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(from[i]) << (8 * i);
    return value;
}

Result<std::size_t> frame_bytes(ByteView bytes) {
    const std::size_t header = load_u32(bytes.data());
    const std::size_t body = load_u32(bytes.data() + 4);
    if (header == 0 || header > limits::k_frame_header_bytes_max)
        return fail(Code::protocol, fmt::format("a frame announces a header of {} bytes; 1 to {} are allowed", header, limits::k_frame_header_bytes_max));
    if (body > limits::k_frame_body_bytes_max)
        return fail(Code::protocol, fmt::format("a frame announces a body of {} bytes; at most {} are allowed", body, limits::k_frame_body_bytes_max));
    return k_prefix_bytes + header + body;
}

}  // namespace

void append_message(Bytes& out, Message& message, ByteView body) {
    RH_CHECK(body.size() <= limits::k_chunk_bytes);
    message.set_body_bytes(static_cast<std::uint32_t>(body.size()));
    const std::size_t message_bytes = message.ByteSizeLong();
    const std::size_t header_bytes = 1 + CodedOutputStream::VarintSize32(static_cast<std::uint32_t>(message_bytes)) + message_bytes;
    std::byte* to = out.extend(k_prefix_bytes + header_bytes + body.size());
    store_u32(to, static_cast<std::uint32_t>(header_bytes));
    store_u32(to + 4, static_cast<std::uint32_t>(body.size()));
    auto* at = reinterpret_cast<std::uint8_t*>(to + k_prefix_bytes);
    *at++ = k_messages_tag;
    at = CodedOutputStream::WriteVarint32ToArray(static_cast<std::uint32_t>(message_bytes), at);
    at = message.SerializeWithCachedSizesToArray(at);
    if (!body.empty()) std::memcpy(at, body.data(), body.size());
}

Result<void> FrameDecoder::feed(ByteView bytes, Sink& sink) {
    // What was left over is completed from the new bytes alone, then the new bytes are decoded where they stand.
    while (!partial_.empty() && !bytes.empty()) {
        std::size_t wanted = k_prefix_bytes;
        if (partial_.size() >= k_prefix_bytes) {
            RH_TRY(wanted, frame_bytes(partial_.view()));
        }
        const std::size_t missing = wanted - partial_.size();
        const std::size_t take = missing < bytes.size() ? missing : bytes.size();
        partial_.append(bytes.first(take));
        bytes = bytes.subspan(take);
        if (partial_.size() < k_prefix_bytes) return {};
        RH_TRY(const std::size_t used, decode(partial_.view(), sink));
        if (used != 0) partial_.clear();
    }
    partial_.shrink_if_empty(0);
    if (bytes.empty()) return {};
    RH_TRY(const std::size_t used, decode(bytes, sink));
    partial_.append(bytes.subspan(used));
    return {};
}

Result<std::size_t> FrameDecoder::decode(ByteView bytes, Sink& sink) {
    std::size_t used = 0;
    while (bytes.size() - used >= k_prefix_bytes) {
        const ByteView rest = bytes.subspan(used);
        RH_TRY(const std::size_t whole, frame_bytes(rest));
        if (rest.size() < whole) break;
        const std::size_t header_bytes = load_u32(rest.data());
        if (!frame_.ParseFromArray(rest.data() + k_prefix_bytes, static_cast<int>(header_bytes)))
            return fail(Code::protocol, "a frame's header is not a valid message");
        if (static_cast<std::size_t>(frame_.messages_size()) > limits::k_frame_messages_max)
            return fail(Code::protocol, fmt::format("a frame holds {} messages; at most {} are allowed", frame_.messages_size(), limits::k_frame_messages_max));
        ByteView body = rest.subspan(k_prefix_bytes + header_bytes, whole - k_prefix_bytes - header_bytes);
        for (Message& message : *frame_.mutable_messages()) {
            const std::size_t count = message.body_bytes();
            if (count > body.size() || count > limits::k_chunk_bytes)
                return fail(Code::protocol, fmt::format("a message claims {} body bytes, which its frame does not hold or a chunk may not have", count));
            RH_TRY_VOID(sink.on_message(message, body.first(count)));
            body = body.subspan(count);
        }
        if (!body.empty()) return fail(Code::protocol, fmt::format("a frame holds {} body bytes that belong to no message", body.size()));
        used += whole;
    }
    return used;
}

}  // namespace rh::wire
