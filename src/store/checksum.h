#pragma once

// Checksums of what is stored, so that a flipped bit is found when it is read. They are XXH3, which tells damage, not malice:
// whoever may write the files may write these too. Stored: never change what they are computed from.

#include <cstdint>
#include <string>
#include <string_view>

namespace rh::store {

std::uint64_t checksum_of(std::string_view bytes);
// 128 bits of it in hexadecimal, to tell contents apart.
std::string digest_of(std::string_view bytes);

// The checksum of a record, from its fields in their order.
class RecordSum {
public:
    RecordSum& add(std::string_view text);
    RecordSum& add(std::int64_t number);
    // As SQLite keeps it.
    std::int64_t value() const;

private:
    std::string fields_;
};

}  // namespace rh::store
