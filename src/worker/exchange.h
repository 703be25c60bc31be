#pragma once

// What passes between the calls that run in this worker and their callers, besides arguments and results: what they print,
// the items that generators yield, and what is sent into those or comes from generator arguments. What was sent is kept until
// its caller has it, and said again when that comes back on another connection (exchange_resume.cpp). Owned by the Host. Any
// thread may use it; waits end when the call is cancelled or over, or the connection ends. Items that come fast are
// gathered and leave together, at the latest limits::k_items_gather later, by a thread of its own.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "base/body.h"
#include "base/limits.h"
#include "rpc/blocking_link.h"

namespace rh::worker {

// Whether another item is wanted.
enum class Room { gone = -1, none = 0, open = 1 };

// What came for a generator: a value, an exception to raise in its place, or the end.
struct Input {
    enum class Kind { value = 0, raised = 1, end = 2 };
    Kind kind = Kind::value;
    Body body;
    Raised raised;
    std::uint64_t cost = 0;
};

// Whose call it is, as the caller says it again when it comes back. Without a session nobody can.
struct Origin {
    std::string session;
    std::uint64_t sequence = 0;
    std::string service;
    std::optional<std::chrono::steady_clock::time_point> deadline{};
};

class Exchange {
public:
    // `on_room` is told of a call that was refused room and has some now, or never will. On any thread, where the link may be
    // held: it must not send.
    explicit Exchange(std::function<void(std::uint64_t)> on_room) : on_room_(std::move(on_room)) {}
    ~Exchange() { close(); }

    void attach(rpc::BlockingLink& link) { link_ = &link; }
    // From the call's arrival on: what its caller asks for may come right behind it. Its session has all results up to `acknowledged`.
    void begin(std::uint64_t id, std::uint32_t prefetch, Origin origin = {}, std::uint64_t acknowledged = 0);
    // Sends the call's result, or queues it with `gather`; true when that should leave now. What the call has gathered has been sent by
    // settle(). The call is over then, and its result kept until its caller has it. An Error is about the result, and the call
    // not over, unless it is node_lost.
    Result<bool> conclude(std::uint64_t id, Outcome outcome, bool gather);
    // Nobody listens any more. False when the call does not run.
    bool silence(std::uint64_t id);
    // Whether it was silenced and is not over.
    bool is_silent(std::uint64_t id) const;
    // Ends all waits; nothing is sent afterwards. close() joins the thread besides.
    void hang_up();
    void close();

    // Sends what the call printed; waits while its caller has not taken what it was sent. False when it was not sent because the
    // call is over.
    bool output(std::uint64_t id, Channel channel, std::string_view text);

    // Adds a small item to those that leave together, where nothing has to be sent now: never blocks, takes nothing from `body`.
    // Nothing when that cannot be done, and item() has to.
    std::optional<Room> gather(std::uint64_t id, const Body& body);
    // Sends an item and, with `wait`, waits until another one is wanted.
    Room item(std::uint64_t id, Body body, bool wait);
    Room room(std::uint64_t id, bool wait);
    // Sends what was gathered, so that the result can follow. An Error when an item could not be sent: then that is the result.
    Result<void> settle(std::uint64_t id);

    // The next that came for `source`; nothing when the call is over, or nothing is there and `wait` is false.
    std::optional<Input> input(std::uint64_t id, std::uint32_t source, bool wait);
    void drop_input(std::uint64_t id, std::uint32_t source);

    // From the reading thread.
    void on_credit(const rpc::Message& message);
    void on_item(rpc::Message& message, Body body);
    void on_sent(std::uint64_t id);
    // A caller has come back: answers whether its call is known here, and sends what it lacks.
    void resume(const rpc::Message& asked);
    // It has this one.
    void forget(const std::string& session, std::uint64_t sequence);
    // After the connection was made anew: tells the node of every call that is not over.
    void announce();

private:
    using Clock = std::chrono::steady_clock;
    using Lock = std::unique_lock<std::mutex>;

    struct Source {
        std::deque<Input> arrived;
        std::uint64_t cost = 0;       // of what has arrived
        std::uint64_t ungranted = 0;  // of what was taken
        bool asked = false;
        bool ended = false;
    };
    // What was sent of a call and may have to be sent again. `upto` counts what was sent with it since the call began: a caller
    // that has granted as much has it.
    struct Line {
        std::uint64_t number = 0;
        Channel channel = Channel::out;
        std::string text;
        std::uint64_t upto = 0;
    };
    struct SentItem {
        std::uint64_t number = 0;
        bool batch = false;
        std::shared_ptr<const Body> body;  // shared with the link while it is on its way
        std::uint64_t upto = 0;
    };
    struct Sent {
        std::deque<Line> lines;
        std::deque<SentItem> items;
        std::uint64_t output_bytes = 0;
        std::uint64_t output_granted = 0;
        std::uint64_t items_granted = 0;
    };
    struct Running {
        std::uint64_t id = 0;
        Origin origin;
        std::unique_ptr<Sent> sent;  // made by the first line or item
        std::uint64_t next_item = 1;
        std::uint64_t items_cost = 0;  // of all that were paid for
        bool asks_first = false;       // prefetch 0
        // The result, once it was sent.
        std::shared_ptr<const Outcome> outcome;
        bool result_due = false;       // to be sent again behind a large item
        Clock::time_point swept_at{};  // when it was first looked at, to be let go of some time later
        std::mutex print_order;        // held while output is sent, before the Exchange's own lock

        std::uint64_t output_window = limits::k_output_window_bytes;
        std::uint64_t next_line = 1;
        bool deaf = false;  // cancelled or over: nobody listens any more
        std::condition_variable changed;
        // Items: what they cost at least, what may still be sent, and what is gathered.
        std::uint64_t item_cost_min = 0;
        std::int64_t item_window = 0;
        Body gathered;
        Clock::time_point sent_at{};
        bool body_out = false;    // a large item is on its way: nothing may follow yet
        bool wants_room = false;  // was told that there is none
        Result<void> sendable;    // why an item was refused
        std::mutex order;         // held while items are sent, before the Exchange's own lock
        std::map<std::uint32_t, Source> sources;
    };

    std::shared_ptr<Running> find(std::uint64_t id);
    static bool can_gather(const Running& running, const Body& body);
    void pay(Running& running, const Body& body) const;
    std::shared_ptr<const Body> keep_item(Running& running, rpc::Message& message, Body body);
    static void has_taken(Running& running, const rpc::Message& credit);
    // exchange_resume.cpp, with the lock held
    std::shared_ptr<Running> find_kept(std::uint64_t id) const;
    std::shared_ptr<Running> find(const std::string& session, std::uint64_t sequence);
    void keep(std::shared_ptr<Running> running);
    void acknowledge(const std::string& session, std::uint64_t sequence);
    void let_go(const Running& running);
    void trim_kept();
    Result<bool> send_outcome(std::uint64_t id, const std::shared_ptr<const Outcome>& outcome, bool gather);
    bool say_again(Running& running, const rpc::Message& asked);
    void send_kept_result(Running& running);
    Room room_of(const Running& running) const;
    Room wait_room(Running& running, Lock& lock, bool wait);
    void flush(std::uint64_t id, Running& running);
    // With running.order held: sends what is gathered, behind which a large item follows or not, once nothing is in its way.
    // False when nobody listens.
    bool send_gathered(std::uint64_t id, Running& running, bool large_follows);
    // The same, if it can be done at once: false when it has to be tried again.
    bool flush_now(std::uint64_t id, Running& running);
    bool send_batch(std::uint64_t id, Lock lock, Running& running);
    void send_alone(std::uint64_t id, Running& running, Body body);
    bool gather_later(std::uint64_t id, Clock::time_point when);
    void flusher();

    rpc::BlockingLink* link_ = nullptr;
    const std::function<void(std::uint64_t)> on_room_;
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<Running>> running_;
    std::uint64_t last_id_ = 0;  // the highest that a call has had here
    std::deque<std::shared_ptr<Running>> kept_;  // calls that are over and whose callers may not have heard it, oldest first
    std::size_t kept_bytes_ = 0;
    std::size_t sweep_at_ = 64;                  // when there are so many, all of them are looked through
    std::unordered_map<std::string, std::uint64_t> gone_;  // by session: up to which call results may be missing
    bool closed_ = false;
    std::map<std::uint64_t, Clock::time_point> gathering_;
    std::condition_variable gather_wake_;
    bool gather_asleep_ = false;  // without a time to wake
    std::thread flusher_;
};

}  // namespace rh::worker
