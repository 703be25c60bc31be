#include "sync/packed.h"

#include <zstd.h>

#include <algorithm>
#include <fmt/format.h>
#include <memory>

namespace rh::sync {

namespace {

// The fastest that still halves source code: the other side is often this machine.
constexpr int k_level = 1;
// A frame says how much of what came before it refers to; more than this is not ours.
constexpr int k_window_log_max = 27;
constexpr std::size_t k_step_bytes = 256 * 1024;

}  // namespace

Result<Bytes> pack(ByteView bytes) {
    Bytes packed;
    const std::size_t room = ZSTD_compressBound(bytes.size());
    std::byte* const into = packed.extend(room);
    const std::size_t size = ZSTD_compress(into, room, bytes.data(), bytes.size(), k_level);
    if (ZSTD_isError(size) != 0) return fail(Code::io, fmt::format("code cannot be packed: {}", ZSTD_getErrorName(size)));
    packed.truncate(size);
    return packed;
}

Result<Bytes> unpack(ByteView packed, std::uint64_t bytes_max) {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
    if (context == nullptr) return fail(Code::io, "there is no memory to take code out of its packing");
    ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, k_window_log_max);
    Bytes unpacked;
    ZSTD_inBuffer from{packed.data(), packed.size(), 0};
    // It grows with what comes, never with what a frame claims; one byte more than is allowed shows that there is more.
    for (;;) {
        const std::uint64_t left = bytes_max + 1 - unpacked.size();
        const std::size_t step = static_cast<std::size_t>(std::min<std::uint64_t>(left, k_step_bytes));
        ZSTD_outBuffer into{unpacked.extend(step), step, 0};
        const std::size_t hint = ZSTD_decompressStream(context.get(), &into, &from);
        unpacked.truncate(unpacked.size() - step + into.pos);
        if (ZSTD_isError(hint) != 0) return fail(Code::code_sync, fmt::format("packed code cannot be read: {}", ZSTD_getErrorName(hint)));
        if (unpacked.size() > bytes_max) return fail(Code::code_sync, fmt::format("packed code holds more than the {} bytes that it may", bytes_max));
        if (hint == 0) break;
        if (into.pos < into.size && from.pos == from.size) return fail(Code::code_sync, "packed code is cut off");
    }
    if (from.pos != from.size) return fail(Code::code_sync, "something follows packed code");
    return unpacked;
}

}  // namespace rh::sync
