#include "rpc/blocking_link.h"

#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

#include "base/fork_count.h"
#include "base/limits.h"
#include "wire/convert.h"

namespace rh::rpc {

namespace {

using Clock = std::chrono::steady_clock;

Error lost(std::string_view how) {
    return Error(Code::node_lost, fmt::format("the connection to the node was lost: {}", how)).with("started", "unknown");
}

}  // namespace

BlockingLink::BlockingLink(net::Transport transport, Receiver& receiver)
    : transport_(std::move(transport)),
      fd_(transport_.fd()),
      receiver_(receiver),
      owner_(fork_count()),
      read_buffer_(new std::byte[limits::k_read_buffer_bytes]),
      inbound_(*this) {
    outbound_.report_finished();
}

Result<std::unique_ptr<BlockingLink>> BlockingLink::open(net::Transport transport, Message& hello, Deadline deadline, Receiver& receiver,
                                                         std::chrono::milliseconds slice, const std::string& request) {
    std::unique_ptr<BlockingLink> link(new BlockingLink(std::move(transport), receiver));
    if (slice.count() > 0 && link->transport_.set_slice(slice)) link->slice_ = slice;
    RH_TRY_VOID(link->shake_hands(hello, deadline, request));
    link->open_ = true;
    link->up_ = true;
    return link;
}

Result<BlockingLink::Unsent> BlockingLink::reopen(net::Transport transport, Message& hello, Deadline deadline, const std::string& request) {
    RH_TRY_VOID(check_process());
    shutdown();  // whoever still writes to the lost one must let go of the lock
    Unsent unsent;
    {
        const std::scoped_lock lock(write_mutex_);
        up_ = false;
        before_ = std::move(transport_);
        transport_ = std::move(transport);
        fd_ = transport_.fd();
        if (slice_.count() > 0 && !transport_.set_slice(slice_)) slice_ = {};
        unsent = outbound_.reset();
        queued_.store(false, std::memory_order_relaxed);
        generation_.fetch_add(1, std::memory_order_acq_rel);
        for (const auto& [stream, kind] : unsent) receiver_.on_sent(stream);
    }
    inbound_.reset();
    greeted_ = open_ = false;
    early_.clear();
    RH_TRY_VOID(shake_hands(hello, deadline, request));
    open_ = true;
    const std::scoped_lock lock(write_mutex_);
    up_ = true;
    return unsent;
}

void BlockingLink::say_goodbye() {
    if (!usable() || !up_) return;
    Message goodbye;
    goodbye.set_kind(wire::GOODBYE);
    wire::set_error(goodbye, Error(Code::node_lost, "the peer has closed the connection"));
    const std::unique_lock lock(write_mutex_, std::try_to_lock);
    // A sender that waits for the peer to read would be waited for here.
    if (!lock.owns_lock() || !outbound_.pending().empty()) return;
    outbound_.send(goodbye);
    const ByteView bytes = outbound_.pending();
    static_cast<void>(transport_.send(bytes));
    outbound_.consume(bytes.size());
}

Result<void> BlockingLink::shake_hands(Message& hello, Deadline deadline, const std::string& request) {
    hello.set_kind(wire::HELLO);
    add_features(*hello.mutable_hello());
    {
        const std::scoped_lock lock(write_mutex_);
        Bytes first(as_byte_view(request));
        wire::append_message(first, hello, {});
        for (ByteView rest = first.view(); !rest.empty();) {
            const auto count = transport_.send(rest);
            if (count < 0 && errno != EINTR) return fail(lost(os_error("send", errno).message));
            if (count > 0) rest = rest.subspan(static_cast<std::size_t>(count));
        }
    }
    std::string head;
    while (!greeted_) {
        RH_TRY(const bool ready, wait_until(deadline));
        if (!ready) return fail(Code::timeout, "the node did not answer the handshake in time: is its daemon overloaded or stopped?");
        const auto count = transport_.receive(read_buffer_.get(), limits::k_read_buffer_bytes, MSG_DONTWAIT);
        if (count == 0) return fail(lost("the daemon closed it during the handshake"));
        if (count < 0) {
            if (errno == EAGAIN || errno == EINTR) continue;
            return fail(lost(os_error("recv", errno).message));
        }
        ByteView came(read_buffer_.get(), static_cast<std::size_t>(count));
        if (head.find("\r\n\r\n") == std::string::npos) {
            const std::size_t before = head.size();
            head += as_text(came);
            const std::size_t end = head.find("\r\n\r\n");
            if (end == std::string::npos) {
                if (head.size() > limits::k_http_head_bytes_max) return fail(Code::protocol, "the server's answer has no end: is it a Roundhouse daemon?");
                continue;
            }
            RH_TRY_VOID(check_upgrade_answer(head));
            came = came.subspan(end + 4 - before);
            head.resize(end + 4);
        }
        RH_TRY_VOID(inbound_.feed(came));
    }
    return {};
}

Result<void> BlockingLink::check_process() const {
    if (fork_count() == owner_) return {};
    return fail(Error(Code::node_lost, "this connection belongs to the process that forked this one; open a new one").with("started", "no"));
}

bool BlockingLink::usable() const { return fork_count() == owner_; }

Result<void> BlockingLink::check_open() const {
    return up_.load(std::memory_order_relaxed) ? Result<void>() : fail(lost("it is being made anew"));
}

Result<void> BlockingLink::flush() {
    if (has_queued()) queued_.store(false, std::memory_order_relaxed);
    for (ByteView rest = outbound_.pending(); !rest.empty(); rest = outbound_.pending()) {
        const auto count = transport_.send(rest);
        if (count < 0) {
            if (errno == EINTR) continue;
            up_ = false;
            return fail(lost(os_error("send", errno).message));
        }
        outbound_.consume(static_cast<std::size_t>(count));
    }
    if (outbound_.has_finished()) {
        for (const std::uint64_t stream : outbound_.take_finished()) receiver_.on_sent(stream);
    }
    return {};
}

Result<void> BlockingLink::send(Message& message, ByteView body) {
    RH_TRY_VOID(check_process());
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    outbound_.send(message, body);
    return flush();
}

Result<void> BlockingLink::send_on(std::uint64_t generation, Message& message) {
    RH_TRY_VOID(check_process());
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    if (generation != generation_.load(std::memory_order_relaxed)) return {};
    outbound_.send(message);
    return flush();
}

Result<void> BlockingLink::send_whole(Message& message, Body body) {
    RH_TRY_VOID(check_process());
    RH_TRY_VOID(wire::check_sendable(message, body.part_bytes.size()));
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    outbound_.send_whole(message, std::move(body));
    return flush();
}

Result<void> BlockingLink::send_whole(Message& message, const std::shared_ptr<const Body>& body) {
    RH_TRY_VOID(check_process());
    RH_TRY_VOID(wire::check_sendable(message, body->part_bytes.size()));
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    outbound_.send_whole(message, body);
    return flush();
}

Result<void> BlockingLink::send_frame(ByteView frame) {
    RH_TRY_VOID(check_process());
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    outbound_.send_frame(frame);
    return flush();
}

Result<bool> BlockingLink::queue_frame(ByteView frame, const std::function<void()>& before_wait) {
    RH_TRY_VOID(check_process());
    std::unique_lock lock(write_mutex_, std::try_to_lock);
    if (!lock.owns_lock()) {
        // Whoever has it may be in the middle of a large body, and the peer may not be reading.
        if (before_wait) before_wait();
        lock.lock();
    }
    RH_TRY_VOID(check_open());
    outbound_.send_frame(frame);
    return !keep_for_company();
}

Result<bool> BlockingLink::queue_whole(Message& message, const std::shared_ptr<const Body>& body) {
    RH_TRY_VOID(check_process());
    RH_TRY_VOID(wire::check_sendable(message, body->part_bytes.size()));
    const std::scoped_lock lock(write_mutex_);
    RH_TRY_VOID(check_open());
    outbound_.send_whole(message, body);
    return !keep_for_company();
}

// With write_mutex_ held. True when what is queued may wait a little.
bool BlockingLink::keep_for_company() {
    queued_.store(true, std::memory_order_relaxed);
    const auto now = Clock::now();
    if (now - gathered_since_ >= limits::k_gather || outbound_.pending_bytes() >= limits::k_gather_bytes) return false;
    const std::scoped_lock lock(timer_mutex_);
    if (std::exchange(timer_set_, true)) return true;
    if (timer_.joinable()) {
        timer_wake_.notify_one();
        return true;
    }
    // Signals belong to the program's own threads.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        timer_ = std::thread([this] { flush_later(); });
    } catch (const std::system_error&) {
        timer_set_ = false;  // no thread is to be had: nothing can wait
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return timer_set_;
}

void BlockingLink::flush_queued() {
    if (!usable()) return;
    const std::scoped_lock lock(write_mutex_);
    if (!up_) return queued_.store(false, std::memory_order_relaxed);
    gathered_since_ = Clock::now();
    // A lost connection shows itself to the reader.
    static_cast<void>(flush());
}

void BlockingLink::flush_later() {
    std::unique_lock lock(timer_mutex_);
    while (!timer_ends_) {
        timer_wake_.wait(lock, [&] { return timer_set_ || timer_ends_; });
        timer_wake_.wait_for(lock, limits::k_gather, [&] { return timer_ends_; });
        timer_set_ = false;
        lock.unlock();
        if (has_queued()) flush_queued();
        lock.lock();
    }
}

void BlockingLink::stop() {
    if (!usable()) {
        // A forked child: the thread is its parent's.
        if (timer_.joinable()) timer_.detach();
        return;
    }
    {
        const std::scoped_lock lock(timer_mutex_);
        timer_ends_ = true;
        timer_wake_.notify_one();
    }
    if (timer_.joinable()) timer_.join();
}

void BlockingLink::abort_outgoing(std::uint64_t stream) {
    if (!usable()) return;
    const std::scoped_lock lock(write_mutex_);
    const std::optional<wire::Kind> dropped = outbound_.drop(stream);
    if (!dropped) return;
    receiver_.on_sent(stream);
    Message abort;
    abort.set_kind(wire::ABORT);
    abort.set_stream(stream);
    if (*dropped == wire::ITEM) abort.set_channel(wire::ITEMS);
    wire::set_error(abort, Error(Code::cancelled, "the call was cancelled while its data was on the way"));
    if (!up_) return;
    outbound_.send(abort);
    // A lost connection shows itself to the reader.
    static_cast<void>(flush());
}

void BlockingLink::drop_outgoing(std::uint64_t stream) {
    if (!usable()) return;
    const std::scoped_lock lock(write_mutex_);
    if (outbound_.drop(stream)) receiver_.on_sent(stream);
}

Result<bool> BlockingLink::wait_until(Deadline deadline) {
    if (transport_.has_more()) return true;
    pollfd poll{transport_.fd(), POLLIN, 0};
    int timeout_ms = -1;
    if (deadline) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
        timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000'000));
    }
    const int ready = ::poll(&poll, 1, timeout_ms);
    if (ready < 0 && errno != EINTR) return fail(lost(os_error("poll", errno).message));
    return ready > 0;
}

Result<BlockingLink::Read> BlockingLink::read_some(Deadline deadline, bool expects_answer) {
    RH_TRY_VOID(check_process());
    if (!early_.empty()) {
        for (auto& [message, body] : std::exchange(early_, {})) RH_TRY_VOID(receiver_.on_message(message, std::move(body)));
        return Read::progress;
    }
    ssize_t count = -1;
    const auto look = [&] {
        count = transport_.receive(read_buffer_.get(), limits::k_read_buffer_bytes, MSG_DONTWAIT);
        return count >= 0 || (errno != EAGAIN && errno != EINTR);
    };
    if (!(expects_answer && spin_.until(look))) {
        const auto start = Clock::now();
        // The socket's own limit ends the wait early enough for a deadline that is farther off, without another system call.
        if (deadline && (slice_.count() == 0 || *deadline - start < slice_)) {
            RH_TRY(const bool ready, wait_until(deadline));
            if (!ready) return Clock::now() >= *deadline ? Read::deadline : Read::interrupted;
        }
        count = transport_.receive(read_buffer_.get(), limits::k_read_buffer_bytes, 0);
        if (expects_answer) spin_.waited(Clock::now() - start);
    }
    if (count < 0) {
        if (errno == EINTR || errno == EAGAIN) return Read::interrupted;
        return fail(lost(os_error("recv", errno).message));
    }
    if (count == 0) return fail(lost(inbound_.at_boundary() ? "the daemon closed it" : "the daemon closed it in the middle of a message"));
    const Result<void> fed = inbound_.feed({read_buffer_.get(), static_cast<std::size_t>(count)});
    if (!fed) {
        if (fed.error().code != Code::node_lost) final_.store(true, std::memory_order_release);
        return fail(fed.error());
    }
    return Read::progress;
}

void BlockingLink::wait_readable() const {
    if (transport_.has_more()) return;
    pollfd poll{transport_.fd(), POLLIN, 0};
    ::poll(&poll, 1, -1);
}

void BlockingLink::shutdown() {
    if (usable()) ::shutdown(fd_.load(), SHUT_RDWR);
}

Result<void> BlockingLink::on_message(Message& message, Body body) {
    if (!greeted_ && message.kind() != wire::HELLO && message.kind() != wire::GOODBYE)
        return fail(Code::protocol, "the node's first message is not its HELLO: is it a Roundhouse daemon?");
    switch (message.kind()) {
        case wire::HELLO:
            greeted_ = true;
            keeper_pid_ = message.hello().keeper_pid();
            node_ = message.hello().node();
            resumes_ = can_resume(message.hello());
            return check_features(message.hello());
        case wire::GOODBYE:
            final_.store(true, std::memory_order_release);
            return fail(wire::error_of(message));
        case wire::PING:
            if (message.stream() == 0) {
                Message pong;
                pong.set_kind(wire::PONG);
                pong.set_number(message.number());
                return send(pong);
            }
            break;
        case wire::CREDIT:
            if (message.channel() == wire::BODY) {
                const std::scoped_lock lock(write_mutex_);
                outbound_.grant(message.stream(), message.number());
                return flush();
            }
            break;
        case wire::RESULT:
        case wire::ABORT:
            // The call is over. If its own body was still on the way, nobody will take the rest or grant room for it.
            if (message.kind() == wire::RESULT || message.channel() != wire::ITEMS) abort_outgoing(message.stream());
            break;
        default: break;
    }
    if (open_) return receiver_.on_message(message, std::move(body));
    // The owner does not have the link yet, and could not answer.
    early_.emplace_back(std::move(message), std::move(body));
    return {};
}

void BlockingLink::on_room(std::uint64_t stream, std::uint64_t bytes) {
    Message credit;
    credit.set_kind(wire::CREDIT);
    credit.set_stream(stream);
    credit.set_number(bytes);
    // A lost connection shows itself to the reader at its next read.
    static_cast<void>(send(credit));
}

}  // namespace rh::rpc
