#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "base/fd.h"
#include "store/sync.h"

namespace rh::store {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Error damaged(const Format& format, const std::string& path, std::string_view why) {
    return Error(Code::io, fmt::format("the {} {} is damaged or is not a {} ({}): {} Try: mv {} {}.damaged, and save again", format.name, path, format.name, why, format.lost, path, path))
        .with("path", path);
}

Error explain(const Format& format, const std::string& path, sqlite3* database, int result) {
    const char* const words = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(result);
    const char* advice = "";
    switch (result & 0xff) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return damaged(format, path, words);
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return Error(Code::timeout, fmt::format("another process holds the {} {} for too long ({}). Try: again, or see who has "
                                                    "it with `fuser {}`",
                                                    format.name, path, words, path))
                .with("path", path)
                .with("busy", "True");
        case SQLITE_FULL: advice = ". Try: free some space there, or set ROUNDHOUSE_STATE to a folder with room"; break;
        case SQLITE_CANTOPEN:
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_AUTH:
            return Error(Code::not_allowed, fmt::format("the {} {} and its folder must be writable for user {} ({}). Try: make them "
                                                        "yours, or set ROUNDHOUSE_STATE to a folder that is",
                                                        format.name, path, ::geteuid(), words))
                .with("path", path);
        default: break;
    }
    return Error(Code::io, fmt::format("the {} {} could not be used: {} (SQLite's {}){}", format.name, path, words, result, advice)).with("path", path);
}

Error refused(std::string_view what, const std::string& path, int error_number) {
    const bool denied = error_number == EACCES || error_number == EPERM || error_number == EROFS;
    if (!denied) return os_error(fmt::format("cannot {} {}", what, path), error_number);
    Error error = os_error(fmt::format("cannot {} {} as user {}. Try: make its folder yours, or set ROUNDHOUSE_STATE to a folder that can "
                                       "be written",
                                       what, path, ::geteuid()),
                           error_number);
    error.code = Code::not_allowed;
    return error;
}

Result<void> make_folders(const std::string& file) {
    for (std::size_t at = file.find('/', 1); at != file.npos; at = file.find('/', at + 1)) {
        const std::string part = file.substr(0, at);
        struct stat there {};
        if (::mkdir(part.c_str(), 0700) != 0 && ::stat(part.c_str(), &there) != 0) return fail(refused("make the folder", part, errno));
    }
    return {};
}

// SQLite would make it with the umask's mode; its journals get the mode of the file. The file itself is never opened here:
// closing it would free the locks that SQLite holds on it in other threads of this process.
Result<void> make_file(const Format& format, const std::string& path) {
    RH_TRY_VOID(make_folders(path));
    std::string draft = path + ".XXXXXX";
    // Closed before it has its name, from when on it is that file.
    if (const Fd file(::mkostemp(draft.data(), O_CLOEXEC)); !file) return fail(refused(fmt::format("make the {}", format.name), path, errno));
    const bool made = ::link(draft.c_str(), path.c_str()) == 0;
    const int why = errno;
    ::unlink(draft.c_str());
    // Another process may have been first.
    if (!made && why != EEXIST) return fail(refused(fmt::format("make the {}", format.name), path, why));
    return sync_folder(path.substr(0, path.rfind('/') + 1));
}

Result<bool> file_is_there(const Format& format, const std::string& path, Database::Access access) {
    const bool write = access == Database::Access::write;
    struct stat found {};
    while (::lstat(path.c_str(), &found) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) return fail(refused(fmt::format("look at the {}", format.name), path, errno));
        if (!write) return false;
        RH_TRY_VOID(make_file(format, path));
    }
    if (found.st_uid != ::geteuid())
        return fail(Code::not_allowed, fmt::format("the {} {} belongs to user {}, not to you (user {}). Try: set ROUNDHOUSE_STATE to a "
                                                   "folder of your own",
                                                   format.name, path, found.st_uid, ::geteuid()));
    if (!S_ISREG(found.st_mode)) return fail(damaged(format, path, "it is not a file"));
    if ((found.st_mode & 077) != 0) ::chmod(path.c_str(), 0600);
    // Another process may have just made it and not yet written to it.
    return write || found.st_size > 0;
}

}  // namespace

bool is_busy(const Error& error) { return error.fact("busy") == "True"; }

IdleStatements::~IdleStatements() {
    for (const auto& [sql, statement] : by_sql_) sqlite3_finalize(statement);
}

sqlite3_stmt* IdleStatements::take(std::string_view sql) {
    const auto found = by_sql_.find(std::string(sql));
    return found == by_sql_.end() ? nullptr : std::exchange(found->second, nullptr);
}

void IdleStatements::give_back(sqlite3_stmt* statement) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    // Of one that was used twice at once, one is kept.
    sqlite3_stmt*& place = by_sql_[sqlite3_sql(statement)];
    if (place == nullptr) {
        place = statement;
    } else {
        sqlite3_finalize(statement);
    }
}

Statement& Statement::bind(int at, std::string_view text) {
    sqlite3_bind_text(statement_.get(), at, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
    return *this;
}

Statement& Statement::bind(int at, std::int64_t number) {
    sqlite3_bind_int64(statement_.get(), at, number);
    return *this;
}

Statement& Statement::bind_bytes(int at, std::string_view bytes) {
    sqlite3_bind_blob(statement_.get(), at, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
    return *this;
}

Result<bool> Statement::step() {
    const int result = sqlite3_step(statement_.get());
    if (result == SQLITE_ROW) return true;
    if (result == SQLITE_DONE) return false;
    return fail(explain(*format_, *path_, sqlite3_db_handle(statement_.get()), result));
}

std::string Statement::text(int column) const {
    const bool raw = sqlite3_column_type(statement_.get(), column) == SQLITE_BLOB;
    const void* const found = raw ? sqlite3_column_blob(statement_.get(), column) : sqlite3_column_text(statement_.get(), column);
    const auto* const text = static_cast<const char*>(found);
    if (text == nullptr) return {};
    return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::int64_t Statement::number(int column) const { return sqlite3_column_int64(statement_.get(), column); }

void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Result<std::optional<Database>> Database::open(const Format& format, const std::string& path, Access access, Deadline deadline) {
    RH_TRY(const bool there, file_is_there(format, path, access));
    if (!there) return std::optional<Database>();
    // Reading opens for writing as well, where that may be: a reader of a WAL file takes part in its locks.
    sqlite3* raw = nullptr;
    const int result = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, nullptr);
    Database database(format, path, raw);
    if (result != SQLITE_OK) return fail(explain(format, path, raw, result));
    sqlite3_extended_result_codes(raw, 1);
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    sqlite3_busy_timeout(raw, static_cast<int>(std::clamp<decltype(left)>(left, 1, 60'000)));
    RH_TRY_VOID(database.prepare_tables(access, deadline));
    return std::optional<Database>(std::move(database));
}

Result<Statement> Database::prepare(const char* sql) const {
    sqlite3_stmt* statement = idle_->take(sql);
    if (statement != nullptr) return Statement(*format_, path_, statement, *idle_);
    const int result = sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr);
    if (result != SQLITE_OK) return fail(explain(*format_, path_, database_.get(), result));
    return Statement(*format_, path_, statement, *idle_);
}

Result<void> Database::run(const char* sql) const {
    const int result = sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) return fail(explain(*format_, path_, database_.get(), result));
    return {};
}

int Database::changed() const { return sqlite3_changes(database_.get()); }

Result<std::int64_t> Database::pragma(const char* sql) const {
    RH_TRY(Statement statement, prepare(sql));
    RH_TRY_VOID(statement.step());
    return statement.number(0);
}

// Inside a transaction that writes: brings the tables to this version.
Result<void> Database::add_tables() const {
    // Another process may have been first.
    RH_TRY(const std::int64_t version, pragma("PRAGMA user_version"));
    RH_TRY(const std::int64_t tables, pragma("SELECT count(*) FROM sqlite_master"));
    if (version == 0 && tables != 0) return fail(damaged(*format_, path_, "another program's tables are in it"));
    for (std::size_t step = static_cast<std::size_t>(version); step < format_->steps.size(); ++step) RH_TRY_VOID(run(format_->steps[step]));
    return run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", format_->application_id, format_->steps.size()).c_str());
}

Result<void> Database::prepare_tables(Access access, Deadline deadline) const {
    RH_TRY(const std::int64_t version, pragma("PRAGMA user_version"));
    RH_TRY(const std::int64_t application, pragma("PRAGMA application_id"));
    const auto known = static_cast<std::int64_t>(format_->steps.size());
    if (version == 0 && access == Access::write) {
        // Changing to WAL needs the file alone, and does not wait for that by itself.
        for (;;) {
            const Result<void> changed = run("PRAGMA journal_mode = WAL");
            if (changed) break;
            if (!is_busy(changed.error()) || steady_clock::now() >= deadline) return fail(changed.error());
            std::this_thread::sleep_for(k_retry);
        }
        RH_TRY_VOID(run("BEGIN IMMEDIATE"));
        RH_TRY_VOID(add_tables());
        return run("COMMIT");
    }
    if (version == 0) {
        // Being made by another process just now, or another program's.
        RH_TRY(const std::int64_t tables, pragma("SELECT count(*) FROM sqlite_master"));
        return tables == 0 ? Result<void>() : fail(damaged(*format_, path_, "another program's tables are in it"));
    }
    if (application != format_->application_id) return fail(damaged(*format_, path_, "another program's tables are in it"));
    if (version > known)
        return fail(Code::unsupported, fmt::format("the {} {} was written by a newer version (format {}; this one knows {}). Try: upgrade "
                                                   "this installation, or set ROUNDHOUSE_STATE to another folder",
                                                   format_->name, path_, version, known));
    if (version < known) {
        RH_TRY_VOID(run("BEGIN IMMEDIATE"));
        RH_TRY_VOID(add_tables());
        RH_TRY_VOID(run("COMMIT"));
    }
    // A power cut may lose the last save, never the file.
    return run("PRAGMA synchronous = NORMAL");
}

}  // namespace rh::store
