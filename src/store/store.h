#pragma once

// What a node keeps beyond its daemon, in one SQLite file (schema.sql): its tokens' hashes, and what it was told to listen on.
// Each method opens the file, does one transaction and closes it, so that a node that uses none of this has no file and no
// memory for it. Blocking; the daemon is the only one who writes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace rh::store {

struct Token {
    std::string id;
    std::string name;
    std::string hash;  // raw bytes
    std::uint8_t scope = 0;
    std::string service;
    std::int64_t created_s = 0;
    std::int64_t expires_s = 0;  // 0: never
    std::int64_t used_s = 0;     // 0: never
};

class Store {
public:
    // Looks at nothing yet: the file (mode 0600) is made by the first write.
    explicit Store(std::string path) : path_(std::move(path)) {}

    Result<std::vector<Token>> tokens() const;
    // Code::name_taken when one has that name.
    Result<void> add(const Token& token) const;
    Result<void> remove_token(std::string_view id) const;
    Result<void> note_use(std::string_view id, std::int64_t used_s) const;

    Result<std::optional<std::string>> setting(std::string_view key) const;
    // Nothing forgets it.
    Result<void> set(std::string_view key, const std::optional<std::string>& value) const;

private:
    std::string path_;
};

}  // namespace rh::store
