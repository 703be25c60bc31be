#pragma once

// Content addresses: 32 bytes of BLAKE3, which name a file's content wherever it is. Whoever has content of that name has that content,
// so it is never sent twice, and what arrived or was stored is checked against its name. Stored and sent: never change the function.

#include <array>
#include <blake3/blake3.h>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace rh::sync {

struct Digest {
    std::array<std::byte, 32> bytes{};

    std::string hex() const;  // 64 lower-case digits
    static Result<Digest> from_hex(std::string_view text);

    friend auto operator<=>(const Digest&, const Digest&) = default;
};

// For hashed containers: a digest's own bits are as good as any.
struct DigestHash {
    std::size_t operator()(const Digest& digest) const noexcept {
        std::size_t front;
        std::memcpy(&front, digest.bytes.data(), sizeof front);
        return front;
    }
};

class Hasher {
public:
    Hasher();
    void update(ByteView bytes) { blake3_hasher_update(&state_, bytes.data(), bytes.size()); }
    // Of all that came so far; more may follow.
    Digest finish() const;

private:
    blake3_hasher state_;
};

Digest digest_of(ByteView bytes);

// The first `bytes_max` bytes of an open file, from its beginning, wherever its offset stands.
struct FileDigest {
    Digest digest;
    std::uint64_t bytes = 0;
};
Result<FileDigest> digest_of_file(int fd, std::uint64_t bytes_max = UINT64_MAX);

}  // namespace rh::sync
