#pragma once

// The driver for clients and workers: whole messages over a blocking socket (or TLS on one), without a thread of its own. Any thread may
// send. One thread at a time may read, and the owner decides which (client: leader/follower; worker: the lease). Answers
// pings and keeps credit by itself. When the connection is lost its owner may reopen() it, on which nothing of the lost one is
// continued: the owner knows what has to be said again. After fork() the child's copy refuses to send: the bytes would land in the middle of
// its parent's.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "net/transport.h"
#include "rpc/handshake.h"
#include "rpc/inbound.h"
#include "rpc/outbound.h"
#include "rpc/spin.h"

namespace rh::rpc {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

class BlockingLink : private Inbound::Handler {
public:
    ~BlockingLink() { stop(); }

    // Takes the whole messages that the link does not handle itself, on the reading thread.
    class Receiver {
    public:
        virtual Result<void> on_message(Message& message, Body body) = 0;
        // A body of that stream which had to wait for credit has been sent, or was dropped: the stream can take another. On
        // any thread, with the link's lock held: must not send.
        virtual void on_sent(std::uint64_t) {}

    protected:
        ~Receiver() = default;
    };

    enum class Read { progress, deadline, interrupted };

    // Upgrades with that request, sends `hello` and waits for the peer's. The Receiver sees everything that follows. With a `slice`, no read
    // waits longer than that (Read::interrupted), so that a signal between two looks is not lost.
    static Result<std::unique_ptr<BlockingLink>> open(net::Transport transport, Message& hello, Deadline deadline, Receiver& receiver,
                                                      std::chrono::milliseconds slice = {}, const std::string& request = upgrade_request());

    // Connects anew in place of a connection that was lost, by the thread that has the right to read. Nothing can be sent
    // meanwhile. The streams whose bodies were on their way out; the Receiver was told that they have gone.
    using Unsent = std::vector<std::pair<std::uint64_t, wire::Kind>>;
    Result<Unsent> reopen(net::Transport transport, Message& hello, Deadline deadline, const std::string& request = upgrade_request());
    // Counts connections: what was decided on one must not be said on the next, where that matters.
    std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
    // The peer said goodbye, or broke the protocol: there is no other connection to be had.
    bool is_final() const { return final_.load(std::memory_order_acquire); }
    // Says it to the peer, if that can still be done.
    void say_goodbye();
    // What the node's HELLO said of its keeper; 0: nothing.
    std::uint64_t keeper_pid() const { return keeper_pid_; }
    // Which node it is that greeted last; empty: it does not say.
    const std::string& node() const { return node_; }
    // Whether the node goes on with calls whose connection was lost.
    bool peer_resumes() const { return resumes_; }

    // These: any thread, waiting while the socket's buffer is full. Code::node_lost is the end of the connection; any
    // other Error concerns the message, of which nothing was sent.
    Result<void> send(Message& message, ByteView body = {});
    // `generation`: only on that connection; otherwise nothing is sent.
    Result<void> send_on(std::uint64_t generation, Message& message);
    Result<void> send_whole(Message& message, Body body);
    Result<void> send_whole(Message& message, const std::shared_ptr<const Body>& body);
    // What wire::append_message has made.
    Result<void> send_frame(ByteView frame);
    // As these, but it leaves with whatever is sent next, or limits::k_gather later, by a thread of the link's own. True when it
    // should go now, with flush_queued(): after a pause, or when much has gathered. They never wait for the socket, but
    // for a thread that does; `before_wait` is called before that.
    Result<bool> queue_whole(Message& message, const std::shared_ptr<const Body>& body);
    Result<bool> queue_frame(ByteView frame, const std::function<void()>& before_wait = {});
    void flush_queued();
    bool has_queued() const { return queued_.load(std::memory_order_relaxed); }

    // The reading thread: waits until something came and hands it to the Receiver. An Error is the end of the connection.
    Result<Read> read_some(Deadline deadline, bool expects_answer);
    // Waits until read_some would find something, without reading; needs no right to read.
    void wait_readable() const;
    // What is unsent of the stream's body is not wanted any more; the peer is told. Any thread.
    void abort_outgoing(std::uint64_t stream);
    // The same without telling the peer, who is about to hear of the stream from its beginning.
    void drop_outgoing(std::uint64_t stream);

    // Ends the connection from any thread: readers and senders return with an Error.
    void shutdown();
    // Before the Receiver goes: joins the link's own thread, which tells it of bodies that have gone.
    void stop();
    bool usable() const;

private:
    BlockingLink(net::Transport transport, Receiver& receiver);

    Result<void> shake_hands(Message& hello, Deadline deadline, const std::string& request);
    Result<bool> wait_until(Deadline deadline);
    // With write_mutex_ held: whether there is a connection.
    Result<void> check_open() const;
    // With write_mutex_ held.
    Result<void> flush();
    bool keep_for_company();
    void flush_later();
    Result<void> check_process() const;

    Result<void> on_message(Message& message, Body body) override;
    void on_room(std::uint64_t stream, std::uint64_t bytes) override;

    net::Transport transport_;
    std::optional<net::Transport> before_;  // kept until the next, because shutdown() may just be using its number
    std::atomic<int> fd_;
    Receiver& receiver_;
    const std::uint64_t owner_;  // fork_count() of the process that opened it
    std::chrono::milliseconds slice_{};
    bool greeted_ = false;  // the peer's HELLO came
    bool open_ = false;     // open() has returned: from here on the Receiver may be called
    std::uint64_t keeper_pid_ = 0;
    std::string node_;
    bool resumes_ = false;
    std::atomic<bool> final_{false};
    std::atomic<std::uint64_t> generation_{0};
    std::vector<std::pair<Message, Body>> early_;  // what followed the HELLO in the same read
    std::unique_ptr<std::byte[]> read_buffer_;
    Inbound inbound_;
    Spin spin_;

    std::mutex write_mutex_;
    std::atomic<bool> up_{false};  // changed with write_mutex_ held
    Outbound outbound_;
    std::chrono::steady_clock::time_point gathered_since_{};  // when the last that was queued left

    // The thread that sends what was queued and had no company.
    std::atomic<bool> queued_{false};
    std::mutex timer_mutex_;
    std::condition_variable timer_wake_;
    bool timer_set_ = false;
    bool timer_ends_ = false;
    std::thread timer_;
};

}  // namespace rh::rpc
