#pragma once

// Runs as rows of the journal's file (schema_runs.sql) and what is read of them. Every function is one step of a transaction that
// somebody else has begun (journal.h), on the thread that has the Database. A record whose checksum does not fit is Code::damaged,
// which names it; the others stay readable.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/body.h"
#include "store/database.h"

namespace rh::store {

enum class RunState : std::uint8_t { queued = 1, running = 2, succeeded = 3, failed = 4, lost = 5, cancelled = 6 };  // stored: never renumber

std::string_view run_state_name(RunState state);
inline bool is_over(RunState state) { return state != RunState::queued && state != RunState::running; }

struct RunRecord {
    std::string name;
    std::string id;
    std::string service;
    std::string method;
    std::string principal;
    std::int64_t created_ms = 0;
    std::int64_t keep_s = 0;
    std::int64_t keep_bytes = 0;
    std::string webhook;
    std::string store;  // where it is kept besides; empty: nowhere
};

struct AttemptRecord {
    std::int64_t number = 0;
    RunState state = RunState::queued;
    std::int64_t queued_ms = 0;
    std::int64_t started_ms = 0;
    std::int64_t ended_ms = 0;
    std::string code;       // empty: not known
    std::string arguments;  // a digest; empty: not comparable
    std::string shown;
    std::string ending;     // JSON, as ending_of() makes it; empty where it ended with a value, or has not
    std::int64_t stored_bytes = 0;
    std::int64_t deadline_ms = 0;  // from when it runs; 0: none
    bool kill = false;             // its worker may be ended for it
    std::string origin;            // JSON: the cluster where it runs or ran; empty: this one
    std::int64_t heard_ms = 0;     // when that last told of it

    // It runs, and not on this node.
    bool is_away() const { return !is_over(state) && !origin.empty(); }
};

struct RunHistory {
    RunRecord run;
    std::vector<AttemptRecord> attempts;  // in their order; never empty
};

// What an Outcome says besides its body, as text and back.
std::string ending_of(const Outcome& outcome);
Outcome outcome_of(const AttemptRecord& attempt);
// What whoever waited for a lost attempt is told.
Error lost_error(std::string_view name, std::int64_t number, bool has_printed);

enum class BodyKind : std::int64_t { arguments = 1, result = 2, code = 3, snapshot = 4 };  // stored: never renumber

// A body whose bytes are somebody else's.
struct BodyView {
    Encoding encoding = Encoding::empty;
    std::vector<std::uint64_t> part_bytes;
    ByteView bytes;
};

class RunRecords {
public:
    // `folder` is where the files stand that are too large for rows.
    RunRecords(const Database& database, const std::string& folder) : database_(database), folder_(folder) {}

    Result<std::optional<RunRecord>> run(std::string_view name) const;
    Result<std::vector<AttemptRecord>> attempts(const RunRecord& run) const;
    // Nothing where there is no run of that name; Code::damaged where the run or its last attempt is.
    Result<std::optional<RunHistory>> history(std::string_view name) const;
    // The names of all, those that were asked for last first.
    Result<std::vector<std::string>> names(std::size_t most) const;

    Result<void> put(const RunRecord& run) const;
    Result<void> put(std::string_view run_id, const AttemptRecord& attempt) const;
    Result<void> put_body(std::string_view run_id, std::int64_t number, BodyKind kind, const Body& body) const { return put_body(run_id, number, kind, {body.encoding, body.part_bytes, body.bytes.view()}); }
    Result<void> put_body(std::string_view run_id, std::int64_t number, BodyKind kind, const BodyView& body) const;
    Result<Body> body(std::string_view run_id, std::int64_t number, BodyKind kind) const;
    // The ids of the snapshots of code that attempts were started with.
    Result<std::vector<std::string>> snapshots() const;

    // With all its files, and also where its records are damaged. False where there is none.
    Result<bool> erase(std::string_view name) const;
    Result<void> erase_attempt(std::string_view run_id, std::int64_t number) const;
    // Runs whose last attempt has not ended, is this node's, and can be read.
    Result<std::vector<RunHistory>> unfinished() const;
    // What ran on a node that is gone is lost.
    Result<void> mark_lost(std::int64_t now_ms) const;
    // Forgets ended runs that are older than they are to be kept, attempts of runs that hold too much, and the oldest ended runs
    // while all together hold more than `bytes_max`.
    Result<void> prune(std::int64_t now_ms, std::int64_t bytes_max) const;

private:
    Result<std::int64_t> prune_run(const std::string& name, std::int64_t now_ms) const;

    const Database& database_;
    const std::string& folder_;
};

// Where an attempt's output stands (run_log.h).
std::string run_log_path(const std::string& folder, std::string_view run_id, std::int64_t number);

}  // namespace rh::store
