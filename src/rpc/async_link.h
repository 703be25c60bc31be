#pragma once

// The driver for the daemon: messages over a net::Stream on its executor. Sending never waits: it goes to the socket at
// once where that takes it, and otherwise to a writer coroutine. run() reads until the end. While one link's bytes are
// being read, what is sent to any link of the same Cork is gathered and leaves in one write per link.

#include <memory>
#include <vector>

#include "net/stream.h"
#include "net/task_group.h"
#include "rpc/inbound.h"
#include "rpc/outbound.h"

namespace rh::rpc {

class AsyncLink;

// Shared by the links of one daemon: who has something to flush, and the scratch buffer that all read into in turn.
class Cork {
public:
    Cork();

    std::span<std::byte> scratch() { return {scratch_.get(), scratch_bytes_}; }
    void hold() { ++held_; }
    void release();

private:
    friend class AsyncLink;

    std::unique_ptr<std::byte[]> scratch_;
    std::size_t scratch_bytes_;
    std::vector<AsyncLink*> waiting_;
    int held_ = 0;
};

class AsyncLink {
public:
    // All three outlive the link.
    AsyncLink(std::unique_ptr<net::Stream> stream, Inbound::Handler& handler, Cork& cork, const net::asio::any_io_executor& executor);
    AsyncLink(const AsyncLink&) = delete;
    AsyncLink& operator=(const AsyncLink&) = delete;
    ~AsyncLink();

    // Feeds `leftover`, then reads until the peer closes, breaks the protocol, or close(). Returns why.
    net::asio::awaitable<Error> run(Bytes leftover);
    // Bytes that stand before the first frame: the answer to the Upgrade.
    void send_raw(std::string_view text);
    void send(Message& message, ByteView body = {});
    void send_whole(Message& message, Body body);
    void grant(std::uint64_t stream, std::uint64_t bytes);
    void drop_outgoing(std::uint64_t stream) { outbound_.drop(stream); }
    void forget_incoming(std::uint64_t stream) { inbound_.forget(stream); }
    // Ends run() soon; what is unsent is lost.
    void close();
    net::asio::awaitable<void> stop();

    std::size_t unsent_bytes() const { return raw_.size() + outbound_.pending_bytes(); }

private:
    friend class Cork;

    void flush();
    // Writes what the socket takes; false when the rest must wait.
    bool write_now();
    net::asio::awaitable<void> write_later();

    std::unique_ptr<net::Stream> stream_;
    Inbound inbound_;
    Outbound outbound_;
    Bytes raw_;
    Cork& cork_;
    net::TaskGroup tasks_;
    bool corked_ = false;
    bool writing_ = false;
    bool closed_ = false;
};

}  // namespace rh::rpc
