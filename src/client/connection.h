#pragma once

// The moving parts behind client.h. One Connection owns one BlockingLink, the table of outstanding calls and a background
// thread. Whoever waits for a call takes the right to read and reads for everybody until its own call is done, then hands
// the right to another waiter. The background thread reads only while nobody waits. One mutex guards all of this and is
// never held while reading, writing or calling out.

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/client.h"
#include "rpc/blocking_link.h"

namespace rh::client {

class Pending;

class Connection final : public Client, public std::enable_shared_from_this<Connection>, private rpc::BlockingLink::Receiver {
public:
    Connection(std::string session, std::string path);
    ~Connection() override;

    Result<void> open(const Options& options, Deadline deadline);

    Result<std::shared_ptr<Call>> start(const Request& request, std::shared_ptr<Observer> observer) override;
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
        bool answered = false;
    };

    // Waits, reading or following, until `ready` says so (asked under the mutex, which it may release meanwhile).
    template <class Ready>
    WaitEnd wait(Waiting& waiting, Deadline deadline, Waiter* waiter, Ready ready);
    // With the lock held: reads once as the leader. False when the connection has ended.
    bool lead(std::unique_lock<std::mutex>& lock, Deadline deadline, bool expects_answer, rpc::BlockingLink::Read& read);
    void hand_over();
    void lose(const Error& why);
    Result<std::chrono::microseconds> ping_stream(std::uint64_t stream, Deadline deadline);
    void cancel(std::uint64_t stream);
    void grant_output(std::uint64_t stream, std::size_t bytes);
    void nudge_reader();
    void background();
    bool background_needed() const { return observed_ != 0 && !reading_; }

    Result<void> on_message(rpc::Message& message, Body body) override;
    void finish(std::unique_lock<std::mutex>& lock, Pending& call, Outcome outcome);
    Result<void> on_output(std::uint64_t stream, Channel channel, std::string text);

    const std::string session_;
    const std::string path_;
    std::unique_ptr<rpc::BlockingLink> link_;

    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<Pending>> calls_;
    std::unordered_map<std::uint64_t, Ping> pings_;  // by number
    std::vector<Waiting*> followers_;
    std::uint64_t next_stream_ = 1;
    std::uint64_t next_ping_ = 1;
    std::size_t observed_ = 0;   // outstanding calls with an Observer
    std::size_t activity_ = 0;   // counts waits, so that the background thread stays away from a busy socket
    bool reading_ = false;
    bool lost_ = false;
    Error why_lost_;
    std::condition_variable background_wake_;
    std::thread background_;
};

// A call in the table. Its fields are guarded by the connection's mutex.
class Pending final : public Call {
public:
    Pending(std::shared_ptr<Connection> connection, std::uint64_t stream, std::shared_ptr<Observer> observer)
        : connection_(std::move(connection)), stream_(stream), observer_(std::move(observer)) {}

    bool done() const override;
    WaitEnd wait(Deadline deadline, Waiter& waiter) override;
    Outcome take_outcome() override;
    void cancel() override { connection_->cancel(stream_); }
    void abandon(Error error) override;
    Result<std::chrono::microseconds> ping(Deadline deadline) override { return connection_->ping_stream(stream_, deadline); }

private:
    friend class Connection;

    void deliver_output(std::unique_lock<std::mutex>& lock, Waiter& waiter);

    const std::shared_ptr<Connection> connection_;
    const std::uint64_t stream_;
    const std::shared_ptr<Observer> observer_;
    std::vector<Connection::Waiting*> waiters_;
    std::vector<Connection::Text> output_;
    Outcome outcome_;
    bool done_ = false;
};

}  // namespace rh::client
