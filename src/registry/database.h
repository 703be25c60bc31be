#pragma once

// One open SQLite file, and statements on it. A Database is used by the thread that opened it and closes with its last
// line; nothing throws. Errors name the file and say what to try.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace rh::registry {

using Deadline = std::chrono::steady_clock::time_point;

// One prepared statement. Texts that are bound must live until the last step.
class Statement {
public:
    Statement() = default;
    Statement(std::string path, sqlite3_stmt* statement) : path_(std::move(path)), statement_(statement) {}

    Statement& bind(int at, std::string_view text);
    Statement& bind(int at, std::int64_t number);
    // True when it brought a row, false at its end.
    Result<bool> step();
    std::string text(int column) const;
    std::int64_t number(int column) const;

private:
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const;
    };
    std::string path_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
public:
    enum class Access { read, write };

    // The registry in that file, with the tables of this version. Reading a file that is not there gives nothing; writing
    // makes it and its folder. The file must be this user's and is closed to others.
    static Result<std::optional<Database>> open(const std::string& path, Access access, Deadline deadline);

    Result<Statement> prepare(const char* sql) const;
    Result<void> run(const char* sql) const;
    // Rows that the last statement changed.
    int changed() const;

private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    Database(std::string path, sqlite3* database) : path_(std::move(path)), database_(database) {}
    Result<void> prepare_tables(Access access, Deadline deadline) const;
    Result<std::int64_t> pragma(const char* sql) const;

    std::string path_;
    std::unique_ptr<sqlite3, Close> database_;
};

// True for an Error that says that another process had the file: the transaction did nothing and may be tried again.
bool is_busy(const Error& error);

}  // namespace rh::registry
