#include "registry/registry.h"

#include <fmt/format.h>

#include <chrono>

#include "store/database.h"

namespace rh::registry {

namespace {

using std::chrono::system_clock;
using store::Database;
using store::Statement;

// "RHrg".
const store::Format k_format{
    "registry", 0x52487267, "saved clusters, services and settings cannot be read. What runs does not depend on it.",
    {"CREATE TABLE clusters (name TEXT PRIMARY KEY, launcher TEXT NOT NULL, config TEXT NOT NULL, state_key TEXT NOT NULL,"
     "  saved_at INTEGER NOT NULL) STRICT;"
     "CREATE TABLE services (name TEXT PRIMARY KEY, cluster TEXT NOT NULL, service TEXT NOT NULL, kind TEXT NOT NULL,"
     "  saved_at INTEGER NOT NULL) STRICT;"
     "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
     "ALTER TABLE clusters ADD COLUMN token TEXT NOT NULL DEFAULT '';"}};

std::int64_t now_s() { return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch()).count(); }

template <class T, class Work>
Result<T> read(const std::string& path, T missing, Work work) {
    return store::read(k_format, path, std::move(missing), std::move(work));
}

template <class Work>
auto write(const std::string& path, Work work) {
    return store::write(k_format, path, std::move(work));
}

Result<bool> has(const Database& database, const char* sql, std::string_view name) {
    RH_TRY(Statement found, database.prepare(sql));
    return found.bind(1, name).step();
}

Result<bool> erase(const Database& database, const char* sql, std::string_view name) {
    RH_TRY(Statement erased, database.prepare(sql));
    RH_TRY_VOID(erased.bind(1, name).step());
    return database.changed() > 0;
}

Error taken(std::string_view kind, const std::string& name) {
    return Error(Code::name_taken, fmt::format("a {} is saved as \"{}\" already. Try: another name, or overwrite=True", kind, name)).with("name", name);
}

SavedCluster cluster_of(const Statement& row) { return {row.text(0), row.text(1), row.text(2), row.text(3), row.text(5), row.number(4)}; }
SavedService service_of(const Statement& row) { return {row.text(0), row.text(1), row.text(2), row.text(3), row.number(4)}; }

constexpr const char* k_find_cluster = "SELECT name, launcher, config, state_key, saved_at, token FROM clusters WHERE name = ?";
constexpr const char* k_find_service = "SELECT name, cluster, service, kind, saved_at FROM services WHERE name = ?";

}  // namespace

Result<void> Registry::save(const SavedCluster& cluster, bool overwrite) const {
    return write(path_, [&](const Database& database) -> Result<void> {
        RH_TRY(const bool there, has(database, k_find_cluster, cluster.name));
        if (there && !overwrite) return fail(taken("cluster", cluster.name));
        RH_TRY(Statement row, database.prepare("INSERT OR REPLACE INTO clusters (name, launcher, config, state_key, saved_at, token) VALUES (?, ?, ?, ?, ?, ?)"));
        row.bind(1, cluster.name).bind(2, cluster.launcher).bind(3, cluster.config).bind(4, cluster.state_key).bind(5, now_s()).bind(6, cluster.token);
        RH_TRY_VOID(row.step());
        return {};
    });
}

Result<std::optional<SavedCluster>> Registry::find_cluster(std::string_view name) const {
    return read(path_, std::optional<SavedCluster>(), [&](const Database& database) -> Result<std::optional<SavedCluster>> {
        RH_TRY(Statement row, database.prepare(k_find_cluster));
        RH_TRY(const bool found, row.bind(1, name).step());
        return found ? std::optional(cluster_of(row)) : std::nullopt;
    });
}

Result<std::vector<SavedCluster>> Registry::clusters() const {
    return read(path_, std::vector<SavedCluster>(), [&](const Database& database) -> Result<std::vector<SavedCluster>> {
        std::vector<SavedCluster> all;
        RH_TRY(Statement row, database.prepare("SELECT name, launcher, config, state_key, saved_at, token FROM clusters ORDER BY name"));
        for (;;) {
            RH_TRY(const bool more, row.step());
            if (!more) return all;
            all.push_back(cluster_of(row));
        }
    });
}

Result<bool> Registry::forget_cluster(std::string_view name) const {
    RH_TRY(const auto there, find_cluster(name));
    if (!there) return false;
    return write(path_, [&](const Database& database) -> Result<bool> {
        RH_TRY_VOID(erase(database, "DELETE FROM services WHERE cluster = ?", name));
        return erase(database, "DELETE FROM clusters WHERE name = ?", name);
    });
}

Result<bool> Registry::rename_cluster(std::string_view name, std::string_view to) const {
    RH_TRY(const auto there, find_cluster(name));
    if (!there) return false;
    return write(path_, [&](const Database& database) -> Result<bool> {
        if (name == to) return true;
        RH_TRY_VOID(erase(database, "DELETE FROM clusters WHERE name = ?", to));
        RH_TRY_VOID(erase(database, "DELETE FROM services WHERE cluster = ?", to));
        RH_TRY(Statement services, database.prepare("UPDATE services SET cluster = ? WHERE cluster = ?"));
        RH_TRY_VOID(services.bind(1, to).bind(2, name).step());
        RH_TRY(Statement row, database.prepare("UPDATE clusters SET name = ? WHERE name = ?"));
        RH_TRY_VOID(row.bind(1, to).bind(2, name).step());
        return database.changed() > 0;
    });
}

Result<void> Registry::save(const SavedService& service, bool overwrite) const {
    return write(path_, [&](const Database& database) -> Result<void> {
        RH_TRY(const bool there, has(database, k_find_service, service.name));
        if (there && !overwrite) return fail(taken(service.kind, service.name));
        RH_TRY(Statement row, database.prepare("INSERT OR REPLACE INTO services (name, cluster, service, kind, saved_at) VALUES (?, ?, ?, ?, ?)"));
        row.bind(1, service.name).bind(2, service.cluster).bind(3, service.service).bind(4, service.kind).bind(5, now_s());
        RH_TRY_VOID(row.step());
        return {};
    });
}

Result<std::optional<SavedService>> Registry::find_service(std::string_view name) const {
    return read(path_, std::optional<SavedService>(), [&](const Database& database) -> Result<std::optional<SavedService>> {
        RH_TRY(Statement row, database.prepare(k_find_service));
        RH_TRY(const bool found, row.bind(1, name).step());
        return found ? std::optional(service_of(row)) : std::nullopt;
    });
}

Result<std::vector<SavedService>> Registry::services() const {
    return read(path_, std::vector<SavedService>(), [&](const Database& database) -> Result<std::vector<SavedService>> {
        std::vector<SavedService> all;
        RH_TRY(Statement row, database.prepare("SELECT name, cluster, service, kind, saved_at FROM services ORDER BY name"));
        for (;;) {
            RH_TRY(const bool more, row.step());
            if (!more) return all;
            all.push_back(service_of(row));
        }
    });
}

Result<bool> Registry::forget_service(std::string_view name) const {
    RH_TRY(const auto there, find_service(name));
    if (!there) return false;
    return write(path_, [&](const Database& database) { return erase(database, "DELETE FROM services WHERE name = ?", name); });
}

Result<std::map<std::string, std::string>> Registry::settings() const {
    using Settings = std::map<std::string, std::string>;
    return read(path_, Settings(), [&](const Database& database) -> Result<Settings> {
        Settings all;
        RH_TRY(Statement row, database.prepare("SELECT key, value FROM settings"));
        for (;;) {
            RH_TRY(const bool more, row.step());
            if (!more) return all;
            all[row.text(0)] = row.text(1);
        }
    });
}

Result<void> Registry::change_settings(const std::map<std::string, std::optional<std::string>>& changes) const {
    if (changes.empty()) return {};
    return write(path_, [&](const Database& database) -> Result<void> {
        for (const auto& [key, value] : changes) {
            if (!value) {
                RH_TRY_VOID(erase(database, "DELETE FROM settings WHERE key = ?", key));
                continue;
            }
            RH_TRY(Statement row, database.prepare("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)"));
            RH_TRY_VOID(row.bind(1, key).bind(2, *value).step());
        }
        return {};
    });
}

}  // namespace rh::registry
