#pragma once

// Reads tests/golden/*.hex: hexadecimal bytes, anything behind '#' is for people.

#include <cctype>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "base/bytes.h"

namespace rh {

inline std::filesystem::path golden_folder() { return std::filesystem::path(ROUNDHOUSE_SOURCE_DIR) / "tests" / "golden"; }

inline Bytes golden(const std::string& name) {
    std::ifstream file(golden_folder() / (name + ".hex"));
    if (!file) throw std::runtime_error("there is no tests/golden/" + name + ".hex");
    Bytes bytes;
    std::string line;
    while (std::getline(file, line)) {
        std::string digits;
        for (const char c : line.substr(0, line.find('#'))) {
            if (std::isspace(static_cast<unsigned char>(c)) == 0) digits += c;
        }
        for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
            const auto byte = static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16));
            bytes.append({&byte, 1});
        }
    }
    return bytes;
}

inline std::string hex(ByteView bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text += "0123456789abcdef"[std::to_integer<int>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<int>(byte) & 15];
    }
    return text;
}

}  // namespace rh
