#pragma once

// MessagePack without a detour: bytes to Values and back. Bounded in depth; counts are checked against what is there before
// anything is made of them.

#include <memory>
#include <string>
#include <vector>

#include "base/body.h"
#include "roundhouse/convert.h"

namespace rh {

inline constexpr std::size_t k_msgpack_depth_max = 512;
// Arrays up to this size stand inside the value: a part costs more than a copy.
inline constexpr std::size_t k_inline_array_bytes_max = 1024;

// Appends to `out`; what large arrays hold goes to `parts`, as views. "not_serializable" or "limit_exceeded" otherwise.
roundhouse::Result<roundhouse::Nothing> write_msgpack(const roundhouse::Value& value, std::string& out, std::vector<ByteView>& parts);
// `parts` are those of the body that part 0 belongs to, `owner` keeps their memory.
roundhouse::Result<roundhouse::Value> read_msgpack(const std::vector<ByteView>& parts, const std::shared_ptr<const void>& owner);

}  // namespace rh
