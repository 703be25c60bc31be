#include "store/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <fmt/format.h>

namespace rh::store {

std::uint64_t checksum_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string digest_of(std::string_view bytes) {
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

RecordSum& RecordSum::add(std::string_view text) {
    // Its length stands before each, so that a border between two fields cannot move.
    fields_ += fmt::format("{}:", text.size());
    fields_ += text;
    return *this;
}

RecordSum& RecordSum::add(std::int64_t number) {
    fields_ += fmt::format("{};", number);
    return *this;
}

std::int64_t RecordSum::value() const { return std::bit_cast<std::int64_t>(checksum_of(fields_)); }

}  // namespace rh::store
