#include "daemon/run_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/requests.h"

namespace rh::daemon {

using store::RunState;

namespace {

RunState run_state_from(std::string_view name) {
    for (const RunState state : {RunState::queued, RunState::running, RunState::succeeded, RunState::failed, RunState::lost, RunState::cancelled}) {
        if (store::run_state_name(state) == name) return state;
    }
    return RunState::lost;
}

Result<std::int64_t> ms_in(const Json& request, const char* key) {
    RH_TRY(const double seconds, field<double>(request, key, 0.0));
    if (!(seconds >= 0 && seconds < 1e11)) return fail(Code::bad_arguments, fmt::format("the field \"{}\" is no time", key));
    return static_cast<std::int64_t>(seconds * 1000.0);
}

// Of an attempt that has not ended with a value: how it did, as the journal has it.
Result<std::string> ending_in(const Json& told) {
    RH_TRY(const Json raised, field<Json>(told, "raised", Json()));
    RH_TRY(const Json error, field<Json>(told, "error", Json()));
    Outcome outcome;
    if (raised.is_object()) {
        outcome.kind = Outcome::Kind::raised;
        RH_TRY(outcome.raised.type, field<std::string>(raised, "type", std::string()));
        RH_TRY(outcome.raised.message, field<std::string>(raised, "message", std::string()));
        RH_TRY(outcome.raised.traceback, field<std::string>(raised, "traceback", std::string()));
    } else if (error.is_object()) {
        outcome.kind = Outcome::Kind::failed;
        RH_TRY(const std::uint64_t code, amount(error, "code", 0, 0xffff));
        outcome.error.code = code_from_number(static_cast<std::uint32_t>(code));
        RH_TRY(outcome.error.message, field<std::string>(error, "message", std::string()));
        RH_TRY(const auto facts, (field<std::map<std::string, std::string>>(error, "facts", std::map<std::string, std::string>())));
        outcome.error.context.assign(facts.begin(), facts.end());
    }
    return store::ending_of(outcome);
}

Result<store::AttemptRecord> attempt_in(const Json& told) {
    store::AttemptRecord attempt;
    RH_TRY(const std::uint64_t number, amount(told, "number", 0, std::uint64_t{1} << 32));
    if (number == 0) return fail(Code::bad_arguments, "attempts are numbered from 1");
    attempt.number = static_cast<std::int64_t>(number);
    RH_TRY(const auto state, field<std::string>(told, "state"));
    attempt.state = run_state_from(state);
    RH_TRY(attempt.queued_ms, ms_in(told, "queued_s"));
    RH_TRY(attempt.started_ms, ms_in(told, "started_s"));
    RH_TRY(attempt.ended_ms, ms_in(told, "ended_s"));
    RH_TRY(attempt.code, field<std::string>(told, "code", std::string()));
    RH_TRY(attempt.arguments, field<std::string>(told, "arguments_digest", std::string()));
    RH_TRY(attempt.shown, field<std::string>(told, "arguments", std::string()));
    attempt.shown.resize(std::min(attempt.shown.size(), limits::k_run_shown_bytes_max + 3));  // "..." where it was cut
    RH_TRY(attempt.ending, ending_in(told));
    RH_TRY(const Json origin, field<Json>(told, "origin"));
    if (!origin.is_object()) return fail(Code::bad_arguments, "the origin of an attempt is an object that names its cluster");
    attempt.origin = dump(origin);
    return attempt;
}

// What an attempt printed: for each piece its channel (1 byte), its length (4, little endian) and its text.
Result<std::vector<store::LogPiece>> output_in(ByteView bytes, std::uint64_t from) {
    std::vector<store::LogPiece> pieces;
    while (!bytes.empty()) {
        if (bytes.size() < 5) return fail(Code::bad_arguments, "the output ends within a piece");
        const auto channel = std::to_integer<unsigned>(bytes[0]);
        std::uint64_t length = 0;
        for (std::size_t i = 0; i < 4; ++i) length |= std::uint64_t{std::to_integer<unsigned>(bytes[i + 1])} << (8 * i);
        bytes = bytes.subspan(5);
        if (length > bytes.size() || length > limits::k_frame_body_bytes_max || (channel != 1 && channel != 2)) return fail(Code::bad_arguments, "the output has a piece that cannot be");
        pieces.push_back({from, static_cast<Channel>(channel), std::string(as_text(bytes.first(length)))});
        from += length;
        bytes = bytes.subspan(length);
    }
    return pieces;
}

// The attachments stand behind the request: those of each body, then the output.
Result<void> take_content(const Json& request, store::Journal::Imported& imported) {
    std::vector<ByteView> left = imported.from.parts();
    std::size_t at = 1;
    RH_TRY(const auto bodies, field<std::vector<Json>>(request, "bodies", std::vector<Json>()));
    for (const Json& each : bodies) {
        RH_TRY(const auto kind, field<std::string>(each, "kind"));
        RH_TRY(const std::uint64_t encoding, amount(each, "encoding", 0, 3));
        RH_TRY(const std::uint64_t parts, amount(each, "parts", 0, limits::k_body_parts_max));
        if (kind != "arguments" && kind != "code" && kind != "result") return fail(Code::bad_arguments, fmt::format("a run has no body \"{:.32}\"", kind));
        if (left.size() - at < parts) return fail(Code::bad_arguments, "the attachments are fewer than the bodies have parts");
        store::BodyView body;
        body.encoding = static_cast<Encoding>(encoding);
        std::uint64_t whole = 0;
        for (std::size_t i = 0; i < parts; ++i) {
            body.part_bytes.push_back(left[at + i].size());
            whole += left[at + i].size();
        }
        if (whole > limits::k_run_body_bytes_max) return fail(Error(Code::limit_exceeded, fmt::format("a body of a run has {} bytes, and at most {} are stored", whole, limits::k_run_body_bytes_max)));
        // The parts stand one after the other.
        if (parts > 0) body.bytes = ByteView(left[at].data(), whole);
        at += parts;
        imported.bodies.emplace_back(kind == "arguments" ? store::BodyKind::arguments : kind == "code" ? store::BodyKind::code : store::BodyKind::result, std::move(body));
    }
    if (!request.contains("output_from")) return {};
    RH_TRY(const std::uint64_t from, amount(request, "output_from", 0, std::uint64_t{1} << 60));
    if (left.size() <= at) return fail(Code::bad_arguments, "the output is not among the attachments");
    RH_TRY(imported.output, output_in(left[at], from));
    return {};
}

}  // namespace

Result<store::Journal::Imported> imported_in(const Json& request, Body body, const Principal& principal) {
    store::Journal::Imported imported;
    store::RunRecord& run = imported.run;
    RH_TRY(run.name, field<std::string>(request, "name"));
    RH_TRY_VOID(check_name("run", run.name, limits::k_name_bytes_max));
    RH_TRY(run.service, field<std::string>(request, "service"));
    RH_TRY(run.method, field<std::string>(request, "method", std::string("call")));
    run.principal = principal.name;
    RH_TRY(run.created_ms, ms_in(request, "created_s"));
    RH_TRY(const std::uint64_t keep_s, amount(request, "keep_s", static_cast<std::uint64_t>(std::chrono::seconds(limits::k_run_age_max).count()), std::uint64_t{1} << 40));
    RH_TRY(const std::uint64_t keep_bytes, amount(request, "keep_bytes", limits::k_run_bytes_max, std::uint64_t{1} << 60));
    run.keep_s = static_cast<std::int64_t>(keep_s);
    run.keep_bytes = static_cast<std::int64_t>(keep_bytes);
    RH_TRY(const auto attempts, field<std::vector<Json>>(request, "attempts"));
    if (attempts.empty()) return fail(Code::bad_arguments, "a run has an attempt");
    for (const Json& told : attempts) {
        RH_TRY(store::AttemptRecord attempt, attempt_in(told));
        imported.attempts.push_back(std::move(attempt));
    }
    imported.from = std::move(body);
    RH_TRY_VOID(take_content(request, imported));
    return imported;
}

}  // namespace rh::daemon
