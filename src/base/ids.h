#pragma once

// Identifiers that stay unique across hosts and time, and the rule for names that people choose.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rh {

// `byte_count` bytes from the kernel's generator.
std::string random_bytes(std::size_t byte_count);
// Lower-case hexadecimal of `byte_count` random bytes: "9f04c1aa".
std::string random_hex(std::size_t byte_count);

// Session ids are 16 random bytes; they travel raw and are shown as hexadecimal.
inline constexpr std::size_t k_session_id_bytes = 16;

// Letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'; `kind` ("service", "cluster") goes into the
// message. Names beginning with '_' are the node's own.
Result<void> check_name(std::string_view kind, std::string_view name, std::size_t bytes_max);

// FNV-1a, 64 bits: short stable names for paths. Not for anything that an adversary may choose.
std::uint64_t path_hash(std::string_view text);

}  // namespace rh
