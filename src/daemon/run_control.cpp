#include "daemon/run_control.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/requests.h"
#include "daemon/run_import.h"
#include "store/checksum.h"

namespace rh::daemon {

using net::asio::awaitable;
using store::RunState;
using Clock = std::chrono::steady_clock;
using How = store::Journal::Begun::How;

// Somebody who waits for an attempt, or for what it prints.
class RunControl::Onlooker {
public:
    Onlooker(std::list<Onlooker*>& all, const Asker& asker, const net::asio::any_io_executor& executor)
        : by(asker.caller), stream(asker.stream), event(executor), all_(all), place_(all.insert(all.end(), this)) {}
    Onlooker(const Onlooker&) = delete;
    Onlooker& operator=(const Onlooker&) = delete;
    ~Onlooker() {
        look_at(nullptr);
        all_.erase(place_);
    }

    void look_at(std::shared_ptr<RunningAttempt> attempt) {
        if (attempt == attempt_) return;
        if (attempt_ != nullptr) attempt_->onlookers.remove(&event);
        attempt_ = std::move(attempt);
        if (attempt_ != nullptr) attempt_->onlookers.push_back(&event);
    }

    const Caller* const by;
    const std::uint64_t stream;
    net::Event event;
    bool cancelled = false;
    std::uint64_t room = limits::k_output_window_bytes;

private:
    std::list<Onlooker*>& all_;
    const std::list<Onlooker*>::iterator place_;
    std::shared_ptr<RunningAttempt> attempt_;
};

namespace {

std::int64_t now_ms() { return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

Json seconds(std::int64_t ms) { return ms == 0 ? Json() : Json(static_cast<double>(ms) / 1000.0); }

Json error_json(const Error& error) {
    Json facts = Json::object();
    for (const auto& [key, value] : error.context) facts[key] = value;
    return {{"code", code_name(error.code)}, {"message", error.message}, {"facts", facts}};
}

Json attempt_json(const store::AttemptRecord& attempt) {
    Json json{{"number", attempt.number}, {"state", run_state_name(attempt.state)}, {"queued_s", seconds(attempt.queued_ms)}, {"started_s", seconds(attempt.started_ms)},
              {"ended_s", seconds(attempt.ended_ms)}, {"arguments", attempt.shown}, {"stored_bytes", attempt.stored_bytes}};
    json["code"] = attempt.code.empty() ? Json() : Json(attempt.code);
    // Where they have no canonical encoding they are not compared, and the run says so.
    json["arguments_digest"] = attempt.arguments.empty() ? Json() : Json(attempt.arguments);
    json["error"] = Json();
    json["raised"] = Json();
    json["origin"] = attempt.origin.empty() ? Json() : Json::parse(attempt.origin, nullptr, false);
    json["silent_s"] = attempt.is_away() ? Json(static_cast<double>(std::max<std::int64_t>(0, now_ms() - attempt.heard_ms)) / 1000.0) : Json();
    if (attempt.ending.empty()) return json;
    const Outcome outcome = store::outcome_of(attempt);
    if (outcome.kind == Outcome::Kind::raised) {
        json["raised"] = {{"type", outcome.raised.type}, {"message", outcome.raised.message}, {"traceback", outcome.raised.traceback}};
    } else {
        json["error"] = error_json(outcome.error);
    }
    return json;
}

std::string_view how_name(How how) {
    switch (how) {
        case How::made: return "made";
        case How::attached: return "attached";
        case How::stored: return "stored";
        case How::busy: break;
    }
    return "busy";
}

// These stand outside the coroutines: g++ 12 cannot compile a nested initializer list within one.
Json begun_json(const store::Journal::Begun& begun) {
    return {{"name", begun.run.name}, {"attempt", begun.attempt.number}, {"how", how_name(begun.how)}, {"state", run_state_name(begun.attempt.state)},
            {"code_compared", begun.code_compared}, {"arguments_compared", begun.arguments_compared}};
}
Json logs_json(std::int64_t attempt, std::uint64_t next, bool over) { return {{"attempt", attempt}, {"next", next}, {"over", over}}; }
Json dispatch_json(const store::RunRecord& run, const store::AttemptRecord& attempt, const store::Journal::Dispatch& dispatch) {
    return {{"attempt", attempt.number}, {"service", run.service}, {"method", run.method}, {"encoding", static_cast<int>(dispatch.arguments.encoding)}, {"program_parts", dispatch.program.part_bytes.size()}};
}
Json cancelled_json(bool cancelled) { return {{"cancelled", cancelled}}; }
Json damaged_json(const std::string& name, const Error& error) { return {{"name", name}, {"state", "damaged"}, {"error", error_json(error)}}; }

// Where JSON is what the arguments are, its canonical form is at hand: keys sorted, no spaces.
std::string digest_of_json(const Body& arguments) {
    if (arguments.encoding != Encoding::json || arguments.part_bytes.empty()) return {};
    const Json json = Json::parse(as_text(arguments.parts().front()), nullptr, false);
    if (json.is_discarded()) return {};
    std::string canonical = dump(json);
    const std::vector<ByteView> parts = arguments.parts();
    for (std::size_t i = 1; i < parts.size(); ++i) canonical += store::digest_of(as_text(parts[i]));
    return "json:" + store::digest_of(canonical);
}

std::string cut(std::string text, std::size_t bytes_max) {
    if (text.size() <= bytes_max) return text;
    text.resize(bytes_max);
    // Not in the middle of a character.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0) text.pop_back();
    return text + "...";
}

// It started the run, or may do whatever a deployer may.
Result<void> may_end(const Principal& principal, const store::RunRecord& run) {
    if (principal.name == run.principal) return {};
    return principal.may(Scope::deploy, fmt::format("to end the run \"{}\" of {}", run.name, run.principal));
}

Error not_over(const store::RunRecord& run, std::int64_t number) {
    return Error(Code::timeout, fmt::format("attempt {} of the run \"{}\" has not ended; it goes on. Try: wait longer, or cancel it", number, run.name))
        .with("still_running", "True").with("started", "yes").with("run", run.name);
}

}  // namespace

awaitable<Outcome> RunControl::call(std::string method, Body body, Asker asker) {
    const Result<Json> request = parse_request(body);
    if (!request) co_return Outcome::failed(request.error());
    if (method == "run_start") co_return co_await start(*request, body, asker);
    if (method == "run_get") co_return co_await get(*request, asker);
    if (method == "run_list") co_return co_await list(*request, asker);
    if (method == "run_logs") co_return co_await logs(*request, asker);
    if (method == "run_result") co_return co_await result(*request, asker);
    if (method == "run_cancel") co_return co_await cancel_run(*request, asker);
    if (method == "run_dispatch") co_return co_await dispatch(*request, asker);
    if (method == "run_forget") co_return co_await forget(*request, asker);
    if (method == "run_import") co_return co_await import_run(*request, std::move(body), asker);
    co_return Outcome::failed(Error(Code::not_found, fmt::format("\"_node\" has no method \"{:.64}\"; of runs it has run_start, run_get, run_list, run_logs, run_result, run_dispatch, run_cancel, run_forget and run_import", method)));
}

// --- starting --------------------------------------------------------------------------------------------------------

Result<store::Journal::Wanted> RunControl::wanted_in(const Json& request, const Body& body, const Asker& asker) const {
    store::Journal::Wanted wanted;
    RH_TRY(wanted.name, field<std::string>(request, "name"));
    RH_TRY_VOID(check_name("run", wanted.name, limits::k_name_bytes_max));
    RH_TRY(const auto called, field<std::string>(request, "service"));
    RH_TRY(wanted.method, field<std::string>(request, "method", std::string("call")));
    RH_TRY(const std::uint64_t encoding, amount(request, "encoding", static_cast<std::uint64_t>(Encoding::pickle), 3));
    RH_TRY(wanted.replace, field<bool>(request, "replace", false));
    RH_TRY(wanted.accept_old_code, field<bool>(request, "accept_old_code", false));
    RH_TRY(wanted.digest, field<std::string>(request, "digest", std::string()));
    RH_TRY(wanted.shown, field<std::string>(request, "shown", std::string()));
    RH_TRY(wanted.kill, field<bool>(request, "kill", false));
    RH_TRY(const std::uint64_t deadline_ms, amount(request, "timeout_ms", 0, std::uint64_t{1} << 53));
    wanted.deadline_ms = static_cast<std::int64_t>(deadline_ms);
    RH_TRY(const std::uint64_t keep_s, amount(request, "keep_s", static_cast<std::uint64_t>(std::chrono::seconds(limits::k_run_age_max).count()), std::uint64_t{1} << 40));
    RH_TRY(const std::uint64_t keep_bytes, amount(request, "keep_bytes", limits::k_run_bytes_max, std::uint64_t{1} << 60));
    RH_TRY(wanted.webhook, field<std::string>(request, "webhook", std::string()));
    if (!wanted.webhook.empty() && (wanted.webhook.size() > limits::k_webhook_bytes_max || !(wanted.webhook.starts_with("http://") || wanted.webhook.starts_with("https://"))))
        return fail(Error(Code::bad_arguments, fmt::format("a webhook is an address that begins with https:// or http:// and has at most {} bytes, not \"{:.128}\"", limits::k_webhook_bytes_max, wanted.webhook)).with("started", "no"));
    // Without it nobody here could be sent for.
    if (!wanted.webhook.empty() && !services_.get_called(std::string(store::k_webhook_service)))
        return fail(Error(Code::unsupported, "webhooks are sent by a Python worker of this node's own, and there is none yet. Try: start one run with webhook= from Python").with("started", "no"));
    RH_TRY(wanted.store, field<std::string>(request, "store", std::string()));
    if (wanted.store.size() > limits::k_webhook_bytes_max)
        return fail(Error(Code::bad_arguments, fmt::format("the place of a run store has at most {} bytes, not {}", limits::k_webhook_bytes_max, wanted.store.size())).with("started", "no"));
    if (!wanted.store.empty()) RH_TRY_VOID(asker.principal.may(Scope::deploy, "to keep a run in a store"));
    if (!wanted.store.empty() && !services_.get_called(std::string(store::k_store_service)))
        return fail(Error(Code::unsupported, "runs are kept in stores by a Python worker of this node's own, and there is none yet. Try: start one run with run_store= from Python").with("started", "no"));
    wanted.keep_s = static_cast<std::int64_t>(keep_s);
    wanted.keep_bytes = static_cast<std::int64_t>(keep_bytes);
    wanted.principal = asker.principal.name;
    RH_TRY_VOID(asker.principal.may_call(called));
    if (static_cast<Encoding>(encoding) == Encoding::pickle) RH_TRY_VOID(asker.principal.may_pickle());
    if (wanted.kill) RH_TRY_VOID(asker.principal.may(Scope::deploy, "to end a worker with its call"));
    if (called.starts_with('_')) return fail(Code::bad_arguments, fmt::format("a call of \"{:.128}\" cannot be a run: it is the node's own", called));
    // What cannot run at all is not journalled.
    RH_TRY(const std::shared_ptr<Service> service, services_.get_called(called));
    if (service->dead) {
        Error error = *service->dead;
        error.message = fmt::format("the service \"{}\" is gone: {}; deploy it again", service->name, error.message);
        return fail(std::move(error).with("started", "no"));
    }
    if (const auto method = service->methods().find(wanted.method); method != service->methods().end() && method->second.generator)
        return fail(Error(Code::unsupported, fmt::format("\"{}.{}\" is a generator, and a run has one result. Try: return a list, or call it without run_name", service->name, wanted.method)).with("started", "no"));
    wanted.service = service->name;
    wanted.code = service->code_digest;
    if (service->code != nullptr && service->code->request.size() + service->code->attachments.bytes.size() <= limits::k_run_code_bytes_max) {
        wanted.program.add(as_byte_view(service->code->request));
        wanted.snapshot = service->code->snapshot;
        const std::vector<ByteView> attached = service->code->attachments.parts();
        for (std::size_t i = 1; i < attached.size(); ++i) wanted.program.add(attached[i]);
    }
    const std::vector<ByteView> parts = body.parts();
    wanted.arguments.encoding = static_cast<Encoding>(encoding);
    for (std::size_t i = 1; i < parts.size(); ++i) wanted.arguments.add(parts[i]);
    if (wanted.arguments.bytes.size() > limits::k_run_body_bytes_max)
        return fail(Error(Code::limit_exceeded, fmt::format("the arguments of the run \"{}\" have {} bytes, and at most {} are stored. Try: keep them on the node (box.put), and pass their name", wanted.name,
                                                            wanted.arguments.bytes.size(), limits::k_run_body_bytes_max)).with("started", "no"));
    if (wanted.digest.empty()) wanted.digest = digest_of_json(wanted.arguments);
    if (wanted.shown.empty() && wanted.arguments.encoding == Encoding::json && parts.size() > 1) wanted.shown = as_text(parts[1]);
    wanted.shown = cut(std::move(wanted.shown), limits::k_run_shown_bytes_max);
    return wanted;
}

awaitable<Outcome> RunControl::start(const Json& request, const Body& body, Asker asker) {
    const auto due = due_of(asker);
    for (;;) {
        Result<store::Journal::Wanted> wanted = wanted_in(request, body, asker);
        if (!wanted) co_return Outcome::failed(wanted.error());
        const Result<store::Journal::Begun> begun = co_await runs_.begin(std::move(*wanted), asker.principal);
        if (!begun) co_return Outcome::failed(begun.error());
        if (begun->how == How::busy) {
            // It is to be started anew, and the one before must have ended: nothing runs twice under one name.
            if (const auto may = may_end(asker.principal, begun->run); !may) co_return Outcome::failed(may.error());
            Found old;
            old.history.run = begun->run;
            old.attempt = begun->attempt;
            if (const auto attempt = running(old)) runs_.cancel(*attempt, false);
            store::LogCursor cursor;
            const Result<void> ended = co_await look_on(old, asker, true, Output::none, cursor);
            if (!ended) co_return Outcome::failed(ended.error());
            if (Clock::now() >= due) co_return Outcome::failed(not_over(begun->run, begun->attempt.number));
            continue;
        }
        co_return json_outcome(begun_json(*begun));
    }
}

// --- looking on ------------------------------------------------------------------------------------------------------

void RunControl::cancel(const Caller& client, std::uint64_t stream) {
    for (Onlooker* const onlooker : onlookers_) {
        if (onlooker->by != &client || onlooker->stream != stream) continue;
        onlooker->cancelled = true;
        onlooker->event.set();
    }
}

void RunControl::drop_client(const Caller& client) {
    for (Onlooker* const onlooker : onlookers_) {
        if (onlooker->by != &client) continue;
        onlooker->cancelled = true;
        onlooker->event.set();
    }
}

void RunControl::credit(const Caller& client, std::uint64_t stream, std::uint64_t bytes) {
    for (Onlooker* const onlooker : onlookers_) {
        if (onlooker->by != &client || onlooker->stream != stream) continue;
        onlooker->room = std::min(onlooker->room + std::min(bytes, limits::k_output_window_bytes), limits::k_output_window_bytes);
        onlooker->event.set();
    }
}

std::shared_ptr<RunningAttempt> RunControl::running(const Found& found) const {
    const std::shared_ptr<RunningAttempt> attempt = runs_.running(found.history.run.name);
    return attempt != nullptr && attempt->number == found.attempt.number && attempt->run.id == found.history.run.id ? attempt : nullptr;
}

awaitable<Result<RunControl::Found>> RunControl::find(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return fail(name.error());
    const auto number = amount(request, "attempt", 0, std::uint64_t{1} << 32);
    if (!number) co_return fail(number.error());
    Result<store::RunHistory> history = co_await runs_.ask<store::RunHistory>([&](store::Journal& journal, auto done) { journal.look_up(*name, std::move(done)); });
    if (!history) co_return fail(history.error());
    if (const auto may = asker.principal.may_call(history->run.service); !may) co_return fail(may.error());
    Found found{std::move(*history), {}};
    if (*number == 0) {
        found.attempt = found.history.attempts.back();
        co_return found;
    }
    for (const store::AttemptRecord& attempt : found.history.attempts) {
        if (attempt.number != static_cast<std::int64_t>(*number)) continue;
        found.attempt = attempt;
        co_return found;
    }
    co_return fail(Error(Code::not_found, fmt::format("the run \"{}\" has no attempt {}: there are {} to {}", *name, *number, found.history.attempts.front().number, found.history.attempts.back().number)).with("name", *name));
}

awaitable<Result<void>> RunControl::look_on(const Found& found, Asker asker, bool wait, Output output, store::LogCursor& cursor) {
    const auto due = due_of(asker);
    Onlooker onlooker(onlookers_, asker, executor_);
    for (;;) {
        onlooker.event.reset();
        // Looked at before what it printed is read, so that nothing of that is missed where it has ended.
        const std::shared_ptr<RunningAttempt> attempt = running(found);
        onlooker.look_at(attempt);
        const bool is_over = attempt == nullptr || attempt->not_stored;
        bool all_sent = true;
        if (output != Output::none) {
            const Result<bool> sent = co_await send_output(found, asker, onlooker, cursor);
            if (!sent && output == Output::asked_for) co_return fail(sent.error());
            if (!sent) output = Output::none;
            all_sent = sent.value_or(true);
        }
        if (all_sent && (is_over || !wait)) co_return Result<void>();
        if (asker.get() == nullptr || onlooker.cancelled)
            co_return fail(Error(Code::cancelled, fmt::format("the wait for the run \"{}\" was cancelled; the run goes on", found.history.run.name)).with("still_running", is_over ? "False" : "True").with("started", "yes"));
        co_await onlooker.event.wait_until(due);
        if (!onlooker.event.is_set() && Clock::now() >= due) co_return fail(not_over(found.history.run, found.attempt.number));
    }
}

// True when there is no more just now; false when whoever asked has no room.
awaitable<Result<bool>> RunControl::send_output(const Found& found, Asker asker, Onlooker& onlooker, store::LogCursor& cursor) {
    while (onlooker.room > 0 && !onlooker.cancelled) {
        const std::uint64_t most = std::min<std::uint64_t>(onlooker.room, limits::k_chunk_bytes);
        const Result<store::LogRead> read = co_await runs_.ask<store::LogRead>(
            [&](store::Journal& journal, auto done) { journal.read_log(found.history.run.id, found.attempt.number, cursor, most, std::move(done)); });
        if (!read) co_return fail(read.error());
        if (read->pieces.empty()) co_return true;
        cursor = read->next;
        for (const store::LogPiece& piece : read->pieces) {
            Caller* const caller = asker.get();
            if (caller == nullptr) co_return true;
            rpc::Message message;
            message.set_kind(wire::OUTPUT);
            message.set_stream(asker.stream);
            message.set_channel(piece.channel == Channel::err ? wire::STDERR : wire::STDOUT);
            message.set_number(piece.offset + piece.text.size());
            caller->send(message, as_byte_view(piece.text));
            onlooker.room -= std::min<std::uint64_t>(onlooker.room, piece.text.size());
        }
    }
    co_return onlooker.cancelled;
}

awaitable<Outcome> RunControl::logs(const Json& request, Asker asker) {
    const auto follow = field<bool>(request, "follow", false);
    if (!follow) co_return Outcome::failed(follow.error());
    const auto offset = amount(request, "offset", 0, std::uint64_t{1} << 60);
    if (!offset) co_return Outcome::failed(offset.error());
    const Result<Found> found = co_await find(request, asker);
    if (!found) co_return Outcome::failed(found.error());
    store::LogCursor cursor{std::max(*offset, asker.output_number), 0};
    const Result<void> looked = co_await look_on(*found, asker, *follow, Output::asked_for, cursor);
    if (!looked) co_return Outcome::failed(looked.error());
    co_return json_outcome(logs_json(found->attempt.number, cursor.offset, running(*found) == nullptr));
}

awaitable<Outcome> RunControl::result(const Json& request, Asker asker) {
    const auto wait = field<bool>(request, "wait", true);
    if (!wait) co_return Outcome::failed(wait.error());
    const auto kept = field<bool>(request, "kept", true);
    if (!kept) co_return Outcome::failed(kept.error());
    const auto output = field<bool>(request, "output", false);
    if (!output) co_return Outcome::failed(output.error());
    const auto offset = amount(request, "offset", 0, std::uint64_t{1} << 60);
    if (!offset) co_return Outcome::failed(offset.error());
    const Result<Found> found = co_await find(request, asker);
    if (!found) co_return Outcome::failed(found.error());
    if (!*wait && running(*found) != nullptr) co_return Outcome::failed(not_over(found->history.run, found->attempt.number));
    store::LogCursor cursor{std::max(*offset, asker.output_number), 0};
    const Output shown = *output ? Output::beside : Output::none;
    const Result<void> looked = co_await look_on(*found, asker, true, shown, cursor);
    if (!looked) co_return Outcome::failed(looked.error());
    if (*kept) {
        std::optional<Outcome> why = co_await not_kept(*found, asker, *wait);
        if (why) co_return std::move(*why);
    }
    co_return co_await outcome_of(*found);
}

awaitable<std::optional<Outcome>> RunControl::not_kept(const Found& found, Asker asker, bool wait) {
    const store::RunRecord& run = found.history.run;
    if (run.store.empty() || !found.attempt.origin.empty() || found.attempt.number != found.history.attempts.back().number) co_return std::nullopt;
    // The one that keeps it, or where that has failed another attempt of it.
    store::Journal::Wanted wanted = store::keeping_of(run, found.attempt.number);
    Principal principal = follower_of(run);
    const Result<store::Journal::Begun> keeping = co_await runs_.begin(std::move(wanted), std::move(principal));
    if (!keeping) co_return Outcome::failed(keeping.error());
    Found keeper;
    keeper.history.run = keeping->run;
    keeper.attempt = keeping->attempt;
    if (!wait && running(keeper) != nullptr) co_return Outcome::failed(not_over(keeper.history.run, keeper.attempt.number));
    store::LogCursor cursor;
    const Result<void> looked = co_await look_on(keeper, asker, true, Output::none, cursor);
    if (!looked) co_return Outcome::failed(looked.error());
    Outcome outcome = co_await outcome_of(std::move(keeper));
    if (outcome.kind == Outcome::Kind::returned) co_return std::nullopt;
    co_return outcome;
}

// As the call itself would have ended, with what tells which run that was.
awaitable<Outcome> RunControl::outcome_of(Found found) {
    if (const auto attempt = running(found); attempt != nullptr && attempt->not_stored) co_return Outcome::failed(*attempt->not_stored);
    const std::string name = found.history.run.name;
    if (!store::is_over(found.attempt.state)) {
        // It has ended since.
        const auto now = co_await runs_.ask<store::RunHistory>([&](store::Journal& journal, auto done) { journal.look_up(name, std::move(done)); });
        if (!now) co_return Outcome::failed(now.error());
        for (const store::AttemptRecord& attempt : now->attempts) {
            if (attempt.number == found.attempt.number && now->run.id == found.history.run.id) found.attempt = attempt;
        }
        if (found.attempt.is_away()) co_return Outcome::failed(store::away_error(found.history.run, found.attempt));
        if (!store::is_over(found.attempt.state)) co_return Outcome::failed(not_over(found.history.run, found.attempt.number));
    }
    Result<Outcome> outcome = co_await runs_.ask<Outcome>([&](store::Journal& journal, auto done) { journal.read_result(found.history.run.id, found.attempt, std::move(done)); });
    if (!outcome) {
        outcome.error().context.emplace_back("run", name);
        co_return Outcome::failed(outcome.error());
    }
    if (outcome->kind == Outcome::Kind::failed) {
        outcome->error.context.emplace_back("run", name);
        outcome->error.context.emplace_back("attempt", std::to_string(found.attempt.number));
    }
    co_return std::move(*outcome);
}

// --- what there is -----------------------------------------------------------------------------------------------------

Json RunControl::description_of(const store::RunHistory& history) const {
    const store::RunRecord& run = history.run;
    Json attempts = Json::array();
    for (const store::AttemptRecord& attempt : history.attempts) attempts.push_back(attempt_json(attempt));
    const auto live = runs_.running(run.name);
    if (live != nullptr && live->number == history.attempts.back().number) {
        // The journal hears of it a moment later, and of an end that cannot be stored not at all.
        attempts.back()["state"] = run_state_name(live->not_stored ? RunState::failed : live->state);
        attempts.back()["output_bytes"] = live->logged_bytes;
        if (live->not_stored) attempts.back()["error"] = error_json(*live->not_stored);
    }
    Json json{{"name", run.name}, {"service", run.service}, {"method", run.method}, {"principal", run.principal}, {"created_s", seconds(run.created_ms)},
              {"keep_s", run.keep_s}, {"keep_bytes", run.keep_bytes}, {"webhook", run.webhook.empty() ? Json() : Json(run.webhook)}, {"store", run.store.empty() ? Json() : Json(run.store)}, {"attempt", history.attempts.back().number}};
    json["state"] = attempts.back()["state"];
    json["attempts"] = std::move(attempts);
    return json;
}

awaitable<Outcome> RunControl::get(const Json& request, Asker asker) {
    const Result<Found> found = co_await find(request, asker);
    if (!found) co_return Outcome::failed(found.error());
    co_return json_outcome(description_of(found->history));
}

// Parts: what they are, then those of the program, then the arguments'.
awaitable<Outcome> RunControl::dispatch(const Json& request, Asker asker) {
    const Result<Found> found = co_await find(request, asker);
    if (!found) co_return Outcome::failed(found.error());
    if (const auto may = asker.principal.may(Scope::deploy, "to read the code of a run"); !may) co_return Outcome::failed(may.error());
    const std::string& name = found->history.run.name;
    const auto dispatch = co_await runs_.ask<store::Journal::Dispatch>(
        [&](store::Journal& journal, auto done) { journal.read_dispatch(found->history.run.id, found->attempt.number, std::move(done)); });
    if (!dispatch) co_return Outcome::failed(dispatch.error());
    if (dispatch->program.part_bytes.empty())
        co_return Outcome::failed(Error(Code::unsupported, fmt::format("the code of attempt {} of the run \"{}\" was not stored: it belongs to a live object or to a program, or has more than {} bytes", found->attempt.number, name,
                                                                       limits::k_run_code_bytes_max)).with("run", name));
    Body body = Body::one(Encoding::json, as_byte_view(dump(dispatch_json(found->history.run, found->attempt, *dispatch))));
    for (const Body* const each : {&dispatch->program, &dispatch->arguments}) {
        for (const ByteView part : each->parts()) body.add(part);
    }
    co_return Outcome::returned(std::move(body));
}

awaitable<Outcome> RunControl::import_run(const Json& request, Body body, Asker asker) {
    if (const auto may = asker.principal.may(Scope::deploy, "to import a run"); !may) co_return Outcome::failed(may.error());
    Result<store::Journal::Imported> imported = imported_in(request, std::move(body), asker.principal);
    if (!imported) co_return Outcome::failed(imported.error());
    const auto stands = co_await runs_.ask<store::AttemptRecord>([&](store::Journal& journal, auto done) { journal.import(std::move(*imported), std::move(done)); });
    if (!stands) co_return Outcome::failed(stands.error());
    co_return json_outcome(attempt_json(*stands));
}

awaitable<Outcome> RunControl::list(const Json& request, Asker asker) {
    const auto most = amount(request, "limit", 100, limits::k_runs_listed_max);
    if (!most) co_return Outcome::failed(most.error());
    const auto all = co_await runs_.ask<std::vector<store::Journal::Listed>>([&](store::Journal& journal, auto done) { journal.list(*most, std::move(done)); });
    if (!all) co_return Outcome::failed(all.error());
    Json listed = Json::array();
    for (const store::Journal::Listed& each : *all) {
        if (each.history && !asker.principal.may_call(each.history->run.service)) continue;
        if (each.history) {
            listed.push_back(description_of(*each.history));
        } else if (asker.principal.service.empty()) {
            listed.push_back(damaged_json(each.name, each.history.error()));
        }
    }
    co_return json_outcome(listed);
}

awaitable<Outcome> RunControl::cancel_run(const Json& request, Asker asker) {
    const auto kill = field<bool>(request, "kill", false);
    if (!kill) co_return Outcome::failed(kill.error());
    const Result<Found> found = co_await find(request, asker);
    if (!found) co_return Outcome::failed(found.error());
    if (const auto may = may_end(asker.principal, found->history.run); !may) co_return Outcome::failed(may.error());
    if (*kill) {
        if (const auto may = asker.principal.may(Scope::deploy, "to end a worker with its call"); !may) co_return Outcome::failed(may.error());
    }
    const std::shared_ptr<RunningAttempt> attempt = running(*found);
    if (attempt != nullptr) runs_.cancel(*attempt, *kill);
    co_return json_outcome(cancelled_json(attempt != nullptr));
}

awaitable<Outcome> RunControl::forget(const Json& request, Asker asker) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const Result<Found> found = co_await find(request, asker);
    // A damaged one can still be forgotten, by whoever may forget any.
    if (!found && found.error().code != Code::damaged) co_return Outcome::failed(found.error());
    const Result<void> may = found ? may_end(asker.principal, found->history.run) : asker.principal.may(Scope::deploy, "to forget a damaged run");
    if (!may) co_return Outcome::failed(may.error());
    if (runs_.running(*name) != nullptr)
        co_return Outcome::failed(Error(Code::name_taken, fmt::format("the run \"{}\" is running: cancel it first", *name)).with("name", *name));
    const Result<bool> done = co_await runs_.ask<bool>([&](store::Journal& journal, auto answer) { journal.forget(*name, std::move(answer)); });
    co_return done ? json_outcome(Json::object()) : Outcome::failed(done.error());
}

}  // namespace rh::daemon
