#pragma once

// Small files whose size nobody knows before they are read, as the kernel's are.

#include <optional>
#include <string>

namespace rh::process {

// All of it; nothing where it cannot be opened or read.
std::optional<std::string> read_text(const std::string& path);

}  // namespace rh::process
