#include "sync/digest.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace rh::sync {

namespace {

constexpr std::size_t k_piece_bytes = 64 * 1024;

int value_of(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    return -1;
}

}  // namespace

std::string Digest::hex() const {
    std::string text;
    text.reserve(2 * bytes.size());
    for (const std::byte byte : bytes) {
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

Result<Digest> Digest::from_hex(std::string_view text) {
    Digest digest;
    if (text.size() != 2 * digest.bytes.size()) return fail(Code::bad_arguments, "a digest has 64 hexadecimal digits");
    for (std::size_t at = 0; at < digest.bytes.size(); ++at) {
        const int high = value_of(text[2 * at]);
        const int low = value_of(text[2 * at + 1]);
        if (high < 0 || low < 0) return fail(Code::bad_arguments, "a digest has 64 hexadecimal digits, in lower case");
        digest.bytes[at] = static_cast<std::byte>(high << 4 | low);
    }
    return digest;
}

// BLAKE3 remembers what the processor can do without a lock, the first time that it asks; so one thread is the first.
Hasher::Hasher() {
    [[maybe_unused]] static const bool has_asked = [] {
        blake3_hasher nothing;
        blake3_hasher_init(&nothing);
        std::uint8_t digest[BLAKE3_OUT_LEN];
        blake3_hasher_finalize(&nothing, digest, sizeof digest);
        return true;
    }();
    blake3_hasher_init(&state_);
}

Digest Hasher::finish() const {
    Digest digest;
    blake3_hasher_finalize(&state_, reinterpret_cast<std::uint8_t*>(digest.bytes.data()), digest.bytes.size());
    return digest;
}

Digest digest_of(ByteView bytes) {
    Hasher hasher;
    hasher.update(bytes);
    return hasher.finish();
}

Result<FileDigest> digest_of_file(int fd, std::uint64_t bytes_max) {
    Hasher hasher;
    std::uint64_t done = 0;
    std::byte piece[k_piece_bytes];
    while (done < bytes_max) {
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof piece, bytes_max - done));
        const ssize_t count = ::pread(fd, piece, wanted, static_cast<off_t>(done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail(os_error("reading a file", errno));
        if (count == 0) break;
        hasher.update({piece, static_cast<std::size_t>(count)});
        done += static_cast<std::uint64_t>(count);
    }
    return FileDigest{hasher.finish(), done};
}

}  // namespace rh::sync
