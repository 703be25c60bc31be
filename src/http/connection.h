#pragma once

// One HTTP connection's bytes: read by one coroutine, each time that it is asked to, consumed and answered by another, which owns
// what they mean (server.h). While a request is served the reader watches, so that a peer that hangs up is noticed. On the
// daemon's executor; close() ends both.

#include <chrono>
#include <map>
#include <memory>

#include "net/accepted.h"
#include "net/task_group.h"

namespace rh::http {

using Clock = std::chrono::steady_clock;

// What all connections of a server share.
struct Shared {
    explicit Shared(const net::asio::any_io_executor& executor);

    const net::asio::any_io_executor executor;
    const std::unique_ptr<std::byte[]> scratch;  // that all read into in turn
    net::Event bell;                             // rung when something is due sooner than before
    Clock::time_point waits_for = Clock::time_point::max();
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::map<int, std::uint64_t> answers;  // by status
    std::size_t connections = 0;
    std::size_t strangers = 0;        // of those, the ones by TCP that have shown no token
    std::uint64_t waiting_bytes = 0;  // of bodies that are kept until they are whole
};

class Connection {
public:
    Connection(net::Accepted accepted, Shared& shared);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    const net::Peer& peer() const { return peer_; }
    // Null: the Unix socket.
    const net::Door* door() const { return door_.get(); }
    Shared& shared() { return shared_; }
    // A token came that this node knows.
    void welcome();

    // The reader: runs until the connection ends. The pointer is shared with the coroutine that answers.
    static net::asio::awaitable<void> read(std::shared_ptr<Connection> connection);

    // What has come and was not consumed. Valid until the next wait.
    ByteView unread() const { return unread_.view().subspan(at_); }
    void consume(std::size_t bytes);
    // Waits for more than there is now; false at the end of what comes, or when `timeout` is over.
    net::asio::awaitable<bool> more(std::chrono::milliseconds timeout);
    // Has the reader look for what comes beside a call, within a bound: the next request, or the end.
    void watch();
    // The peer has closed, or sends no more.
    bool hung_up() const { return hung_up_; }
    bool timed_out() const { return timed_out_; }

    // Waits until ring() or more bytes or the end. False when `deadline` came first.
    net::asio::awaitable<bool> wait(Clock::time_point deadline = Clock::time_point::max());
    void ring() { bell_.set(); }

    // Writes all of it; false when the peer is gone, or reads nothing for so long (0: for ever).
    net::asio::awaitable<bool> write(ByteView bytes, std::chrono::milliseconds timeout);

    // When it is to be ended, or told so (Server::watch).
    Clock::time_point due() const { return due_; }
    void on_due();

    void close();
    // Gives the stream away, unless the reader waits on it; nothing but the destructor may follow.
    std::unique_ptr<net::Stream> release();

private:
    void set_due(Clock::time_point due);
    void allow(std::size_t bytes);

    std::unique_ptr<net::Stream> stream_;
    net::Peer peer_;
    const std::shared_ptr<const net::Door> door_;  // shared with the listener, which may be closed before
    Shared& shared_;
    Bytes unread_;
    std::size_t at_ = 0;
    std::size_t allowed_bytes_ = 0;  // for the next read; 0: none is asked for
    net::Event bell_;
    net::Event asked_;
    Clock::time_point due_ = Clock::time_point::max();
    bool stranger_;
    bool reading_ = false;
    bool writing_ = false;
    bool hung_up_ = false;
    bool timed_out_ = false;
    bool closed_ = false;
};

}  // namespace rh::http
