#include "store/store.h"

#include <fmt/format.h>

#include "store/database.h"
#include "store/schema.sql.h"

namespace rh::store {

namespace {

// "RHst".
const Format k_format{"store", 0x52487374, "the node's tokens and what it listens on cannot be read. What runs does not depend on it.", {k_schema}};

Token token_of(const Statement& row) {
    return {row.text(0), row.text(1), row.text(2), static_cast<std::uint8_t>(row.number(3)), row.text(4), row.number(5), row.number(6), row.number(7)};
}

}  // namespace

Result<std::vector<Token>> Store::tokens() const {
    return read(k_format, path_, std::vector<Token>(), [](const Database& database) -> Result<std::vector<Token>> {
        std::vector<Token> all;
        RH_TRY(Statement row, database.prepare("SELECT id, name, hash, scope, service, created_s, expires_s, used_s FROM tokens ORDER BY created_s, name"));
        for (;;) {
            RH_TRY(const bool more, row.step());
            if (!more) return all;
            all.push_back(token_of(row));
        }
    });
}

Result<void> Store::add(const Token& token) const {
    return write(k_format, path_, [&](const Database& database) -> Result<void> {
        RH_TRY(Statement found, database.prepare("SELECT 1 FROM tokens WHERE name = ?"));
        RH_TRY(const bool taken, found.bind(1, token.name).step());
        if (taken) return fail(Error(Code::name_taken, fmt::format("there is a token \"{}\" already. Try: another name, or revoke that one first", token.name)).with("name", token.name));
        RH_TRY(Statement row, database.prepare("INSERT INTO tokens (id, name, hash, scope, service, created_s, expires_s, used_s) VALUES (?, ?, ?, ?, ?, ?, ?, 0)"));
        row.bind(1, token.id).bind(2, token.name).bind_bytes(3, token.hash).bind(4, static_cast<std::int64_t>(token.scope)).bind(5, token.service);
        RH_TRY_VOID(row.bind(6, token.created_s).bind(7, token.expires_s).step());
        return {};
    });
}

Result<void> Store::remove_token(std::string_view id) const {
    return write(k_format, path_, [&](const Database& database) -> Result<void> {
        RH_TRY(Statement row, database.prepare("DELETE FROM tokens WHERE id = ?"));
        RH_TRY_VOID(row.bind(1, id).step());
        return {};
    });
}

Result<void> Store::note_use(std::string_view id, std::int64_t used_s) const {
    return write(k_format, path_, [&](const Database& database) -> Result<void> {
        RH_TRY(Statement row, database.prepare("UPDATE tokens SET used_s = ? WHERE id = ?"));
        RH_TRY_VOID(row.bind(1, used_s).bind(2, id).step());
        return {};
    });
}

Result<std::optional<std::string>> Store::setting(std::string_view key) const {
    return read(k_format, path_, std::optional<std::string>(), [&](const Database& database) -> Result<std::optional<std::string>> {
        RH_TRY(Statement row, database.prepare("SELECT value FROM settings WHERE key = ?"));
        RH_TRY(const bool found, row.bind(1, key).step());
        return found ? std::optional(row.text(0)) : std::nullopt;
    });
}

Result<void> Store::set(std::string_view key, const std::optional<std::string>& value) const {
    return write(k_format, path_, [&](const Database& database) -> Result<void> {
        RH_TRY(Statement row, database.prepare(value ? "INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)" : "DELETE FROM settings WHERE key = ?"));
        row.bind(1, key);
        if (value) row.bind(2, *value);
        RH_TRY_VOID(row.step());
        return {};
    });
}

}  // namespace rh::store
