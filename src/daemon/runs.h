#pragma once

// The runs of a node: calls with a name, journalled before they are acknowledged. For each attempt that runs the daemon itself is the
// caller, so that the end of whoever asked changes nothing; they look on (run_control.h). Owned by the Daemon, on its executor. An
// attempt that runs when the daemon ends is found in the journal by the next one, which goes on with it as a client would that comes
// back: the run's id is the session, the attempt's number the stream.

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "daemon/api.h"
#include "daemon/service.h"
#include "net/task_group.h"
#include "store/journal.h"

namespace rh::daemon {

// Waits for what the journal's thread answers. Shared by the coroutine that waits and the journal.
template <class T>
struct JournalAnswer {
    explicit JournalAnswer(const net::asio::any_io_executor& executor) : arrived(executor) {}
    net::Event arrived;
    Result<T> result = fail(Code::internal, "the journal has not answered");
};

// An attempt from its acknowledgement to its end. Shared by the table, by the coroutine that drives it, and by those that look on.
class RunningAttempt {
public:
    RunningAttempt(const net::asio::any_io_executor& executor, store::RunRecord run_in, const store::AttemptRecord& attempt)
        : run(std::move(run_in)), number(attempt.number), state(attempt.state), bell(executor), deadline_ms_(static_cast<std::uint64_t>(attempt.deadline_ms)), kill_(attempt.kill) {}

    const store::RunRecord run;
    const std::int64_t number;
    store::RunState state;
    std::uint64_t logged_bytes = 0;  // of output, that can be read
    // Why its end is not on the disk yet, as those who wait are told; it is tried again.
    std::optional<Error> not_stored;
    std::list<net::Event*> onlookers;  // rung at everything new

    void ring() {
        for (net::Event* const onlooker : onlookers) onlooker->set();
    }

private:
    friend class Runs;

    net::Event bell;             // its call has something new, or the journal
    std::unique_ptr<Calls> calls;
    std::unique_ptr<Call> call;
    Body arguments;
    std::uint64_t sent_bytes = 0;
    std::uint64_t printed_bytes = 0;
    bool has_ended = false;  // its call; that is on its way to the disk
    const std::uint64_t deadline_ms_;
    const bool kill_;
};

// Who calls for what that run goes on with, or what follows from it: whoever asked was allowed to when it was acknowledged.
Principal follower_of(const store::RunRecord& run);

class Runs {
public:
    using MakeCalls = std::function<std::unique_ptr<Calls>(Principal, std::string session, std::uint64_t stream)>;

    // `tasks` drives the attempts; `make_calls` gives whoever calls for one.
    Runs(const net::asio::any_io_executor& executor, const std::string& state_folder, net::TaskGroup& tasks, MakeCalls make_calls);

    store::Journal& journal() { return journal_; }
    // The attempt of that run that has not ended; null where there is none.
    std::shared_ptr<RunningAttempt> running(std::string_view name) const;
    // How many call that service.
    std::size_t count_of(std::string_view service) const;

    // Asks the journal for it, and runs what that makes. Whoever asked may be gone by then: what is journalled runs.
    net::asio::awaitable<Result<store::Journal::Begun>> begin(store::Journal::Wanted wanted, Principal principal);
    // Goes on with what a daemon before this one was running. Once, when it is known which workers live, and before anybody may
    // ask for what runs.
    net::asio::awaitable<void> take_over(bool node_is_new);
    void cancel(RunningAttempt& attempt, bool kill);
    // The daemon ends: what is journalled from now on is the next one's to find.
    void stop() { stopping_ = true; }

    // What the journal answers to that question.
    template <class T, class Ask>
    net::asio::awaitable<Result<T>> ask(Ask question) {
        const auto answer = std::make_shared<JournalAnswer<T>>(executor_);
        question(journal_, [answer](Result<T> result) {
            answer->result = std::move(result);
            answer->arrived.set();
        });
        co_await answer->arrived.wait();
        co_return std::move(answer->result);
    }

private:
    // Runs what the journal has made.
    void run(const store::Journal::Begun& begun, Body arguments, Principal principal);
    void run(store::Journal::Following& following);
    void add(const std::shared_ptr<RunningAttempt>& attempt, Principal principal);
    void open(RunningAttempt& attempt);
    net::asio::awaitable<void> drive(std::shared_ptr<RunningAttempt> attempt);
    net::asio::awaitable<Outcome> run_to_end(std::shared_ptr<RunningAttempt> attempt);
    // Passes on what there is to be passed on; true once the outcome is whole.
    bool advance(const std::shared_ptr<RunningAttempt>& attempt, Outcome& outcome);
    void print(const std::shared_ptr<RunningAttempt>& attempt, CallEvent event);
    net::asio::awaitable<void> store_end(std::shared_ptr<RunningAttempt> attempt, Outcome outcome);

    net::asio::any_io_executor executor_;
    net::TaskGroup& tasks_;
    const MakeCalls make_calls_;
    std::map<std::string, std::shared_ptr<RunningAttempt>, std::less<>> running_;
    bool stopping_ = false;
    store::Journal journal_;  // last, so that nothing that it tells finds the rest gone
};

}  // namespace rh::daemon
