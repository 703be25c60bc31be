#include "daemon/runs.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/limits.h"

namespace rh::daemon {

using net::asio::awaitable;
using store::RunState;

namespace {

RunState state_of(const Outcome& outcome) {
    if (outcome.kind == Outcome::Kind::returned) return RunState::succeeded;
    if (outcome.kind == Outcome::Kind::failed && outcome.error.code == Code::cancelled) return RunState::cancelled;
    if (outcome.kind == Outcome::Kind::failed && outcome.error.code == Code::node_lost) return RunState::lost;
    return RunState::failed;
}

bool never_began(const Outcome& outcome) { return outcome.kind == Outcome::Kind::failed && outcome.error.code == Code::node_lost && !outcome.error.fact("never_began").empty(); }

std::uint64_t whole_bytes(const Body& body) {
    std::uint64_t whole = 0;
    for (const std::uint64_t part : body.part_bytes) whole += part;
    return whole;
}

}  // namespace

Principal follower_of(const store::RunRecord& run) { return {run.principal, Scope::admin, {}}; }

Runs::Runs(const net::asio::any_io_executor& executor, const std::string& state_folder, net::TaskGroup& tasks, MakeCalls make_calls)
    : executor_(executor),
      tasks_(tasks),
      make_calls_(std::move(make_calls)),
      journal_(state_folder, [executor](std::function<void()> task) { net::asio::post(executor, std::move(task)); }) {}

std::shared_ptr<RunningAttempt> Runs::running(std::string_view name) const {
    const auto found = running_.find(name);
    return found == running_.end() ? nullptr : found->second;
}

std::size_t Runs::count_of(std::string_view service) const {
    return static_cast<std::size_t>(std::count_if(running_.begin(), running_.end(), [&](const auto& entry) { return entry.second->run.service == service && !entry.second->has_ended; }));
}

awaitable<Result<store::Journal::Begun>> Runs::begin(store::Journal::Wanted wanted, Principal principal) {
    if (running_.size() >= limits::k_runs_active_max)
        co_return fail(Error(Code::limit_exceeded, fmt::format("{} runs are running here, the most that may: wait for some of them", running_.size())).with("started", "no"));
    // Kept here as well, because a body may not be copied on its way through the journal.
    auto arguments = std::make_shared<Body>();
    arguments->encoding = wanted.arguments.encoding;
    arguments->part_bytes = wanted.arguments.part_bytes;
    arguments->bytes.append(wanted.arguments.bytes.view());
    const auto answer = std::make_shared<JournalAnswer<store::Journal::Begun>>(executor_);
    // It is opened where the journal tells of it rather than by whoever asked, who may be gone by then.
    journal_.begin(std::move(wanted), [this, answer, arguments, principal = std::move(principal)](Result<store::Journal::Begun> begun) {
        if (begun) run(*begun, std::move(*arguments), principal);
        if (begun && begun->keeping) run(*begun->keeping);
        answer->result = std::move(begun);
        answer->arrived.set();
    });
    co_await answer->arrived.wait();
    co_return std::move(answer->result);
}

awaitable<void> Runs::take_over(bool node_is_new) {
    const auto answer = std::make_shared<JournalAnswer<std::vector<store::Journal::Unfinished>>>(executor_);
    const bool is_there = journal_.take_over(node_is_new, [answer](Result<std::vector<store::Journal::Unfinished>> unfinished) {
        answer->result = std::move(unfinished);
        answer->arrived.set();
    });
    if (!is_there) co_return;
    co_await answer->arrived.wait();
    if (!answer->result) spdlog::error("what the daemon before this one was running cannot be read: {}", answer->result.error().message);
    if (!answer->result || stopping_) co_return;
    for (store::Journal::Unfinished& each : *answer->result) {
        const auto attempt = std::make_shared<RunningAttempt>(executor_, std::move(each.run), each.attempt);
        attempt->logged_bytes = attempt->printed_bytes = each.log.offset;
        spdlog::info("attempt {} of the run {} goes on", attempt->number, attempt->run.name);
        add(attempt, follower_of(attempt->run));
        attempt->call = attempt->calls->resume(static_cast<std::uint64_t>(attempt->number), each.log.place, [raw = attempt.get()] { raw->bell.set(); });
        attempt->state = RunState::running;
        tasks_.spawn(drive(attempt));
    }
}

void Runs::run(const store::Journal::Begun& begun, Body arguments, Principal principal) {
    if (begun.how != store::Journal::Begun::How::made || stopping_) return;
    const auto attempt = std::make_shared<RunningAttempt>(executor_, begun.run, begun.attempt);
    attempt->arguments = std::move(arguments);
    add(attempt, std::move(principal));
    open(*attempt);
    tasks_.spawn(drive(attempt));
}

void Runs::run(store::Journal::Following& following) {
    run(following.begun, std::move(following.arguments), follower_of(following.begun.run));
}

void Runs::add(const std::shared_ptr<RunningAttempt>& attempt, Principal principal) {
    running_[attempt->run.name] = attempt;
    attempt->calls = make_calls_(std::move(principal), attempt->run.id, static_cast<std::uint64_t>(attempt->number));
}

void Runs::open(RunningAttempt& attempt) {
    CallRequest request;
    request.service = attempt.run.service;
    request.method = attempt.run.method;
    request.encoding = attempt.arguments.encoding;
    request.part_bytes = attempt.arguments.part_bytes;
    request.deadline_ms = attempt.deadline_ms_;
    request.kill = attempt.kill_;
    const ByteView first = attempt.arguments.bytes.view().first(std::min(attempt.arguments.bytes.size(), limits::k_chunk_bytes));
    attempt.sent_bytes = first.size();
    attempt.call = attempt.calls->open(std::move(request), first, [&attempt] { attempt.bell.set(); });
    attempt.has_ended = false;
    attempt.state = RunState::running;
    journal_.note_running(attempt.run.name, attempt.number);
}

void Runs::cancel(RunningAttempt& attempt, bool kill) {
    if (attempt.call != nullptr) attempt.call->cancel(kill);
}

awaitable<void> Runs::drive(std::shared_ptr<RunningAttempt> attempt) {
    // Wherever this ends: the call goes before what it was opened through.
    struct Close {
        RunningAttempt& attempt;
        ~Close() {
            attempt.call.reset();
            attempt.calls.reset();
        }
    } const close{*attempt};
    Outcome outcome = co_await run_to_end(attempt);
    if (never_began(outcome)) {
        // It was acknowledged, and the daemon before this one died before its worker had it.
        Result<Body> arguments = co_await ask<Body>([&](store::Journal& journal, auto done) { journal.read_arguments(attempt->run.id, attempt->number, std::move(done)); });
        if (arguments) {
            attempt->call.reset();
            attempt->arguments = std::move(*arguments);
            open(*attempt);
            outcome = co_await run_to_end(attempt);
        } else {
            outcome = Outcome::failed(std::move(arguments.error()).with("started", "no"));
        }
    }
    co_await store_end(attempt, std::move(outcome));
}

awaitable<Outcome> Runs::run_to_end(std::shared_ptr<RunningAttempt> attempt) {
    Outcome outcome;
    while (!advance(attempt, outcome)) {
        co_await attempt->bell.wait();
        attempt->bell.reset();
    }
    // What it printed is on its way to the file, and is to be found there by whoever hears of the end.
    while (attempt->logged_bytes < attempt->printed_bytes) {
        co_await attempt->bell.wait();
        attempt->bell.reset();
    }
    attempt->arguments = Body();
    attempt->has_ended = true;
    co_return outcome;
}

bool Runs::advance(const std::shared_ptr<RunningAttempt>& attempt, Outcome& outcome) {
    Call& call = *attempt->call;
    const ByteView arguments = attempt->arguments.bytes.view();
    for (std::uint64_t room = call.room(); room > 0 && attempt->sent_bytes < arguments.size(); room = call.room()) {
        const ByteView next = arguments.subspan(attempt->sent_bytes, std::min<std::uint64_t>(room, arguments.size() - attempt->sent_bytes));
        call.send(next);
        attempt->sent_bytes += next.size();
    }
    while (std::optional<CallEvent> event = call.next()) {
        switch (event->kind) {
            case CallEvent::Kind::output: print(attempt, std::move(*event)); break;
            case CallEvent::Kind::item:
                // It yields after all, though nothing was known of that; there is nobody to take what comes.
                outcome = Outcome::failed(Error(Code::unsupported, fmt::format("\"{}.{}\" is a generator, and a run has one result. Try: return a list", attempt->run.service, attempt->run.method)).with("started", "yes"));
                call.cancel(false);
                return true;
            case CallEvent::Kind::result:
                outcome = std::move(event->outcome);
                if (const std::uint64_t whole = whole_bytes(outcome.body); whole > limits::k_run_body_bytes_max) {
                    outcome = Outcome::failed(Error(Code::limit_exceeded, fmt::format("the result of the run \"{}\" has {} bytes, and at most {} are stored. Try: keep it on the node, and return its name", attempt->run.name,
                                                                                      whole, limits::k_run_body_bytes_max)).with("started", "yes"));
                    call.cancel(false);
                    return true;
                } else {
                    outcome.body.bytes.reserve(whole);
                }
                [[fallthrough]];
            case CallEvent::Kind::more:
                outcome.body.bytes.append(event->bytes.view());
                call.took_body(event->bytes.size());
                if (outcome.body.bytes.size() >= whole_bytes(outcome.body)) return true;
                break;
            case CallEvent::Kind::aborted: outcome = std::move(event->outcome); return true;
        }
    }
    return false;
}

void Runs::print(const std::shared_ptr<RunningAttempt>& attempt, CallEvent event) {
    const std::uint64_t at = attempt->printed_bytes;
    const std::uint64_t bytes = event.bytes.size();
    attempt->printed_bytes += bytes;
    // Not shared: once the attempt is gone nobody needs to be told.
    journal_.append_log(attempt->run.id, attempt->number, event.channel, at, std::move(event.bytes), event.place, [weak = std::weak_ptr(attempt), bytes](const Result<bool>& wrote) {
        const std::shared_ptr<RunningAttempt> printing = weak.lock();
        if (printing == nullptr) return;
        if (!wrote) spdlog::error("what the run {} prints could not be kept: {}", printing->run.name, wrote.error().message);
        printing->logged_bytes += bytes;
        // The room that it took is the worker's again, as whatever is printed next is bounded by that.
        if (printing->call != nullptr) printing->call->took_output(bytes);
        printing->bell.set();
        printing->ring();
    });
}

awaitable<void> Runs::store_end(std::shared_ptr<RunningAttempt> attempt, Outcome outcome) {
    auto kept = std::make_shared<const Outcome>(std::move(outcome));
    for (;;) {
        const RunState state = state_of(*kept);
        const Result<store::Journal::Ended> stored = co_await ask<store::Journal::Ended>([&](store::Journal& journal, auto done) {
            journal.end(attempt->run.name, attempt->number, state, kept, attempt->logged_bytes, std::move(done));
        });
        if (stored) {
            if (stored->delivery) run(*stored->delivery);
            break;
        }
        spdlog::error("the end of the run {} could not be stored: {}", attempt->run.name, stored.error().message);
        if (!attempt->not_stored) {
            Error why = stored.error();
            why.message = fmt::format("attempt {} of the run \"{}\" has ended ({}), but that could not be stored: {}", attempt->number, attempt->run.name, store::run_state_name(state), why.message);
            attempt->not_stored = std::move(why).with("started", "yes").with("run", attempt->run.name);
            attempt->ring();
            // A value that does not fit is given up, so that what is left to say fits.
            kept = std::make_shared<const Outcome>(Outcome::failed(*attempt->not_stored));
        }
        // Where its own record is damaged there is nothing to try again: whoever asks for it is told that.
        if (stored.error().code == Code::damaged || stored.error().code == Code::not_found) break;
        net::Event pause(executor_);
        co_await pause.wait_until(std::chrono::steady_clock::now() + limits::k_run_store_pause);
    }
    attempt->call->settle();
    attempt->call.reset();
    running_.erase(attempt->run.name);
    attempt->state = state_of(*kept);
    attempt->ring();
}

}  // namespace rh::daemon
