#pragma once

// What passes between the calls that run in this worker and their callers, besides arguments and results: what they print,
// the items that generators yield, and what is sent into those or comes from generator arguments. Owned by the Host. Any
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

class Exchange {
public:
    // `on_room` is told of a call that was refused room and has some now, or never will. On any thread, where the link may be
    // held: it must not send.
    explicit Exchange(std::function<void(std::uint64_t)> on_room) : on_room_(std::move(on_room)) {}
    ~Exchange() { close(); }

    void attach(rpc::BlockingLink& link) { link_ = &link; }
    // From the call's arrival on: what its caller asks for may come right behind it.
    void begin(std::uint64_t id, std::uint32_t prefetch);
    // The call is over; what it has gathered has been sent by settle().
    void end(std::uint64_t id);
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
    struct Running {
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
    bool closed_ = false;
    std::map<std::uint64_t, Clock::time_point> gathering_;
    std::condition_variable gather_wake_;
    bool gather_asleep_ = false;  // without a time to wake
    std::thread flusher_;
};

}  // namespace rh::worker
