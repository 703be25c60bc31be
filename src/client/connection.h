#pragma once

// The moving parts behind client.h. One Connection owns one BlockingLink, the table of outstanding calls and a background
// thread. Whoever waits for a call takes the right to read and reads for everybody until its own call is done, then hands
// the right to another waiter. The background thread reads only while nobody waits. One mutex guards all of this and is
// never held while reading, writing or calling out. When the connection is lost the background thread makes another and
// resumes the calls on it (connection_resume.cpp); whoever waits goes on waiting meanwhile.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/client.h"
#include "net/endpoint.h"
#include "rpc/blocking_link.h"

namespace rh::client {

class Pending;

// How long a waiting thread sleeps before it looks for signals: a condition variable does not tell of them, and one that
// comes just before a read would be lost on it.
inline constexpr std::chrono::milliseconds k_signal_slice{100};
inline constexpr std::size_t k_followers_many = 2;
// A thread that has waited will soon wait again, and reads what comes meanwhile; after this long the background thread does.
inline constexpr std::chrono::milliseconds k_nap{1};

class Connection final : public Client, public std::enable_shared_from_this<Connection>, private rpc::BlockingLink::Receiver {
public:
    explicit Connection(std::string session);
    ~Connection() override;

    Result<void> open(const Options& options, Deadline deadline);

    Result<std::shared_ptr<Call>> start(const Request& request, std::shared_ptr<Observer> observer) override;
    bool flush_wanted() const override { return flush_wanted_.load(std::memory_order_relaxed); }
    void flush() override;
    Result<std::chrono::microseconds> ping(Deadline deadline) override;
    bool alive() const override;
    void close() override;
    std::string session() const override;

private:
    friend class Pending;

    // A thread in Pending::wait or in a ping; lives on its stack.
    struct Waiting {
        std::condition_variable wake;
        bool poked = false;
    };
    struct Text {
        Channel channel;
        std::string text;
    };
    struct Ping {
        std::uint64_t stream = 0;
        bool answered = false;
    };

    // Waits, reading or following, until `ready` says so (asked under the mutex, which it may release meanwhile).
    template <class Ready>
    WaitEnd wait(Waiting& waiting, Deadline deadline, Waiter* waiter, Ready ready);
    // The same for a thread that counts among `waiting_for`, and so is told of news there.
    template <class Ready>
    WaitEnd wait_among(std::vector<Waiting*>& waiting_for, Deadline deadline, Waiter* waiter, Ready ready);
    // With the lock held: reads once as the leader. False when the connection has ended.
    bool lead(std::unique_lock<std::mutex>& lock, Deadline deadline, bool expects_answer, rpc::BlockingLink::Read& read);
    void hand_over();
    // For good: every call ends.
    void lose(const Error& why);
    // With what is known here about whether the call had begun, where the node can say nothing any more.
    static Error lost_call(Error why, const Pending& call);
    // connection_resume.cpp
    // The connection broke: it is made anew where the node does that, and otherwise lost.
    void broke(const Error& why);
    void make_anew(std::unique_lock<std::mutex>& lock);
    Result<rpc::BlockingLink::Unsent> open_again();
    bool node_is_gone() const;
    void resume(std::unique_lock<std::mutex>& lock, const rpc::BlockingLink::Unsent& unsent);
    bool catch_up(std::unique_lock<std::mutex>& lock);
    // Sends a call that never began once more; false when it cannot.
    bool send_again(const rpc::Message& answer);
    bool send_frame_again(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Pending>& call);
    static bool only_looks(const Pending& call);
    rpc::Message hello() const;
    std::string upgrade_request() const;
    bool is_remote() const { return endpoint_.kind != net::Endpoint::Kind::unix_socket; }
    Result<void> send_call(Pending& call, rpc::Message& message, const Request& request);
    std::uint64_t has_all_up_to(std::uint64_t stream);
    Result<std::chrono::microseconds> ping_stream(std::uint64_t stream, Deadline deadline);
    void cancel(std::uint64_t stream, bool kill);
    // The call's output was taken; its worker is told once a good part of the window has been, not of every line.
    void took_output(Pending& call, std::size_t bytes);
    void grant_items(Pending& call, std::uint64_t bytes);
    bool send_item(Pending& call, std::uint32_t source, Sent sent);
    void poke(const std::vector<Waiting*>& threads);
    void nudge_reader();
    void background();
    // Whether the background thread is to read: for calls that nobody waits for, and where several threads wait, who would
    // otherwise wake each other to read besides being woken for their answers.
    bool background_needed() const { return !reading_ && !down_ && (followers_.size() >= k_followers_many || (observed_ != 0 && followers_.empty())); }

    Result<void> on_message(rpc::Message& message, Body body) override;
    void on_sent(std::uint64_t stream) override;
    Result<void> on_items(rpc::Message& message, Body body);
    void on_item_credit(const rpc::Message& message);
    std::shared_ptr<Pending> find(std::uint64_t stream);
    void finish(std::unique_lock<std::mutex>& lock, Pending& call, Outcome outcome);
    Result<void> on_output(const rpc::Message& message, std::string text);
    void has_taken(std::uint64_t stream);

    const std::string session_;
    Options options_;
    net::Endpoint endpoint_;
    std::unique_ptr<rpc::BlockingLink> link_;
    std::atomic<bool> flush_wanted_{false};
    std::vector<std::pair<std::uint64_t, Outcome>> ended_;  // results that came with the last read; the reading thread's

    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<Pending>> calls_;
    std::unordered_map<std::uint64_t, Ping> pings_;  // by number
    std::vector<Waiting*> followers_;
    std::uint64_t next_stream_ = 1;
    std::uint64_t next_ping_ = 1;
    std::size_t observed_ = 0;   // outstanding calls with an Observer
    std::size_t activity_ = 0;   // counts waits, so that the background thread stays away from a busy socket
    bool reading_ = false;
    bool napping_ = false;       // the background thread looks again by itself
    bool down_ = false;          // until the connection was made anew, and all calls were resumed on it
    bool closing_ = false;
    bool lost_ = false;
    std::uint64_t acknowledged_ = 0;  // all calls up to this one have ended here
    std::condition_variable up_wake_;  // threads that have something to send wait for it
    Error why_lost_;
    std::condition_variable background_wake_;
    std::thread background_;
};

// A call in the table. Its fields are guarded by the connection's mutex.
class Pending final : public Call {
public:
    Pending(std::shared_ptr<Connection> connection, std::uint64_t stream, std::shared_ptr<Observer> observer, std::optional<std::uint32_t> prefetch)
        : connection_(std::move(connection)), stream_(stream), prefetch_(prefetch), observer_(std::move(observer)) {}

    bool done() const override;
    WaitEnd wait(Deadline deadline, Waiter& waiter) override;
    Outcome take_outcome() override;
    std::uint64_t stream() const override { return stream_; }
    void cancel(bool kill) override { connection_->cancel(stream_, kill); }
    void abandon(Error error) override;
    Result<std::chrono::microseconds> ping(Deadline deadline) override { return connection_->ping_stream(stream_, deadline); }
    void observe(std::shared_ptr<Observer> observer) override;
    WaitEnd wait_items(Deadline deadline, Waiter& waiter) override;
    std::vector<Items> take_items() override;
    void ask() override;
    bool send_item(std::uint32_t source, Sent sent) override;
    bool wait_room(std::uint32_t source) override;

private:
    friend class Connection;

    // What the worker takes of a generator argument.
    struct Source {
        std::int64_t window = 0;
        bool dropped = false;
    };

    void deliver_output(std::unique_lock<std::mutex>& lock, Waiter& waiter);
    std::uint64_t cost_of(const Items& items) const;

    const std::shared_ptr<Connection> connection_;
    const std::uint64_t stream_;
    const std::optional<std::uint32_t> prefetch_;
    std::shared_ptr<Observer> observer_;
    std::vector<Connection::Waiting*> waiters_;
    std::vector<Connection::Text> output_;
    std::uint64_t ungranted_output_ = 0;  // bytes of it that were taken
    // Of all that came and was not granted back: what the worker sent, and what the node read from its files.
    std::uint64_t pending_output_ = 0;
    std::uint64_t pending_followed_ = 0;
    std::vector<Items> items_;
    std::uint64_t items_cost_ = 0;      // of those
    std::uint64_t ungranted_cost_ = 0;  // of those that were taken
    bool asked_ = false;                // prefetch 0: for the first
    std::map<std::uint32_t, Source> sources_;
    bool sent_ = true;                           // all of the call has left this process
    bool sending_ = false;                       // an item, or the call's own large body: nothing may follow yet
    std::vector<Connection::Waiting*> senders_;  // threads that send items
    Outcome outcome_;
    bool done_ = false;

    // For another connection: the call itself, as far as it is small enough to be kept, and what has come and was granted.
    Bytes frame_;
    bool sent_in_ = false;   // a value into its generator, which has not answered since: it may not have arrived
    bool for_node_ = false;  // to the node itself, which keeps nothing of it
    std::optional<std::chrono::steady_clock::time_point> due_;
    std::uint64_t output_number_ = 0;
    std::uint64_t output_owed_ = 0;     // granted while there was no connection, and not said yet
    std::uint64_t item_number_ = 0;
    std::uint64_t items_granted_ = 0;
    std::uint64_t file_offsets_[2] = {};  // of what the node read from its worker's stdout and stderr
    bool cancel_asked_ = false;
    bool kill_asked_ = false;
    // What the node was told of these when the call was resumed.
    bool told_cancel_ = false;
    std::uint64_t told_items_ = 0;
};

template <class Ready>
WaitEnd Connection::wait(Waiting& waiting, Deadline deadline, Waiter* waiter, Ready ready) {
    std::unique_lock lock(mutex_);
    ++activity_;
    const auto leave = [&](WaitEnd end) {
        hand_over();
        return end;
    };
    for (;;) {
        if (ready(lock)) return leave(WaitEnd::done);
        if (link_->has_queued() && link_->usable()) {
            // What waits for company may be what the answer waits for.
            lock.unlock();
            link_->flush_queued();
            lock.lock();
            continue;
        }
        if (deadline && std::chrono::steady_clock::now() >= *deadline) return leave(WaitEnd::deadline);
        bool ask = false;
        if (!reading_ && !lost_ && !down_) {
            rpc::BlockingLink::Read read = rpc::BlockingLink::Read::progress;
            lead(lock, deadline, true, read);
            ask = read == rpc::BlockingLink::Read::interrupted;
        } else {
            followers_.push_back(&waiting);
            const auto slice = std::chrono::steady_clock::now() + k_signal_slice;
            waiting.wake.wait_until(lock, deadline ? std::min(slice, *deadline) : slice, [&] { return waiting.poked; });
            ask = !std::exchange(waiting.poked, false);
            std::erase(followers_, &waiting);
        }
        if (ask && waiter != nullptr) {
            hand_over();
            lock.unlock();
            const bool stop = waiter->interrupted();
            lock.lock();
            if (stop) return leave(WaitEnd::interrupted);
        }
    }
}

template <class Ready>
WaitEnd Connection::wait_among(std::vector<Waiting*>& waiting_for, Deadline deadline, Waiter* waiter, Ready ready) {
    Waiting waiting;
    {
        const std::scoped_lock lock(mutex_);
        waiting_for.push_back(&waiting);
    }
    const WaitEnd end = wait(waiting, deadline, waiter, ready);
    const std::scoped_lock lock(mutex_);
    std::erase(waiting_for, &waiting);
    return end;
}

}  // namespace rh::client
