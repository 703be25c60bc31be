#include "base/ids.h"

#include <cerrno>
#include <fmt/format.h>
#include <sys/random.h>

#include "base/bug.h"

namespace rh {

std::string random_bytes(std::size_t byte_count) {
    std::string bytes(byte_count, '\0');
    std::size_t got = 0;
    while (got < byte_count) {
        const auto count = ::getrandom(bytes.data() + got, byte_count - got, 0);
        if (count < 0 && errno == EINTR) continue;
        RH_CHECK(count > 0);
        got += static_cast<std::size_t>(count);
    }
    return bytes;
}

std::string random_hex(std::size_t byte_count) {
    std::string text;
    for (const char byte : random_bytes(byte_count)) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
}

namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

}  // namespace

Result<void> check_name(std::string_view kind, std::string_view name, std::size_t bytes_max) {
    if (name.empty()) return fail(Code::invalid_name, fmt::format("a {}'s name cannot be empty", kind));
    if (name.size() > bytes_max)
        return fail(Code::invalid_name, fmt::format("the {} name {:.32}... has {} bytes; at most {} are allowed", kind, name, name.size(), bytes_max));
    for (const char c : name) {
        if (!is_word(c) && c != '-' && c != '.')
            return fail(Code::invalid_name,
                        fmt::format("\"{}\" is not a {} name: use letters, digits, '_', '-' and '.' (no slashes or spaces)", name, kind));
    }
    if (!is_word(name.front()))
        return fail(Code::invalid_name, fmt::format("\"{}\" is not a {} name: it must begin with a letter, a digit or '_'", name, kind));
    return {};
}

std::uint64_t path_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
}

}  // namespace rh
