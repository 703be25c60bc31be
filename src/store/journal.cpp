#include "store/journal.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/ids.h"
#include "base/limits.h"
#include "store/checksum.h"
#include "store/schema_runs.sql.h"

namespace rh::store {

namespace {

using Clock = std::chrono::steady_clock;

// "RHru".
const Format k_format{"journal", 0x52487275, "the node's runs cannot be read. What runs does not depend on it.", {k_schema_runs}};

std::int64_t now_ms() { return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

Error full(std::size_t waiting) {
    return Error(Code::limit_exceeded, fmt::format("{} requests wait for this node's journal of runs, the most that may: try again in a moment", waiting)).with("started", "no");
}

// A run of the node's own beside another, which is kept as long.
Journal::Wanted following(const RunRecord& run, std::string name, std::string_view service, nlohmann::json named) {
    Journal::Wanted wanted;
    wanted.name = std::move(name);
    wanted.service = service;
    wanted.method = "call";
    wanted.principal = run.principal;
    wanted.keep_s = run.keep_s;
    wanted.keep_bytes = run.keep_bytes;
    const nlohmann::json arguments{{"kwargs", std::move(named)}};
    // What user code raised need not be UTF-8.
    const std::string text = arguments.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    wanted.arguments = Body::one(Encoding::json, as_byte_view(text));
    return wanted;
}

// What a webhook is told, as a run that calls the service for it.
Journal::Wanted delivery_of(const RunRecord& run, const AttemptRecord& attempt) {
    nlohmann::json payload{{"run", run.name}, {"service", run.service}, {"method", run.method}, {"attempt", attempt.number}, {"state", run_state_name(attempt.state)},
                           {"ended_s", static_cast<double>(attempt.ended_ms) / 1000.0}, {"error", nullptr}, {"raised", nullptr}};
    const Outcome outcome = outcome_of(attempt);
    if (outcome.kind == Outcome::Kind::failed) payload["error"] = {{"type", code_type(outcome.error.code)}, {"message", outcome.error.message}};
    if (outcome.kind == Outcome::Kind::raised) payload["raised"] = {{"type", outcome.raised.type}, {"message", outcome.raised.message}};
    Journal::Wanted delivery = following(run, fmt::format("{}.webhook-{}", run.name, attempt.number), k_webhook_service, {{"url", run.webhook}, {"payload", std::move(payload)}});
    delivery.shown = run.webhook;
    delivery.replace = true;
    return delivery;
}

// Why another cluster may tell nothing of that attempt, which has not ended.
Error away_or_here(const RunRecord& run, const AttemptRecord& attempt) {
    if (attempt.is_away()) return away_error(run, attempt);
    return Error(Code::run_conflict, fmt::format("attempt {} of the run \"{}\" runs on this cluster itself", attempt.number, run.name))
        .with("run", run.name).with("attempt", std::to_string(attempt.number)).with("differs", "another cluster").with("started", "no");
}

// What stands in the way of taking that attempt for what is asked for, if anything does.
Result<void> check_same(const RunRecord& run, const AttemptRecord& last, const Journal::Wanted& wanted) {
    const auto conflict = [&](std::string what, const std::string& before, const std::string& now, std::string_view advice) {
        return fail(Error(Code::run_conflict, fmt::format("the run \"{}\" is there, with {}: {} then (attempt {}, {}), {} now. Try: {}", run.name, what, before, last.number,
                                                           run_state_name(last.state), now, advice))
                        .with("run", run.name).with("attempt", std::to_string(last.number)).with("differs", std::move(what)).with("old", before).with("new", now).with("started", "no"));
    };
    constexpr std::string_view k_anew = "another run_name, or replace=True to start it anew";
    if (run.service != wanted.service || run.method != wanted.method)
        return conflict("another callable", run.service + '.' + run.method, wanted.service + '.' + wanted.method, k_anew);
    // A digest says first how it was made; those that were made differently tell nothing about each other.
    const auto is_comparable = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a.substr(0, a.find(':')) == b.substr(0, b.find(':')); };
    if (is_comparable(last.arguments, wanted.digest) && last.arguments != wanted.digest) {
        const auto both = [](const AttemptRecord& a, const Journal::Wanted& b) {
            return a.shown == b.shown ? std::pair(fmt::format("({}) [{}]", a.shown, a.arguments), fmt::format("({}) [{}]", b.shown, b.digest))
                                      : std::pair(fmt::format("({})", a.shown), fmt::format("({})", b.shown));
        };
        const auto [before, now] = both(last, wanted);
        return conflict("other arguments", before, now, k_anew);
    }
    if (!wanted.accept_old_code && is_comparable(last.code, wanted.code) && last.code != wanted.code)
        return conflict("other code", last.code, wanted.code, "accept_old_code=True, another run_name, or replace=True to start it anew");
    return {};
}

}  // namespace

Journal::Wanted keeping_of(const RunRecord& run, std::int64_t number) {
    Journal::Wanted keeping = following(run, fmt::format("{}.store-{}", run.name, number), k_store_service, {{"step", "keep"}, {"store", run.store}, {"name", run.name}, {"attempt", number}});
    keeping.shown = run.store;
    // One attempt is kept in one store.
    keeping.digest = "store:" + digest_of(run.store);
    return keeping;
}

Error away_error(const RunRecord& run, const AttemptRecord& attempt) {
    const nlohmann::json origin = nlohmann::json::parse(attempt.origin, nullptr, false);
    const std::string cluster = origin.is_object() && origin.contains("cluster") && origin["cluster"].is_string() ? origin["cluster"].get<std::string>() : "?";
    return Error(Code::run_conflict, fmt::format("attempt {0} of the run \"{1}\" runs on the cluster \"{2}\", which this one only keeps it for. Try: rh.compute(\"{2}\").get_run(\"{1}\") where that is known",
                                                 attempt.number, run.name, cluster))
        .with("run", run.name).with("attempt", std::to_string(attempt.number)).with("differs", "another cluster").with("old", cluster).with("started", "no");
}

Journal::Journal(std::string state_folder, Post post, std::size_t queue_max)
    : path_(state_folder + "/runs.db"), folder_(state_folder + "/runs"), post_(std::move(post)), queue_max_(queue_max), pruned_at_(Clock::now() - limits::k_journal_prune_pause) {}

Journal::~Journal() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    more_.notify_one();
    if (thread_.joinable()) thread_.join();
}

bool Journal::take_over(bool node_is_new, Done<std::vector<Unfinished>> done) {
    struct stat found {};
    if (::stat(path_.c_str(), &found) != 0) return false;
    ask<std::vector<Unfinished>>(true, [this, node_is_new](const RunRecords& records) -> Result<std::vector<Unfinished>> {
        std::vector<Unfinished> all;
        if (node_is_new) {
            RH_TRY_VOID(records.mark_lost(now_ms()));
            return all;
        }
        RH_TRY(std::vector<RunHistory> unfinished, records.unfinished());
        for (RunHistory& each : unfinished) {
            AttemptRecord attempt = std::move(each.attempts.back());
            const Result<LogEnd> log = RunLog(run_log_path(folder_, each.run.id, attempt.number)).recover();
            all.push_back({std::move(each.run), std::move(attempt), log.value_or(LogEnd())});
        }
        return all;
    }, std::move(done));
    return true;
}

// --- what is asked ---------------------------------------------------------------------------------------------------

bool Journal::add(Task task, bool always) {
    {
        const std::lock_guard lock(mutex_);
        if (!always && queue_.size() >= queue_max_) return false;
        queue_.push_back(std::move(task));
        if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    }
    more_.notify_one();
    return true;
}

template <class T>
void Journal::ask(bool always, std::function<Result<T>(const RunRecords&)> work, Done<T> done) {
    // Shared by the work, which may be done twice, and by whoever tells.
    auto answer = std::make_shared<Result<T>>(fail(Code::internal, "it was not done"));
    Task task;
    task.work = [this, answer, work = std::move(work)](const Database& database) -> Result<void> {
        *answer = work(RunRecords(database, folder_));
        return *answer ? Result<void>() : fail(answer->error());
    };
    task.done = [answer, done](Result<void> committed) {
        if (!committed) return done(fail(std::move(committed.error())));
        done(std::move(*answer));
    };
    if (!add(std::move(task), always)) post_([done = std::move(done), waiting = queue_max_] { done(fail(full(waiting))); });
}

void Journal::begin(Wanted wanted, Done<Begun> done) {
    auto kept = std::make_shared<Wanted>(std::move(wanted));
    ask<Begun>(false, [this, kept](const RunRecords& records) { return begin_now(records, *kept); }, std::move(done));
}

Result<Journal::Begun> Journal::begin_now(const RunRecords& records, const Wanted& wanted) const {
    Begun begun;
    RH_TRY(std::optional<RunHistory> known, records.history(wanted.name));
    std::int64_t number = 1;
    if (known) {
        AttemptRecord& last = known->attempts.back();
        if (last.is_away()) return fail(away_error(known->run, last));
        begun.code_compared = !last.code.empty() && !wanted.code.empty();
        begun.arguments_compared = !last.arguments.empty() && !wanted.digest.empty();
        if (!wanted.replace) RH_TRY_VOID(check_same(known->run, last, wanted));
        begun.run = known->run;
        number = last.number + 1;
        const bool stands = !is_over(last.state) || (last.state == RunState::succeeded && !wanted.replace);
        if (stands) {
            begun.how = is_over(last.state) ? Begun::How::stored : wanted.replace ? Begun::How::busy : Begun::How::attached;
            begun.attempt = std::move(last);
            // Whoever asks for it to be kept sees to that, also where somebody else began it or an earlier try has failed.
            // What came from a store is there.
            if (wanted.store.empty() || begun.how == Begun::How::busy || !begun.attempt.origin.empty()) return begun;
            begun.run.store = wanted.store;
            RH_TRY_VOID(records.put(begun.run));
            RH_TRY(begun.keeping, follow_now(records, keeping_of(begun.run, begun.attempt.number)));
            return begun;
        }
    }
    begun.run.name = wanted.name;
    begun.run.service = wanted.service;
    begun.run.method = wanted.method;
    begun.run.keep_s = wanted.keep_s;
    begun.run.keep_bytes = wanted.keep_bytes;
    begun.run.webhook = wanted.webhook;
    begun.run.store = wanted.store;
    if (!known) {
        begun.run.id = random_hex(k_session_id_bytes);
        begun.run.created_ms = now_ms();
        begun.run.principal = wanted.principal;
    }
    begun.attempt.number = number;
    begun.attempt.queued_ms = now_ms();
    begun.attempt.code = wanted.code;
    begun.attempt.arguments = wanted.digest;
    begun.attempt.shown = wanted.shown;
    begun.attempt.deadline_ms = wanted.deadline_ms;
    begun.attempt.kill = wanted.kill;
    begun.attempt.stored_bytes = static_cast<std::int64_t>(wanted.arguments.bytes.size() + wanted.program.bytes.size());
    RH_TRY_VOID(records.put(begun.run));
    RH_TRY_VOID(records.put(begun.run.id, begun.attempt));
    RH_TRY_VOID(records.put_body(begun.run.id, number, BodyKind::arguments, wanted.arguments));
    if (!wanted.program.part_bytes.empty()) RH_TRY_VOID(records.put_body(begun.run.id, number, BodyKind::code, wanted.program));
    if (!wanted.snapshot.empty()) RH_TRY_VOID(records.put_body(begun.run.id, number, BodyKind::snapshot, Body::one(Encoding::empty, as_byte_view(wanted.snapshot))));
    if (wanted.store.empty()) return begun;
    RH_TRY(begun.keeping, follow_now(records, keeping_of(begun.run, number)));
    return begun;
}

Result<std::shared_ptr<Journal::Following>> Journal::follow_now(const RunRecords& records, Wanted wanted) const {
    auto following = std::make_shared<Following>();
    RH_TRY(following->begun, begin_now(records, wanted));
    following->arguments = std::move(wanted.arguments);
    return following;
}

void Journal::import(Imported imported, Done<AttemptRecord> done) {
    auto kept = std::make_shared<Imported>(std::move(imported));
    ask<AttemptRecord>(false, [this, kept](const RunRecords& records) { return import_now(records, *kept); }, std::move(done));
}

Result<AttemptRecord> Journal::import_now(const RunRecords& records, const Imported& imported) const {
    RH_TRY(std::optional<RunHistory> known, records.history(imported.run.name));
    RunRecord run = known ? known->run : imported.run;
    if (!known) {
        run.id = random_hex(k_session_id_bytes);
        RH_TRY_VOID(records.put(run));
    }
    AttemptRecord stands;
    for (const AttemptRecord& told : imported.attempts) {
        stands = told;
        const bool is_last = &told == &imported.attempts.back();
        if (known && told.number <= known->attempts.back().number) {
            const auto there = std::find_if(known->attempts.begin(), known->attempts.end(), [&](const AttemptRecord& each) { return each.number == told.number; });
            if (there == known->attempts.end() || !is_last) continue;  // or forgotten since
            const bool is_told_lost = told.state == RunState::lost;
            if (there->is_away() ? there->origin != told.origin && !is_told_lost : !is_over(there->state)) return fail(away_or_here(run, *there));
            if (is_over(there->state)) return *there;
            stands.stored_bytes = there->stored_bytes;
        } else if (known && !is_over(known->attempts.back().state)) {
            return fail(away_or_here(run, known->attempts.back()));
        }
        stands.heard_ms = now_ms();
        if (is_last) RH_TRY_VOID(import_content(records, run, imported, stands));
        RH_TRY_VOID(records.put(run.id, stands));
    }
    return stands;
}

Result<void> Journal::import_content(const RunRecords& records, const RunRecord& run, const Imported& imported, AttemptRecord& attempt) const {
    for (const auto& [kind, body] : imported.bodies) {
        RH_TRY_VOID(records.put_body(run.id, attempt.number, kind, body));
        attempt.stored_bytes += static_cast<std::int64_t>(body.bytes.size());
    }
    if (imported.output.empty()) return {};
    const std::string path = run_log_path(folder_, run.id, attempt.number);
    // This may be done twice, and a file is no part of the transaction.
    ::unlink(path.c_str());
    const RunLog log(path);
    for (const LogPiece& piece : imported.output) {
        RH_TRY_VOID(log.append(piece.channel, piece.offset, piece.text, OutputPlace(), limits::k_run_log_bytes_kept));
        attempt.stored_bytes += static_cast<std::int64_t>(piece.text.size());
    }
    return log.sync();
}

Error Journal::unknown(const RunRecords& records, std::string_view name) const {
    const Result<std::vector<std::string>> there = records.names(8);
    const std::string known = there && !there->empty() ? fmt::format("the last are: {}", fmt::join(*there, ", ")) : "there is none yet";
    return Error(Code::not_found, fmt::format("there is no run \"{:.128}\" here ({})", name, known)).with("name", std::string(name.substr(0, limits::k_name_bytes_max)));
}

void Journal::look_up(std::string name, Done<RunHistory> done) {
    ask<RunHistory>(false, [this, name = std::move(name)](const RunRecords& records) -> Result<RunHistory> {
        RH_TRY(std::optional<RunHistory> found, records.history(name));
        if (!found) return fail(unknown(records, name));
        return std::move(*found);
    }, std::move(done));
}

void Journal::list(std::size_t most, Done<std::vector<Listed>> done) {
    ask<std::vector<Listed>>(false, [most](const RunRecords& records) -> Result<std::vector<Listed>> {
        RH_TRY(const std::vector<std::string> names, records.names(most));
        std::vector<Listed> all;
        for (const std::string& name : names) {
            Result<std::optional<RunHistory>> found = records.history(name);
            if (!found) {
                all.push_back({name, fail(std::move(found.error()))});
            } else if (*found) {
                all.push_back({name, std::move(**found)});
            }
        }
        return all;
    }, std::move(done));
}

void Journal::read_result(std::string run_id, AttemptRecord attempt, Done<Outcome> done) {
    ask<Outcome>(false, [run_id = std::move(run_id), attempt = std::move(attempt)](const RunRecords& records) -> Result<Outcome> {
        Outcome outcome = outcome_of(attempt);
        RH_TRY(outcome.body, records.body(run_id, attempt.number, BodyKind::result));
        return outcome;
    }, std::move(done));
}

void Journal::read_arguments(std::string run_id, std::int64_t number, Done<Body> done) {
    ask<Body>(false, [run_id = std::move(run_id), number](const RunRecords& records) { return records.body(run_id, number, BodyKind::arguments); }, std::move(done));
}

void Journal::read_snapshots(Done<std::vector<std::string>> done) {
    struct stat found {};
    if (::stat(path_.c_str(), &found) != 0) return post_([done = std::move(done)] { done(std::vector<std::string>()); });
    ask<std::vector<std::string>>(false, [](const RunRecords& records) { return records.snapshots(); }, std::move(done));
}

void Journal::read_dispatch(std::string run_id, std::int64_t number, Done<Dispatch> done) {
    ask<Dispatch>(false, [run_id = std::move(run_id), number](const RunRecords& records) -> Result<Dispatch> {
        Dispatch dispatch;
        RH_TRY(dispatch.program, records.body(run_id, number, BodyKind::code));
        RH_TRY(dispatch.arguments, records.body(run_id, number, BodyKind::arguments));
        return dispatch;
    }, std::move(done));
}

void Journal::read_log(std::string run_id, std::int64_t number, LogCursor from, std::uint64_t bytes_max, Done<LogRead> done) {
    const RunLog log(run_log_path(folder_, run_id, number));
    ask<LogRead>(false, [log, from, bytes_max](const RunRecords&) { return log.read(from, bytes_max); }, std::move(done));
}

void Journal::forget(std::string name, Done<bool> done) {
    ask<bool>(false, [this, name = std::move(name)](const RunRecords& records) -> Result<bool> {
        RH_TRY(const bool was_there, records.erase(name));
        if (!was_there) return fail(unknown(records, name));
        return true;
    }, std::move(done));
}

void Journal::prune(std::int64_t at_ms, std::int64_t bytes_max, Done<bool> done) {
    ask<bool>(false, [at_ms, bytes_max](const RunRecords& records) -> Result<bool> {
        RH_TRY_VOID(records.prune(at_ms, bytes_max));
        return true;
    }, std::move(done));
}

void Journal::note_running(std::string name, std::int64_t number) {
    ask<bool>(true, [name = std::move(name), number, at = now_ms()](const RunRecords& records) -> Result<bool> {
        RH_TRY(std::optional<RunHistory> known, records.history(name));
        if (!known || known->attempts.back().number != number || is_over(known->attempts.back().state)) return false;
        AttemptRecord& attempt = known->attempts.back();
        attempt.state = RunState::running;
        attempt.started_ms = at;
        RH_TRY_VOID(records.put(known->run.id, attempt));
        return true;
    }, [](const Result<bool>&) {});
}

void Journal::append_log(std::string run_id, std::int64_t number, Channel channel, std::uint64_t at, Bytes text, const OutputPlace& place, Done<bool> done) {
    const RunLog log(run_log_path(folder_, run_id, number));
    auto kept = std::make_shared<const Bytes>(std::move(text));
    // It is no part of the transaction, which may be done again.
    ask<bool>(true, [log, channel, at, kept, place, wrote = std::make_shared<bool>(false)](const RunRecords&) -> Result<bool> {
        if (!std::exchange(*wrote, true)) RH_TRY_VOID(log.append(channel, at, as_text(kept->view()), place, limits::k_run_log_bytes_kept));
        return true;
    }, std::move(done));
}

void Journal::end(std::string name, std::int64_t number, RunState state, std::shared_ptr<const Outcome> outcome, std::uint64_t log_bytes, Done<Ended> done) {
    ask<Ended>(true, [this, name = std::move(name), number, state, outcome = std::move(outcome), log_bytes, at = now_ms()](const RunRecords& records) -> Result<Ended> {
        RH_TRY(std::optional<RunHistory> known, records.history(name));
        if (!known || known->attempts.back().number != number) return fail(unknown(records, name));
        AttemptRecord attempt = known->attempts.back();
        attempt.state = state;
        if (attempt.started_ms == 0) attempt.started_ms = at;
        attempt.ended_ms = at;
        attempt.ending = ending_of(*outcome);
        attempt.stored_bytes += static_cast<std::int64_t>(outcome->body.bytes.size() + std::min(log_bytes, 2 * limits::k_run_log_bytes_kept));
        if (log_bytes > 0) RH_TRY_VOID(RunLog(run_log_path(folder_, known->run.id, number)).sync());
        if (!outcome->body.part_bytes.empty()) RH_TRY_VOID(records.put_body(known->run.id, number, BodyKind::result, outcome->body));
        RH_TRY_VOID(records.put(known->run.id, attempt));
        Ended ended;
        if (known->run.webhook.empty()) return ended;
        RH_TRY(ended.delivery, follow_now(records, delivery_of(known->run, attempt)));
        return ended;
    }, std::move(done));
}

// --- the thread ------------------------------------------------------------------------------------------------------

void Journal::work() {
    std::vector<Task> tasks;
    for (;;) {
        tasks.clear();
        {
            std::unique_lock lock(mutex_);
            const auto is_more = [this] { return stopping_ || !queue_.empty(); };
            if (!more_.wait_for(lock, limits::k_journal_idle, is_more)) {
                lock.unlock();
                rest();
                lock.lock();
                more_.wait(lock, is_more);
            }
            if (queue_.empty()) return;
            const std::size_t count = std::min(queue_.size(), limits::k_journal_batch_max);
            std::move(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count), std::back_inserter(tasks));
            queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
        }
        std::vector<Result<void>> ends = do_all(tasks);
        // Moved out, so that what the tasks hold goes on the thread that brought it.
        auto told = std::make_shared<std::vector<Task>>(std::move(tasks));
        post_([told, ends = std::make_shared<std::vector<Result<void>>>(std::move(ends))] {
            for (std::size_t i = 0; i < told->size(); ++i) (*told)[i].done(std::move((*ends)[i]));
        });
        tasks = {};
    }
}

Result<const Database*> Journal::database() {
    if (database_) return &*database_;
    RH_TRY(std::optional<Database> opened, Database::open(k_format, path_, Database::Access::write, Clock::now() + limits::k_registry_wait));
    // An acknowledged run is on the disk, whatever happens to the power.
    RH_TRY_VOID(opened->run("PRAGMA synchronous = FULL"));
    RH_TRY_VOID(opened->run("PRAGMA wal_autocheckpoint = 4000"));
    database_ = std::move(opened);
    has_written_ = true;
    return &*database_;
}

std::vector<Result<void>> Journal::do_all(const std::vector<Task>& tasks) {
    const Result<const Database*> opened = database();
    if (!opened) return std::vector<Result<void>>(tasks.size(), fail(opened.error()));
    const Database& database = **opened;
    std::vector<Result<void>> ends;
    const auto together = [&]() -> Result<void> {
        RH_TRY_VOID(database.run("BEGIN IMMEDIATE"));
        for (const Task& task : tasks) {
            RH_TRY_VOID(database.run("SAVEPOINT task"));
            ends.push_back(task.work(database));
            // One that was refused leaves nothing behind, and the others go on.
            if (!ends.back()) RH_TRY_VOID(database.run("ROLLBACK TO task"));
            RH_TRY_VOID(database.run("RELEASE task"));
        }
        return database.run("COMMIT");
    };
    has_written_ = true;
    const Result<void> done = together();
    if (done) return ends;
    // A full disk, say. Each is tried by itself, so that a large one does not take the small ones with it.
    (void)database.run("ROLLBACK");
    ends.clear();
    for (const Task& task : tasks) ends.push_back(do_alone(task));
    return ends;
}

Result<void> Journal::do_alone(const Task& task) {
    RH_TRY_VOID(database_->run("BEGIN IMMEDIATE"));
    const auto whole = [&]() -> Result<void> {
        RH_TRY_VOID(task.work(*database_));
        return database_->run("COMMIT");
    };
    Result<void> done = whole();
    if (!done) (void)database_->run("ROLLBACK");
    return done;
}

// Nothing is asked for just now.
void Journal::rest() {
    if (!database_ || !std::exchange(has_written_, false)) return;
    if (Clock::now() - pruned_at_ >= limits::k_journal_prune_pause) {
        pruned_at_ = Clock::now();
        const Task prune{[this](const Database& database) { return RunRecords(database, folder_).prune(now_ms(), static_cast<std::int64_t>(limits::k_runs_bytes_max)); }, nullptr};
        (void)do_alone(prune);  // or the next time
    }
    // A flipped bit in the WAL would hide all commits behind it; in the file it hides one record.
    (void)database_->run("PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace rh::store
