#pragma once

// Takes messages from a client's stream to the worker that serves it and back, bodies undecoded, and keeps the table of
// which stream is which (router.cpp). Sees to it that calls end: at their deadlines, when they are cancelled, and when
// their client or worker is gone (router_endings.cpp), or goes on with them when the client comes back (router_resume.cpp). Owned by the Daemon, on its executor.

#include <map>
#include <set>

#include "daemon/connection.h"
#include "daemon/deadlines.h"
#include "daemon/follower.h"
#include "daemon/memory_watch.h"
#include "daemon/service.h"
#include "daemon/worker.h"

namespace rh::daemon {

class Router {
public:
    using AllWorkers = std::function<std::vector<std::shared_ptr<Worker>>()>;
    Router(Services& services, net::asio::any_io_executor executor, AllWorkers workers)
        : services_(services), executor_(executor), workers_(std::move(workers)), deadlines_(executor, [this](Worker& worker, std::uint64_t stream) { on_due(worker, stream); }) {}

    // Sees to the deadlines, until it is cancelled.
    net::asio::awaitable<void> run() { return deadlines_.run(); }

    // True when the message was passed on or answered; false when it is for the node itself.
    bool from_client(Caller& client, rpc::Message& message, ByteView body);
    bool from_worker(Connection& connection, rpc::Message& message, ByteView body);
    // The result of a call of the daemon's own.
    void on_own_result(Worker& worker, std::uint64_t stream, Outcome outcome);

    // Calls `method` of the worker's own service, on behalf of `asker` or, without a connection, of nobody. What the call
    // prints goes to the asker's stream, and its cancel and deadline reach the call. begin() is for several at once, which may
    // have the same asker.
    std::shared_ptr<Reply> begin(Worker& worker, std::string method, Body body, const Asker& asker);
    net::asio::awaitable<Outcome> call(std::shared_ptr<Worker> worker, std::string method, Body body, Asker asker);

    // From now on calls for that worker wait: it is on its way, or has gone and another is to take its place.
    void park(Worker& worker);
    // They are sent, in their order.
    void unpark(Worker& worker);
    // They fail, none of them having begun.
    void fail_parked(Worker& worker, const Error& why);
    // They wait for another worker instead.
    void hand_over(Worker& from, Worker& to);

    // Text from the worker's own file descriptors (follower.h): to the call that runs alone there. How much was taken.
    std::size_t deliver(Worker& worker, Channel channel, std::string_view text, std::uint64_t offset);
    // Who is asked to go on when a client has made room for more such text, and to catch up before a worker's end is told.
    void follow_with(Follower& follower) { follower_ = &follower; }

    // A process that came from the worker was killed for its memory (router_memory.cpp): the calls that run there, or else the next,
    // fail with `why` if they raise, and are told of it on their stderr if they do not.
    void note_memory_kill(Worker& worker, std::shared_ptr<const Error> why);
    // Who knows of such kills before a result is passed on.
    void watch_with(MemoryWatch& watch) { watch_ = &watch; }

    // Null where that call has ended.
    static Route* route_of(Worker& worker, std::uint64_t stream);
    // True when nobody waits for any call in it.
    static bool is_idle(const Worker& worker);
    // Called when a retired worker is idle.
    void on_idle(std::function<void(Worker&)> on_idle) { on_idle_ = std::move(on_idle); }
    // Called when a worker has told of all calls that a daemon before this one let in.
    void on_announced(std::function<void(Worker&)> on_announced) { on_announced_ = std::move(on_announced); }
    // Called when a worker must end because a call in it does not.
    void on_kill(std::function<void(Worker&)> on_kill) { on_kill_ = std::move(on_kill); }

    // router_resume.cpp. A client's connection was lost: its calls go on for a while. False when it has none, and is simply gone.
    bool detach(Caller& client);
    // It has come back, and is about to say for which of them.
    static void reattach(Caller& client);
    // A worker that a daemon before this one has started tells of a call that runs in it, or, with stream 0, that these were all.
    void restore(Worker& worker, const rpc::Message& running);
    // A worker ended that calls may have run in which no worker knows any more: of those it is not said that they never began.
    void note_death() { last_death_ = std::chrono::steady_clock::now(); }

    // A client is gone: its calls are cancelled, and their results go nowhere.
    void drop_client(Caller& client);
    // A worker has ended: every call in it fails with `why`.
    void drop_worker(Worker& worker, const Error& why);

    std::uint64_t calls_total() const { return calls_total_; }

private:
    void open(Caller& client, rpc::Message& message, ByteView body);
    void refuse(Caller& client, const rpc::Message& message, Error error);
    // Passes a message of the route on to its worker, or keeps it until that is there.
    void pass(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body);
    void keep(Worker& worker, std::uint64_t stream, const rpc::Message& message, ByteView body);
    // The route's client broke the protocol: it is told so, and the worker that nobody wants the call any more.
    void break_off(Worker& worker, std::uint64_t stream, Route& route, Error error);
    // What the message means for the route; false when it goes no further.
    bool note_from_client(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body);
    bool note_from_worker(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body);
    void finish(Worker& worker, std::uint64_t stream, Route& route);
    // Which of its calls have begun, as it marked them; for those that are under way.
    static void note_begun(Worker& worker);
    static void tell_worker(Worker& worker, std::uint64_t stream, wire::Kind kind, bool kill = false);
    void close(Worker& worker, std::uint64_t stream);
    // Calls of the daemon's own for one stream (Siblings): the room that its client has made goes to whose output it took.
    void share_credit(Siblings& siblings, std::uint64_t bytes);
    // All routes of the client's stream, this one included.
    static std::vector<std::pair<Worker*, std::uint64_t>> with_siblings(Worker& worker, std::uint64_t stream, const Route& route);
    // Before a result goes on, and after the next call has begun: what is to be told of a kill.
    void tell_of_memory(Worker& worker, Route& route, const rpc::Message& result);
    static Error failed_for_memory(Worker& worker, const Route& route, const std::string& type, const std::string& message, const std::string& traceback);
    static void take_untold(Worker& worker, Route& route);
    // The client's stream ends with this; the route may go on without it.
    void answer(Route& route, Error error);
    void fail_route(Worker& worker, std::uint64_t stream, Error error);

    void set_deadline(Worker& worker, std::uint64_t stream, Route& route, std::uint64_t deadline_ms);
    void on_due(Worker& worker, std::uint64_t stream);
    // Asks the worker to stop the call, and sees to what happens if it does not.
    void cancel(Worker& worker, std::uint64_t stream, Route& route);
    // The client is answered; the route stays until the worker has ended the call.
    void release(Worker& worker, std::uint64_t stream, Route& route);
    void give_up(Worker& worker, std::uint64_t stream, Route& route);
    void kill(Worker& worker, std::uint64_t stream, Route& route);
    static bool matters(const Route& route);
    bool is_alone(const Worker& worker, const Route& route) const;
    // What the caller of a call is told that its deadline or somebody's cancel has ended.
    static Error why_over(const Route& route, bool still_running);

    // Whether anybody knows the call that a client has come back for.
    struct Resuming {
        Caller* client = nullptr;
        std::uint64_t stream = 0;
        std::vector<Worker*> asked;
        bool gone = false;  // one of them had it
        bool late = false;  // there is one that could not be asked
        std::uint64_t offsets[2] = {};
        std::uint64_t followed_pending = 0;
        std::vector<rpc::Message> behind;  // what the client said of the call meanwhile
    };
    void resume(Caller& client, rpc::Message& message);
    void keep_behind(const Caller& client, const rpc::Message& message);
    void on_resumed(Worker& worker, const rpc::Message& message);
    void end_resuming(Resuming resuming);
    void end_resume(Caller& client);
    void drop_resuming(const Caller* client, const Worker* worker);

    Services& services_;
    net::asio::any_io_executor executor_;
    const AllWorkers workers_;
    std::map<std::uint64_t, Resuming> resuming_;
    std::map<const Caller*, std::set<std::uint64_t>> resumed_;  // the streams that it has come back for so far
    std::uint64_t next_resume_ = 1;
    std::chrono::steady_clock::time_point last_death_{};
    Deadlines deadlines_;
    Follower* follower_ = nullptr;
    MemoryWatch* watch_ = nullptr;
    std::function<void(Worker&)> on_idle_;
    std::function<void(Worker&)> on_kill_;
    std::function<void(Worker&)> on_announced_;
    std::uint64_t calls_total_ = 0;
};

}  // namespace rh::daemon
