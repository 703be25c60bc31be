#pragma once

// The journal of a node's runs: runs.db and, for what is large, the folder runs/ beside it. It has a thread of its own, which begins
// with the first thing that is asked and ends with the destructor. What waits for it is done in one transaction and committed once,
// with full sync; then each asker is told, through `post`, on the executor that it came from. So nothing is told that is not on the
// disk, and nobody but this thread ever waits for the disk. Its methods are called from one thread; they never block.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "store/run_log.h"
#include "store/run_records.h"

namespace rh::store {

// The service whose runs tell webhooks; a Python worker of the node's own serves it (python/roundhouse/_webhooks.py).
inline constexpr std::string_view k_webhook_service = "roundhouse-webhooks";
// The service whose runs keep others in their stores (python/roundhouse/_run_keeping.py).
inline constexpr std::string_view k_store_service = "roundhouse-run-stores";

class Journal {
public:
    using Post = std::function<void(std::function<void()>)>;
    template <class T>
    using Done = std::function<void(Result<T>)>;

    // What somebody asks for by name.
    struct Wanted {
        std::string name;
        std::string service;
        std::string method;
        std::string principal;
        std::string code;       // of what would run now; empty: not known
        std::string digest;     // of its arguments; empty: not comparable
        std::string shown;
        std::int64_t keep_s = 0;
        std::int64_t keep_bytes = 0;
        bool replace = false;
        bool accept_old_code = false;
        std::int64_t deadline_ms = 0;
        bool kill = false;
        std::string webhook;
        std::string store;
        Body program;  // with what its service was deployed; none: it cannot be replayed
        std::string snapshot;  // of the code that the program belongs to; empty: none
        Body arguments;
    };
    struct Following;
    struct Begun {
        enum class How {
            made,      // a new attempt, queued: whoever asked is to run it
            attached,  // it is queued or running
            stored,    // it has succeeded
            busy,      // it is to be replaced and has not ended: cancel it, then ask again
        };
        How how = How::made;
        RunRecord run;
        AttemptRecord attempt;
        bool code_compared = false;
        bool arguments_compared = false;
        std::shared_ptr<Following> keeping;  // the run that keeps it in its store; may be attached or stored itself
    };
    // A run of the node's own that follows from another; whoever asked is to run it as well. Shared only because it is large.
    struct Following {
        Begun begun;
        Body arguments;
    };
    struct Ended {
        std::shared_ptr<Following> delivery;  // the run that tells its webhook; may be null
    };
    // What another cluster tells of a run. Only the bodies and the output of its last attempt are there, or none.
    struct Imported {
        RunRecord run;  // without an id
        std::vector<AttemptRecord> attempts;  // in their order, each with an origin
        std::vector<std::pair<BodyKind, BodyView>> bodies;
        std::vector<LogPiece> output;
        Body from;  // has the bodies' bytes
    };
    // An attempt that a daemon before this one was running.
    struct Unfinished {
        RunRecord run;
        AttemptRecord attempt;
        LogEnd log;
    };
    // One line of a list: a damaged run says so instead of what it is.
    struct Listed {
        std::string name;
        Result<RunHistory> history;
    };

    Journal(std::string state_folder, Post post, std::size_t queue_max = limits::k_journal_queue_max);
    // What was asked for is still done, but nobody is told.
    ~Journal();
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    // What a daemon before this one was running; where the workers went with it (`node_is_new`) that is lost, and there is none.
    // Once, before anything else is asked. False where there is no journal yet: then nothing is told.
    bool take_over(bool node_is_new, Done<std::vector<Unfinished>> done);

    // Those that follow are Code::limit_exceeded at once when too much waits.

    // Decides what a call by that name is (design: "What outlives what"). Code::run_conflict names what differs.
    void begin(Wanted wanted, Done<Begun> done);
    // Code::not_found names what there is.
    void look_up(std::string name, Done<RunHistory> done);
    void list(std::size_t most, Done<std::vector<Listed>> done);
    // The value, or the exception, of an attempt that has ended.
    void read_result(std::string run_id, AttemptRecord attempt, Done<Outcome> done);
    void read_arguments(std::string run_id, std::int64_t number, Done<Body> done);
    // The snapshots of code that the attempts which are kept were started with.
    void read_snapshots(Done<std::vector<std::string>> done);
    // With what that attempt can be made again somewhere else.
    struct Dispatch {
        Body program;
        Body arguments;
    };
    void read_dispatch(std::string run_id, std::int64_t number, Done<Dispatch> done);
    void read_log(std::string run_id, std::int64_t number, LogCursor from, std::uint64_t bytes_max, Done<LogRead> done);
    // Takes it over as far as it is new: what has ended here stays as it is. Tells how the last attempt then stands;
    // Code::run_conflict where that is another cluster's, or this node's own.
    void import(Imported imported, Done<AttemptRecord> done);
    // A damaged one as well; Code::not_found where there is none. Not while it runs, which is for the caller to see to.
    void forget(std::string name, Done<bool> done);
    // What the thread also does by itself, now and then.
    void prune(std::int64_t now_ms, std::int64_t bytes_max, Done<bool> done);

    // These always are taken: there are only as many as attempts run.

    void note_running(std::string name, std::int64_t number);
    void append_log(std::string run_id, std::int64_t number, Channel channel, std::uint64_t at, Bytes text, const OutputPlace& place, Done<bool> done);
    // The attempt's end, with what it printed: it is told once both are on the disk. The outcome stays with the asker until then.
    // Where the run has a webhook, the run that tells it is queued with that: the asker is to run it.
    void end(std::string name, std::int64_t number, RunState state, std::shared_ptr<const Outcome> outcome, std::uint64_t log_bytes, Done<Ended> done);

private:
    struct Task {
        std::function<Result<void>(const Database&)> work;
        std::function<void(Result<void>)> done;
    };

    bool add(Task task, bool always);
    template <class T>
    void ask(bool always, std::function<Result<T>(const RunRecords&)> work, Done<T> done);
    Result<Begun> begin_now(const RunRecords& records, const Wanted& wanted) const;
    Result<std::shared_ptr<Following>> follow_now(const RunRecords& records, Wanted wanted) const;
    Result<AttemptRecord> import_now(const RunRecords& records, const Imported& imported) const;
    Result<void> import_content(const RunRecords& records, const RunRecord& run, const Imported& imported, AttemptRecord& attempt) const;
    Error unknown(const RunRecords& records, std::string_view name) const;

    void work();
    Result<const Database*> database();
    // Each task's end; all of them are committed, or none that says so.
    std::vector<Result<void>> do_all(const std::vector<Task>& tasks);
    Result<void> do_alone(const Task& task);
    void rest();

    const std::string path_;
    const std::string folder_;
    const Post post_;
    const std::size_t queue_max_;

    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<Task> queue_;  // guarded, as the next
    bool stopping_ = false;

    // The thread's own.
    std::optional<Database> database_;
    bool has_written_ = false;
    std::chrono::steady_clock::time_point pruned_at_;

    std::thread thread_;
};

// The run that keeps an attempt of another in its store: "NAME.store-NUMBER".
Journal::Wanted keeping_of(const RunRecord& run, std::int64_t number);
// What whoever needs an attempt is told that runs on another cluster.
Error away_error(const RunRecord& run, const AttemptRecord& attempt);

}  // namespace rh::store
