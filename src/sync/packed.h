#pragma once

// What travels of code, made smaller: one zstd frame. Whoever takes it out says beforehand how much may come, so that a few bytes
// cannot become more than that.

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace rh::sync {

Result<Bytes> pack(ByteView bytes);

// Code::code_sync where it is no such frame, is cut off, or holds more than `bytes_max`.
Result<Bytes> unpack(ByteView packed, std::uint64_t bytes_max);

}  // namespace rh::sync
