#pragma once

// The worker's side of its connection to the daemon, language-neutral: takes calls off the socket, hands each to the
// Runner on the thread that read it, sends the outcome back. serve() runs on as many threads as calls need: the thread
// that runs a call keeps the right to read the socket for a moment (limits::k_watch_tick); a watcher takes it over when the
// call lasts, so that cancels, pings and other callers' calls never wait behind user code.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/body.h"
#include "base/limits.h"
#include "base/result.h"
#include "shm/begun.h"
#include "worker/exchange.h"

namespace rh::worker {

// One call as the Runner sees it.
struct Incoming {
    std::uint64_t id = 0;  // unique in this worker; names the call in cancel() and output()
    std::string service;
    std::string method;
    std::uint32_t prefetch = 0;  // items that the caller takes ahead
    std::vector<std::string> parents;  // "worker/stream" of the calls that wait for this one
    Body body;

    // Told by the runner once it has what only one thread can have, such as Python's lock. Until then another thread would only
    // compete for it, and none begins a call. Whoever comes after the worker's death sees from then on that the call had begun.
    void has_begun() {
        std::atomic<int>* const count = std::exchange(unbegun, nullptr);
        if (count == nullptr) return;
        count->fetch_sub(1);
        if (begun != nullptr) begun->mark(id);
    }
    std::atomic<int>* unbegun = nullptr;
    shm::BegunMarks* begun = nullptr;

    // Whether its caller has given it up already. A cancel may come before run() has got as far as Runner::cancel() can
    // find it, so run() asks once after that point.
    bool was_cancelled() const { return exchange != nullptr && exchange->is_silent(id); }
    const Exchange* exchange = nullptr;
};

// The language's part. The service "_worker" is the Runner's own: the daemon calls its methods "load", "create" and
// "delete" to make and unmake services (protocol/node.md).
class Runner {
public:
    virtual ~Runner() = default;
    // Runs one call to its end, on one of the threads in serve(), and says call.has_begun() as soon as nothing that other calls
    // need keeps it from going on; nothing, when Host::finish() will tell of it later. Never
    // throws.
    virtual std::optional<Outcome> run(Incoming& call) = 0;
    // Interrupts a call that is in run() now, where the language can; one that is only about to be asks was_cancelled(). Called on the reading thread: must not wait for
    // user code, or for a lock that user code may hold (Python's GIL).
    virtual void cancel(std::uint64_t id) = 0;
    // There is room for another item of that call, whose sender was told that there was none; or nobody listens any more.
    // As cancel(), but on any thread, and where the Host is in the middle of sending: must not call it.
    virtual void room(std::uint64_t) {}
    // Starts a thread of the language's own that calls Host::serve_more() and ends when that returns. False when it
    // could not: calls then run on the threads that are there.
    virtual bool start_thread() = 0;
    // Its own stacks of what runs just now, as JSON (protocol/node.md, `stack` of `_worker`). On a thread of the Host's, and in bounded
    // time, whatever user code does.
    virtual std::string stacks() { return "{}"; }
    // The names of the services that live here, for the daemon after its restart.
    virtual std::vector<std::string> services() = 0;
};

class Host {
public:
    struct Options {
        std::string socket_path;
        std::string worker_id;
        std::string language;  // "python 3.11.2", "c++"
        // How long a daemon that is gone may take to come back, while the calls here go on.
        std::chrono::milliseconds grace = limits::k_resume_grace;
        std::string begun_path{};  // the file of BegunMarks; empty: none
    };

    virtual ~Host() = default;

    // Connects and says hello.
    static Result<std::unique_ptr<Host>> connect(Options options, Runner& runner);

    // Serves until the daemon says goodbye, its keeper is gone, or stop(). A daemon that dies is waited for, for the next that its
    // keeper starts. The main thread calls this; returns the reason.
    virtual Result<void> serve() = 0;
    // What the threads that Runner::start_thread makes run.
    virtual void serve_more() = 0;
    // Sends what call `id` printed. Waits while the caller has not taken what it was sent (flow control), returns at once
    // when the call is over or cancelled, or in a forked child (false: the text was not sent).
    virtual bool output(std::uint64_t id, Channel channel, std::string_view text) = 0;
    // Ends a call whose run() returned nothing.
    virtual void finish(std::uint64_t id, Outcome outcome) = 0;
    // What passes between the running calls and their callers besides: output, items, what goes into generators.
    virtual Exchange& exchange() = 0;
    // At most `concurrency` calls of that service run at once and at most `queue` more wait; 0: the worker's own bounds. A
    // call that one of the service's own running calls waits for is let in beyond that. From any thread; may start another.
    virtual void limit(const std::string& service, std::size_t concurrency, std::size_t queue) = 0;
    virtual void stop() = 0;
};

}  // namespace rh::worker
