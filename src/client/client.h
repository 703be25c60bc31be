#pragma once

// A connection to one node's daemon, shared by all threads of a process. Any thread may start calls and wait for them:
// the thread that waits reads the socket itself (leader/follower, reader.h), and a background thread reads only while
// nobody waits. Outlives none of its Calls: they keep it alive. After fork() the child's copy is dead (Code::node_lost)
// and must be replaced by a new Client.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/body.h"
#include "base/result.h"

namespace rh::client {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

// What to call. Everything is read during start() only.
struct Request {
    std::string_view service;
    std::string_view method;
    Encoding encoding = Encoding::empty;
    std::span<const ByteView> parts;
    std::uint64_t deadline_ms = 0;  // after which the node ends the call; 0: none
    bool kill = false;              // then with its worker, if need be
    std::span<const std::string_view> parents{};  // the calls from within which this one is made, innermost first
    // Items that may come before they are taken; 0: each is asked for. Nothing: the call is not expected to yield any.
    std::optional<std::uint32_t> prefetch{};
    bool gather = false;  // it may leave a little later, with others: start() then never waits for the socket itself
    // With `gather`: called before start() waits for another thread that waits for the socket, or for another connection.
    std::function<void()> before_wait{};
};

// One or more items of a stream: with `batch` each part of the body is one, else the body.
struct Items {
    Body body;
    bool batch = false;
};

// What goes into a generator: a value, an exception to be raised in its place, or the end of a generator argument.
struct Sent {
    enum class Kind { value = 0, raised = 1, end = 2 };
    Kind kind = Kind::value;
    Body body;
    Raised raised;
};

// What a waiting thread does besides waiting. Called in that thread, with no lock held.
class Waiter {
public:
    virtual ~Waiter() = default;
    // Text that the call printed; partial lines and invalid UTF-8 are possible.
    virtual void on_output(Channel channel, std::string_view text) = 0;
    // Asked when a signal arrived; true ends the wait with WaitEnd::interrupted.
    virtual bool interrupted() { return false; }
};

// Told about a call that nobody waits for, from the thread that happens to read. Must not block for long, and must not
// call into the Client except Call::grant_output.
class Observer {
public:
    virtual ~Observer() = default;
    virtual void on_output(Channel channel, std::string_view text) = 0;
    virtual void on_done() = 0;
    // There are items, after there were none.
    virtual void on_items() {}
};

enum class WaitEnd { done, deadline, interrupted };

class Connection;  // connection.h: the moving parts

// One call on its way. Thread-safe.
class Call {
public:
    virtual ~Call() = default;
    virtual bool done() const = 0;
    // Its number among this client's calls, which the node knows it by.
    virtual std::uint64_t stream() const = 0;
    // Waits until the call is done, the deadline has passed or a signal asked to stop. Several threads may wait.
    virtual WaitEnd wait(Deadline deadline, Waiter& waiter) = 0;
    // The outcome, moved out; only once, only after done().
    virtual Outcome take_outcome() = 0;
    // Asks the worker to stop the call; with `kill` the node ends the worker that does not. The call is done when its outcome
    // (or the loss of the node) arrives.
    virtual void cancel(bool kill) = 0;
    // Gives up on the answer: the call ends here and now with `error`, and a late result is thrown away.
    virtual void abandon(Error error) = 0;
    // Round trip to the worker that runs the call, answered even while user code runs; microseconds.
    virtual Result<std::chrono::microseconds> ping(Deadline deadline) = 0;
    // Who is told from now on; at once, when there is something to tell. Takes the place of the one before.
    virtual void observe(std::shared_ptr<Observer> observer) = 0;

    // As wait(), but also until there are items.
    virtual WaitEnd wait_items(Deadline deadline, Waiter& waiter) = 0;
    // What has come, moved out; its sender is granted as much again.
    virtual std::vector<Items> take_items() = 0;
    // Prefetch 0: asks for one more item.
    virtual void ask() = 0;
    // Sends into the call's generator (`source` 0), or the next item of its generator argument `source`. False when nobody takes
    // it. Waits while a large one before it is on its way.
    virtual bool send_item(std::uint32_t source, Sent sent) = 0;
    // Waits until the worker wants another item of that argument; false when it never will.
    virtual bool wait_room(std::uint32_t source) = 0;
};

class Client {
public:
    struct Options {
        std::string endpoint;  // "unix:/path" or the path alone, "tcp://127.0.0.1:PORT", "tls://HOST:PORT" (net/endpoint.h)
        std::string software;  // "roundhouse 0.1.0 python 3.11.7", for people
        std::string token{};   // for TCP and TLS
        std::string pin{};     // of the server's key, for TLS; without one its certificate must be trusted on this machine
    };

    virtual ~Client() = default;

    // Connects, upgrades and shakes hands within `deadline`.
    static Result<std::shared_ptr<Client>> connect(Options options, Deadline deadline);

    // Sends the call. `observer` may be null: output then waits (bounded by flow control) for a Waiter.
    virtual Result<std::shared_ptr<Call>> start(const Request& request, std::shared_ptr<Observer> observer) = 0;
    // After calls that were started with `gather`: whether something should leave now, and that.
    virtual bool flush_wanted() const = 0;
    virtual void flush() = 0;
    // Round trip to the daemon; microseconds.
    virtual Result<std::chrono::microseconds> ping(Deadline deadline) = 0;
    // False once the connection is lost or closed, or in a forked child.
    virtual bool alive() const = 0;
    // Ends every outstanding call with Code::node_lost and joins the background thread. Idempotent.
    virtual void close() = 0;
    // This client's session id, hexadecimal.
    virtual std::string session() const = 0;
};

// start, wait without a deadline, take_outcome: for callers with nothing else to do.
Outcome call(Client& client, const Request& request, Waiter& waiter);

}  // namespace rh::client
