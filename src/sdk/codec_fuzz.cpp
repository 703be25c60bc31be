// Whatever bytes come as the arguments of a call, they are decoded or refused, and what was decoded can be sent back.

#include <cstdint>
#include <cstdlib>

#include "sdk/codec.h"

namespace {

// The first byte says the encoding, the second where the body is cut into parts.
rh::Body body_of(const std::uint8_t* data, std::size_t size) {
    const auto* bytes = reinterpret_cast<const std::byte*>(data) + 2;
    const std::size_t rest = size - 2;
    rh::Body body;
    body.encoding = (data[0] & 1) != 0 ? rh::Encoding::json : rh::Encoding::msgpack;
    const std::size_t first = rest - rest * data[1] / 512;
    body.add({bytes, first});
    body.add({bytes + first, rest - first});
    return body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const auto call = rh::decode_arguments(body_of(data, size));
    if (call) {
        for (const roundhouse::Value& value : call->arguments.positional) {
            static_cast<void>(roundhouse::detail::reread(value));
            static_cast<void>(value.as<std::vector<double>>());
            static_cast<void>(value.as<roundhouse::ArrayView<std::int16_t>>());
            static_cast<void>(value.as<std::vector<std::vector<float>>>());
        }
    }
    const auto value = rh::decode_value(body_of(data, size));
    if (!value) return 0;
    const auto text = rh::json_from_value(*value);
    const auto encoded = rh::encode_value(*value);
    if (!encoded) return 0;
    // What was understood once is understood again, and is the same.
    const auto again = rh::decode_value(encoded->body());
    if (!again) std::abort();
    const auto text_again = rh::json_from_value(*again);
    if (text.ok() != text_again.ok() || (text && *text != *text_again)) std::abort();
    return 0;
}
