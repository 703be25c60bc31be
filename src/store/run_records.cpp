#include "store/run_records.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "store/checksum.h"
#include "store/sync.h"

namespace rh::store {

namespace {

using Json = nlohmann::json;

Error damaged(std::string_view what) {
    return Error(Code::damaged, fmt::format("the record of {} is damaged: its checksum does not fit. Other runs are not affected. Try: forget it and start it again", what));
}

std::int64_t sum_of(const RunRecord& run) {
    return RecordSum().add(run.name).add(run.id).add(run.service).add(run.method).add(run.principal).add(run.created_ms).add(run.keep_s).add(run.keep_bytes).add(run.webhook).add(run.store).value();
}

std::int64_t sum_of(std::string_view run_id, const AttemptRecord& attempt) {
    RecordSum sum;
    sum.add(run_id).add(attempt.number).add(static_cast<std::int64_t>(attempt.state)).add(attempt.queued_ms).add(attempt.started_ms).add(attempt.ended_ms);
    return sum.add(attempt.code).add(attempt.arguments).add(attempt.shown).add(attempt.ending).add(attempt.stored_bytes).add(attempt.deadline_ms).add(std::int64_t{attempt.kill}).add(attempt.origin).add(attempt.heard_ms).value();
}

std::string body_file(std::string_view run_id, std::int64_t number, BodyKind kind) {
    return fmt::format("{}-{}.{}", run_id, number, kind == BodyKind::arguments ? "arguments" : kind == BodyKind::code ? "code" : "result");
}

Result<void> write_file(const std::string& folder, const std::string& name, std::string_view bytes) {
    RH_TRY_VOID(make_folder(folder));
    const std::string path = folder + '/' + name;
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail(os_error("cannot make " + path, errno));
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(file.get(), bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail(os_error("cannot write " + path, errno));
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    if (::fsync(file.get()) != 0) return fail(os_error("cannot sync " + path, errno));
    return sync_folder(folder);
}

Result<Bytes> read_file(const std::string& path, std::uint64_t bytes) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) return fail(os_error("cannot open " + path, errno));
    Bytes content;
    while (content.size() < bytes) {
        std::byte* const into = content.extend(bytes - content.size());
        const std::size_t room = content.size() - static_cast<std::size_t>(into - content.data());
        const std::size_t before = content.size() - room;
        const ssize_t got = ::read(file.get(), into, room);
        if (got < 0 && errno != EINTR) return fail(os_error("cannot read " + path, errno));
        content.truncate(before + static_cast<std::size_t>(got < 0 ? 0 : got));
        if (got == 0) break;
    }
    return content;
}

Json facts_json(const Error& error) {
    Json facts = Json::array();
    for (const auto& [key, value] : error.context) facts.push_back(Json::array({key, value}));
    return facts;
}

// Texts of a user's or a peer's need not be UTF-8.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string text_in(const Json& json, const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::string_view run_state_name(RunState state) {
    switch (state) {
        case RunState::queued: return "queued";
        case RunState::running: return "running";
        case RunState::succeeded: return "succeeded";
        case RunState::failed: return "failed";
        case RunState::lost: return "lost";
        case RunState::cancelled: return "cancelled";
    }
    return "lost";
}

std::string ending_of(const Outcome& outcome) {
    switch (outcome.kind) {
        case Outcome::Kind::returned: return {};
        case Outcome::Kind::raised: return dump({{"type", outcome.raised.type}, {"message", outcome.raised.message}, {"traceback", outcome.raised.traceback}});
        case Outcome::Kind::failed: break;
    }
    return dump({{"code", static_cast<unsigned>(outcome.error.code)}, {"message", outcome.error.message}, {"facts", facts_json(outcome.error)}});
}

Outcome outcome_of(const AttemptRecord& attempt) {
    Outcome outcome;
    if (attempt.ending.empty()) return outcome;
    const Json ending = Json::parse(attempt.ending, nullptr, false);
    if (ending.is_object() && ending.contains("type")) {
        outcome.kind = Outcome::Kind::raised;
        outcome.raised = {text_in(ending, "type"), text_in(ending, "message"), text_in(ending, "traceback")};
        return outcome;
    }
    Error error(Code::unknown, text_in(ending, "message"));
    if (ending.is_object()) {
        if (const auto code = ending.find("code"); code != ending.end() && code->is_number_unsigned()) error.code = code_from_number(code->get<std::uint32_t>());
        for (const Json& fact : ending.value("facts", Json::array())) {
            if (fact.is_array() && fact.size() == 2 && fact[0].is_string() && fact[1].is_string()) error.context.emplace_back(fact[0].get<std::string>(), fact[1].get<std::string>());
        }
    }
    return Outcome::failed(std::move(error));
}

Error lost_error(std::string_view name, std::int64_t number, bool has_printed) {
    return Error(Code::node_lost, fmt::format("attempt {} of the run \"{}\" was lost: the node ended while it was running. Try: ask for it again, which makes a new attempt",
                                              number, name))
        .with("started", has_printed ? "yes" : "unknown");
}

std::string run_log_path(const std::string& folder, std::string_view run_id, std::int64_t number) { return fmt::format("{}/{}-{}.log", folder, run_id, number); }

// --- reading ---------------------------------------------------------------------------------------------------------

Result<std::optional<RunRecord>> RunRecords::run(std::string_view name) const {
    RH_TRY(Statement row, database_.prepare("SELECT name, id, service, method, principal, created_ms, keep_s, keep_bytes, webhook, store, checksum FROM runs WHERE name = ?"));
    RH_TRY(const bool found, row.bind(1, name).step());
    if (!found) return std::optional<RunRecord>();
    RunRecord run{row.text(0), row.text(1), row.text(2), row.text(3), row.text(4), row.number(5), row.number(6), row.number(7), row.text(8), row.text(9)};
    if (sum_of(run) != row.number(10)) return fail(damaged(fmt::format("the run \"{:.128}\"", name)).with("run", std::string(name)));
    return std::optional(std::move(run));
}

Result<std::vector<AttemptRecord>> RunRecords::attempts(const RunRecord& run) const {
    std::vector<AttemptRecord> all;
    RH_TRY(Statement row, database_.prepare("SELECT number, state, queued_ms, started_ms, ended_ms, code, arguments, shown, ending, stored_bytes, deadline_ms, kill, origin, heard_ms, checksum FROM attempts WHERE run = ? ORDER BY number"));
    row.bind(1, run.id);
    for (;;) {
        RH_TRY(const bool more, row.step());
        if (!more) return all;
        AttemptRecord attempt{row.number(0), static_cast<RunState>(row.number(1)), row.number(2), row.number(3), row.number(4), row.text(5), row.text(6), row.text(7), row.text(8), row.number(9), row.number(10), row.number(11) != 0, row.text(12), row.number(13)};
        if (sum_of(run.id, attempt) != row.number(14))
            return fail(damaged(fmt::format("attempt {} of the run \"{}\"", attempt.number, run.name)).with("run", run.name).with("attempt", std::to_string(attempt.number)));
        all.push_back(std::move(attempt));
    }
}

Result<std::optional<RunHistory>> RunRecords::history(std::string_view name) const {
    RH_TRY(std::optional<RunRecord> found, run(name));
    if (!found) return std::optional<RunHistory>();
    RH_TRY(std::vector<AttemptRecord> all, attempts(*found));
    if (all.empty()) return fail(damaged(fmt::format("the run \"{:.128}\"", name)).with("run", std::string(name)));
    return std::optional(RunHistory{std::move(*found), std::move(all)});
}

Result<std::vector<std::string>> RunRecords::names(std::size_t most) const {
    std::vector<std::string> all;
    RH_TRY(Statement row, database_.prepare("SELECT name FROM runs ORDER BY coalesce((SELECT max(queued_ms) FROM attempts WHERE run = id), created_ms) DESC, rowid DESC LIMIT ?"));
    row.bind(1, static_cast<std::int64_t>(most));
    for (;;) {
        RH_TRY(const bool more, row.step());
        if (!more) return all;
        all.push_back(row.text(0));
    }
}

Result<Body> RunRecords::body(std::string_view run_id, std::int64_t number, BodyKind kind) const {
    RH_TRY(Statement row, database_.prepare("SELECT encoding, parts, bytes, file, checksum FROM bodies WHERE run = ? AND number = ? AND kind = ?"));
    RH_TRY(const bool found, row.bind(1, run_id).bind(2, number).bind(3, static_cast<std::int64_t>(kind)).step());
    if (!found) return Body();
    const auto is_damaged = [&] { return fail(damaged(fmt::format("{} of attempt {} of a run", kind == BodyKind::result ? "the result" : kind == BodyKind::code ? "the code" : "the arguments", number)).with("attempt", std::to_string(number))); };
    Body body;
    body.encoding = static_cast<Encoding>(row.number(0));
    const std::string parts = row.text(1);
    const Json sizes = Json::parse(parts, nullptr, false);
    if (!sizes.is_array()) return is_damaged();
    std::uint64_t whole = 0;
    for (const Json& size : sizes) {
        if (!size.is_number_unsigned()) return is_damaged();
        body.part_bytes.push_back(size.get<std::uint64_t>());
        whole += body.part_bytes.back();
    }
    if (whole > limits::k_run_body_bytes_max) return is_damaged();
    const std::string file = row.text(3);
    if (file.empty()) {
        body.bytes.append(as_byte_view(row.text(2)));
    } else {
        if (file != body_file(run_id, number, kind)) return is_damaged();
        RH_TRY(body.bytes, read_file(folder_ + '/' + file, whole));
    }
    const RecordSum sum = RecordSum().add(run_id).add(number).add(static_cast<std::int64_t>(kind)).add(row.number(0)).add(parts).add(file).add(digest_of(as_text(body.bytes.view())));
    if (sum.value() != row.number(4) || body.bytes.size() != whole) return is_damaged();
    return body;
}

// --- writing ---------------------------------------------------------------------------------------------------------

Result<void> RunRecords::put(const RunRecord& run) const {
    RH_TRY(Statement row, database_.prepare("INSERT OR REPLACE INTO runs (name, id, service, method, principal, created_ms, keep_s, keep_bytes, webhook, store, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    row.bind(1, run.name).bind(2, run.id).bind(3, run.service).bind(4, run.method).bind(5, run.principal).bind(6, run.created_ms);
    RH_TRY_VOID(row.bind(7, run.keep_s).bind(8, run.keep_bytes).bind(9, run.webhook).bind(10, run.store).bind(11, sum_of(run)).step());
    return {};
}

Result<void> RunRecords::put(std::string_view run_id, const AttemptRecord& attempt) const {
    RH_TRY(Statement row, database_.prepare("INSERT OR REPLACE INTO attempts (run, number, state, queued_ms, started_ms, ended_ms, code, arguments, shown, ending, stored_bytes, deadline_ms, kill, origin, heard_ms, checksum) "
                                            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    row.bind(1, run_id).bind(2, attempt.number).bind(3, static_cast<std::int64_t>(attempt.state)).bind(4, attempt.queued_ms).bind(5, attempt.started_ms).bind(6, attempt.ended_ms);
    row.bind(7, attempt.code).bind(8, attempt.arguments).bind(9, attempt.shown).bind(10, attempt.ending).bind(11, attempt.stored_bytes).bind(12, attempt.deadline_ms).bind(13, std::int64_t{attempt.kill});
    RH_TRY_VOID(row.bind(14, attempt.origin).bind(15, attempt.heard_ms).bind(16, sum_of(run_id, attempt)).step());
    return {};
}

Result<std::vector<std::string>> RunRecords::snapshots() const {
    RH_TRY(Statement row, database_.prepare("SELECT DISTINCT CAST(bytes AS TEXT) FROM bodies WHERE kind = ?"));
    row.bind(1, static_cast<std::int64_t>(BodyKind::snapshot));
    std::vector<std::string> all;
    for (;;) {
        RH_TRY(const bool more, row.step());
        if (!more) return all;
        all.push_back(row.text(0));
    }
}

Result<void> RunRecords::put_body(std::string_view run_id, std::int64_t number, BodyKind kind, const BodyView& body) const {
    const std::string_view bytes = as_text(body.bytes);
    const std::string parts = Json(body.part_bytes).dump();
    const auto encoding = static_cast<std::int64_t>(body.encoding);
    std::string file;
    if (bytes.size() > limits::k_run_body_bytes_inline) {
        file = body_file(run_id, number, kind);
        RH_TRY_VOID(write_file(folder_, file, bytes));
    }
    const RecordSum sum = RecordSum().add(run_id).add(number).add(static_cast<std::int64_t>(kind)).add(encoding).add(parts).add(file).add(digest_of(bytes));
    RH_TRY(Statement row, database_.prepare("INSERT OR REPLACE INTO bodies (run, number, kind, encoding, parts, bytes, file, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    row.bind(1, run_id).bind(2, number).bind(3, static_cast<std::int64_t>(kind)).bind(4, encoding).bind(5, parts);
    // An empty view has no address, which SQLite would take for NULL.
    row.bind_bytes(6, file.empty() && !bytes.empty() ? bytes : std::string_view("", 0)).bind(7, file);
    RH_TRY_VOID(row.bind(8, sum.value()).step());
    return {};
}

Result<void> RunRecords::erase_attempt(std::string_view run_id, std::int64_t number) const {
    for (const char* sql : {"DELETE FROM bodies WHERE run = ? AND number = ?", "DELETE FROM attempts WHERE run = ? AND number = ?"}) {
        RH_TRY(Statement row, database_.prepare(sql));
        RH_TRY_VOID(row.bind(1, run_id).bind(2, number).step());
    }
    // A file without its row is nothing; a row without its file would be damage, so rows go first. What a rolled back transaction
    // would bring back was over and to be forgotten in any case.
    for (const BodyKind kind : {BodyKind::arguments, BodyKind::result, BodyKind::code}) ::unlink((folder_ + '/' + body_file(run_id, number, kind)).c_str());
    ::unlink(run_log_path(folder_, run_id, number).c_str());
    return {};
}

Result<bool> RunRecords::erase(std::string_view name) const {
    RH_TRY(Statement found, database_.prepare("SELECT id FROM runs WHERE name = ?"));
    RH_TRY(const bool is_there, found.bind(1, name).step());
    if (!is_there) return false;
    const std::string id = found.text(0);
    std::vector<std::int64_t> numbers;
    RH_TRY(Statement attempt, database_.prepare("SELECT number FROM attempts WHERE run = ?"));
    attempt.bind(1, id);
    for (;;) {
        RH_TRY(const bool more, attempt.step());
        if (!more) break;
        numbers.push_back(attempt.number(0));
    }
    for (const std::int64_t number : numbers) RH_TRY_VOID(erase_attempt(id, number));
    RH_TRY(Statement row, database_.prepare("DELETE FROM runs WHERE name = ?"));
    RH_TRY_VOID(row.bind(1, name).step());
    return true;
}

Result<std::vector<RunHistory>> RunRecords::unfinished() const {
    std::vector<std::string> names;
    RH_TRY(Statement row, database_.prepare("SELECT DISTINCT runs.name FROM runs JOIN attempts ON attempts.run = runs.id WHERE attempts.state IN (1, 2) AND attempts.origin = ''"));
    for (;;) {
        RH_TRY(const bool more, row.step());
        if (!more) break;
        names.push_back(row.text(0));
    }
    std::vector<RunHistory> all;
    for (const std::string& name : names) {
        Result<std::optional<RunHistory>> found = history(name);
        // A damaged one is told to whoever asks for it.
        if (found && *found && !is_over((*found)->attempts.back().state)) all.push_back(std::move(**found));
    }
    return all;
}

Result<void> RunRecords::mark_lost(std::int64_t now_ms) const {
    RH_TRY(const std::vector<RunHistory> all, unfinished());
    for (const RunHistory& known : all) {
        AttemptRecord attempt = known.attempts.back();
        struct stat log {};
        const bool has_printed = ::stat(run_log_path(folder_, known.run.id, attempt.number).c_str(), &log) == 0 && log.st_size > 0;
        attempt.state = RunState::lost;
        attempt.ended_ms = now_ms;
        attempt.ending = ending_of(Outcome::failed(lost_error(known.run.name, attempt.number, has_printed)));
        RH_TRY_VOID(put(known.run.id, attempt));
    }
    return {};
}

Result<void> RunRecords::prune(std::int64_t now_ms, std::int64_t bytes_max) const {
    // What the rows say is only looked through here; before a run goes, its records are verified.
    struct Candidate {
        std::string name;
        std::int64_t held = 0;
        bool is_over = false;
        bool is_due = false;
    };
    std::vector<Candidate> all;  // those that were asked for last first
    RH_TRY(Statement row, database_.prepare("SELECT r.name, r.keep_s, r.keep_bytes, sum(a.stored_bytes), max(a.ended_ms), "
                                            "(SELECT state FROM attempts WHERE run = r.id ORDER BY number DESC LIMIT 1) "
                                            "FROM runs r JOIN attempts a ON a.run = r.id GROUP BY r.id ORDER BY max(a.queued_ms) DESC"));
    for (;;) {
        RH_TRY(const bool more, row.step());
        if (!more) break;
        Candidate each{row.text(0), row.number(3), is_over(static_cast<RunState>(row.number(5))), false};
        const bool is_old = each.is_over && row.number(1) > 0 && now_ms - row.number(4) > row.number(1) * 1000;
        each.is_due = is_old || (row.number(2) > 0 && each.held > row.number(2));
        all.push_back(std::move(each));
    }
    std::int64_t total = 0;
    for (Candidate& each : all) {
        if (each.is_due) {
            RH_TRY(each.held, prune_run(each.name, now_ms));
        }
        total += each.held;
    }
    for (auto oldest = all.rbegin(); oldest != all.rend() && total > bytes_max; ++oldest) {
        if (!oldest->is_over || oldest->held == 0) continue;
        RH_TRY_VOID(erase(oldest->name));
        total -= oldest->held;
    }
    return {};
}

// What the run still holds then.
Result<std::int64_t> RunRecords::prune_run(const std::string& name, std::int64_t now_ms) const {
    const auto found = history(name);
    if (!found || !*found) return 0;  // damaged: it is kept until somebody forgets it
    const RunRecord& run = (*found)->run;
    const AttemptRecord& last = (*found)->attempts.back();
    if (is_over(last.state) && run.keep_s > 0 && now_ms - last.ended_ms > run.keep_s * 1000) {
        RH_TRY_VOID(erase(name));
        return 0;
    }
    std::int64_t held = 0;
    for (const AttemptRecord& attempt : (*found)->attempts) held += attempt.stored_bytes;
    for (const AttemptRecord& attempt : (*found)->attempts) {
        if (run.keep_bytes == 0 || held <= run.keep_bytes || attempt.number == last.number) break;
        RH_TRY_VOID(erase_attempt(run.id, attempt.number));
        held -= attempt.stored_bytes;
    }
    return held;
}

}  // namespace rh::store
