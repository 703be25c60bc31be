#pragma once

// One open SQLite file of ours, and statements on it: the registry of a machine's user, the store of a node. A Database is used by the thread that opened it and closes with its last
// line; nothing throws. Errors name the file and say what to try.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace rh::store {

using Deadline = std::chrono::steady_clock::time_point;

// A kind of file. Everything in it outlives whoever uses it.
struct Format {
    const char* name;             // "registry"
    std::int64_t application_id;  // never renumber: it tells the file from anybody else's
    const char* lost;             // what cannot be read in a damaged one, a sentence
    // What makes each version's tables from those before. The file's version is how many of them it has; one that has more was
    // written by a newer version of us.
    std::vector<const char*> steps;
};

// Statements that a Database has prepared and nobody uses just now: to prepare one costs more than to run it.
class IdleStatements {
public:
    IdleStatements() = default;
    ~IdleStatements();
    IdleStatements(const IdleStatements&) = delete;
    IdleStatements& operator=(const IdleStatements&) = delete;

    // Null where there is none of that text.
    sqlite3_stmt* take(std::string_view sql);
    void give_back(sqlite3_stmt* statement);

private:
    std::unordered_map<std::string, sqlite3_stmt*> by_sql_;
};

// One prepared statement, which does not outlive its Database. Texts that are bound must live until the last step.
class Statement {
public:
    Statement(const Format& format, const std::string& path, sqlite3_stmt* statement, IdleStatements& idle) : format_(&format), path_(&path), statement_(statement, Return{&idle}) {}

    Statement& bind(int at, std::string_view text);
    Statement& bind(int at, std::int64_t number);
    Statement& bind_bytes(int at, std::string_view bytes);
    // True when it brought a row, false at its end.
    Result<bool> step();
    std::string text(int column) const;
    std::int64_t number(int column) const;

private:
    struct Return {
        IdleStatements* idle = nullptr;
        void operator()(sqlite3_stmt* statement) const { idle->give_back(statement); }
    };
    const Format* format_ = nullptr;
    const std::string* path_ = nullptr;  // the Database's
    std::unique_ptr<sqlite3_stmt, Return> statement_;
};

class Database {
public:
    enum class Access { read, write };

    // That file, with the tables of this version. Reading a file that is not there gives nothing; writing
    // makes it and its folder. The file must be this user's and is closed to others.
    static Result<std::optional<Database>> open(const Format& format, const std::string& path, Access access, Deadline deadline);

    Result<Statement> prepare(const char* sql) const;
    Result<void> run(const char* sql) const;
    // Rows that the last statement changed.
    int changed() const;

private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    Database(const Format& format, std::string path, sqlite3* database) : format_(&format), path_(std::move(path)), database_(database), idle_(std::make_unique<IdleStatements>()) {}
    Result<void> prepare_tables(Access access, Deadline deadline) const;
    Result<void> add_tables() const;
    Result<std::int64_t> pragma(const char* sql) const;

    const Format* format_;
    std::string path_;
    std::unique_ptr<sqlite3, Close> database_;
    std::unique_ptr<IdleStatements> idle_;  // gone before the database is closed
};

// True for an Error that says that another process had the file: the transaction did nothing and may be tried again.
bool is_busy(const Error& error);

// How long what found the file busy waits before it tries again.
inline constexpr std::chrono::milliseconds k_retry{2};

// Runs `work` on the open file; `missing` is the answer where there is no file. What found it busy is done again, whole.
template <class T, class Work>
Result<T> read(const Format& format, const std::string& path, T missing, Work work) {
    const Deadline deadline = std::chrono::steady_clock::now() + limits::k_registry_wait;
    for (;;) {
        auto attempt = [&]() -> Result<T> {
            RH_TRY(const auto database, Database::open(format, path, Database::Access::read, deadline));
            if (!database) return missing;
            // A file that another process is just making has no tables yet.
            RH_TRY(auto tables, database->prepare("PRAGMA user_version"));
            RH_TRY_VOID(tables.step());
            if (tables.number(0) == 0) return missing;
            return work(*database);
        };
        Result<T> result = attempt();
        if (result || !is_busy(result.error()) || std::chrono::steady_clock::now() >= deadline) return result;
        std::this_thread::sleep_for(k_retry);
    }
}

// The same in one transaction that writes. A failure leaves everything as it was: the file closes with its transaction open.
template <class Work>
auto write(const Format& format, const std::string& path, Work work) -> decltype(work(std::declval<const Database&>())) {
    const Deadline deadline = std::chrono::steady_clock::now() + limits::k_registry_wait;
    for (;;) {
        auto attempt = [&]() -> decltype(work(std::declval<const Database&>())) {
            RH_TRY(const auto database, Database::open(format, path, Database::Access::write, deadline));
            RH_TRY_VOID(database->run("BEGIN IMMEDIATE"));
            auto result = work(*database);
            if (result) RH_TRY_VOID(database->run("COMMIT"));
            return result;
        };
        auto result = attempt();
        if (result || !is_busy(result.error()) || std::chrono::steady_clock::now() >= deadline) return result;
        std::this_thread::sleep_for(k_retry);
    }
}

}  // namespace rh::store
