#include "client/connection.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/ids.h"
#include "base/limits.h"
#include "net/transport.h"
#include "rpc/handshake.h"
#include "wire/convert.h"

namespace rh::client {

namespace {

using Clock = std::chrono::steady_clock;
using Read = rpc::BlockingLink::Read;

constexpr std::string_view k_node_service = "_node";

// After this long without a waiting caller the background thread watches the socket for news nobody asked for.
constexpr std::chrono::milliseconds k_quiet{100};

// It goes into a line of HTTP, and is never part of a message.
Result<void> check_token(const std::string& token, bool needed) {
    if (token.empty() && needed)
        return fail(Error(Code::not_allowed, "over TCP a node wants a token, and none was given. Try: token=..., which create_token() makes on the node's own machine").with("started", "no"));
    const bool fine = token.size() <= limits::k_token_text_bytes_max && std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
    return fine ? Result<void>() : fail(Error(Code::not_allowed, "what was given as the token is none: a token has no spaces, lines or special characters").with("started", "no"));
}

}  // namespace

Result<std::shared_ptr<Client>> Client::connect(Options options, Deadline deadline) {
    auto connection = std::make_shared<Connection>(random_bytes(k_session_id_bytes));
    RH_TRY_VOID(connection->open(options, deadline));
    // The background thread and outstanding calls hold the connection itself; what callers hold closes it when they let go.
    Client* const face = connection.get();
    return std::shared_ptr<Client>(face, [connection = std::move(connection)](Client*) { connection->close(); });
}

Outcome call(Client& client, const Request& request, Waiter& waiter) {
    Result<std::shared_ptr<Call>> started = client.start(request, nullptr);
    if (!started) return Outcome::failed(std::move(started.error()));
    while ((*started)->wait({}, waiter) == WaitEnd::interrupted) (*started)->cancel(false);
    return (*started)->take_outcome();
}

Connection::Connection(std::string session) : session_(std::move(session)) {}

Connection::~Connection() {
    if (link_ != nullptr && !link_->usable()) {
        // A forked child: the thread is its parent's, and so is everything that it guards.
        if (background_.joinable()) background_.detach();
        return;
    }
    close();
    if (link_ != nullptr) link_->stop();
    // The last reference may fall on the background thread, at its very end.
    if (background_.joinable()) background_.detach();
}

Result<void> Connection::open(const Options& options, Deadline deadline) {
    if (!deadline) deadline = Clock::now() + limits::k_handshake_timeout;
    options_ = options;
    RH_TRY(endpoint_, net::Endpoint::parse(options.endpoint));
    RH_TRY_VOID(check_token(options.token, is_remote()));
    RH_TRY(net::Transport transport, net::connect(endpoint_, options.pin, *deadline));
    rpc::Message first = hello();
    RH_TRY(link_, rpc::BlockingLink::open(std::move(transport), first, deadline, *this, k_signal_slice, upgrade_request()));
    // Signals belong to the program's own threads, above all Ctrl-C to its main thread.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    background_ = std::thread([self = shared_from_this()] { self->background(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return {};
}

std::string Connection::upgrade_request() const {
    return rpc::upgrade_request(endpoint_.authority(), is_remote() ? std::string_view(options_.token) : std::string_view());
}

rpc::Message Connection::hello() const {
    rpc::Message message;
    wire::Hello& about = *message.mutable_hello();
    about.set_role(wire::CLIENT);
    about.set_session(session_);
    about.set_pid(static_cast<std::uint64_t>(::getpid()));
    about.set_software(options_.software);
    return message;
}

// All calls up to this one have ended here: their results need not be kept. Looked for where it costs nothing, and now and
// then. With the lock held.
std::uint64_t Connection::has_all_up_to(std::uint64_t stream) {
    if (calls_.empty()) {
        acknowledged_ = stream - 1;
    } else if (stream % 256 == 0) {
        acknowledged_ = std::min_element(calls_.begin(), calls_.end(), [](const auto& a, const auto& b) { return a.first < b.first; })->first - 1;
    }
    return acknowledged_;
}

Result<std::shared_ptr<Call>> Connection::start(const Request& request, std::shared_ptr<Observer> observer) {
    if (!link_->usable()) return fail(Error(Code::node_lost, "this connection belongs to the process that forked this one; open a new one").with("started", "no"));
    std::shared_ptr<Pending> call;
    std::uint64_t acknowledged = 0;
    {
        std::unique_lock lock(mutex_);
        // It ends within limits::k_resume_grace, one way or the other.
        if (down_ && request.before_wait) request.before_wait();
        up_wake_.wait(lock, [&] { return !down_ || lost_; });
        if (lost_) return fail(Error(why_lost_.code, why_lost_.message).with("started", "no"));
        if (calls_.size() >= limits::k_calls_per_connection_max)
            return fail(Error(Code::limit_exceeded, fmt::format("{} calls are outstanding on this connection, the most that are allowed: wait for some of them", calls_.size())).with("started", "no"));
        const bool observed = observer != nullptr;
        call = std::make_shared<Pending>(shared_from_this(), next_stream_++, std::move(observer), request.prefetch);
        std::size_t bytes = 0;
        for (const ByteView part : request.parts) bytes += part.size();
        call->sending_ = bytes > limits::k_chunk_bytes;
        if (request.deadline_ms != 0) call->due_ = due_in(request.deadline_ms);
        call->for_node_ = request.service == k_node_service;
        acknowledged = has_all_up_to(call->stream_);
        call->sent_ = !call->sending_;
        calls_.emplace(call->stream_, call);
        if (observed && ++observed_ == 1) background_wake_.notify_one();
    }
    rpc::Message message;
    message.set_kind(wire::CALL);
    message.set_stream(call->stream_);
    message.set_service(request.service.data(), request.service.size());
    message.set_method(request.method.data(), request.method.size());
    message.set_session(session_);
    message.set_sequence(call->stream_);
    message.set_deadline_ms(request.deadline_ms);
    message.set_prefetch(request.prefetch.value_or(1));
    if (request.kill) message.set_kill(true);
    for (const std::string_view parent : request.parents) message.add_parents(parent.data(), parent.size());
    message.set_acknowledged(acknowledged);
    const Result<void> sent = send_call(*call, message, request);
    if (sent) return std::shared_ptr<Call>(std::move(call));
    if (sent.error().code == Code::node_lost) {
        {
            const std::scoped_lock lock(mutex_);
            call->sent_ = false;
        }
        broke(sent.error());
        const std::scoped_lock lock(mutex_);
        // It is resumed with the others, or was already: the node says that it never began, and it is sent then.
        if (!lost_) return std::shared_ptr<Call>(std::move(call));
    }
    // The daemon has at most a part of it, which it throws away: this call has not started, whatever became of the others.
    {
        const std::scoped_lock lock(mutex_);
        calls_.erase(call->stream_);
        if (call->observer_ != nullptr && !call->done_) --observed_;
    }
    return fail(Error(sent.error().code, sent.error().message).with("started", "no"));
}

Result<void> Connection::send_call(Pending& call, rpc::Message& message, const Request& request) {
    Body body;
    body.encoding = request.encoding;
    std::size_t bytes = 0;
    for (const ByteView part : request.parts) bytes += part.size();
    body.bytes.reserve(bytes);
    for (const ByteView part : request.parts) body.add(part);
    if (call.sending_) return link_->send_whole(message, std::move(body));
    wire::describe_body(message, body);
    RH_TRY_VOID(wire::check_sendable(message, body.part_bytes.size()));
    wire::append_message(call.frame_, message, body.bytes.view());
    if (!request.gather) return link_->send_frame(call.frame_.view());
    RH_TRY(const bool now, link_->queue_frame(call.frame_.view(), request.before_wait));
    if (now) flush_wanted_.store(true, std::memory_order_relaxed);
    return {};
}

// --- waiting -------------------------------------------------------------------------------------------------------

bool Connection::lead(std::unique_lock<std::mutex>& lock, Deadline deadline, bool expects_answer, Read& read) {
    reading_ = true;
    lock.unlock();
    const Result<Read> got = link_->read_some(deadline, expects_answer);
    lock.lock();
    for (auto& [stream, outcome] : std::exchange(ended_, {})) {
        if (const std::shared_ptr<Pending> call = find(stream)) finish(lock, *call, std::move(outcome));
    }
    if (!got) {
        lock.unlock();
        broke(got.error());
        lock.lock();
    }
    reading_ = false;
    if (down_) background_wake_.notify_one();
    read = got.value_or(Read::progress);
    return got.has_value();
}

void Connection::flush() {
    if (flush_wanted_.load(std::memory_order_relaxed) && flush_wanted_.exchange(false)) link_->flush_queued();
}

// This thread will not read for a while: if nobody else does, another one must begin.
void Connection::hand_over() {
    if (reading_) return;
    if (background_needed()) {
        if (!napping_ || !followers_.empty()) background_wake_.notify_one();
    } else if (!followers_.empty()) {
        followers_.front()->poked = true;
        followers_.front()->wake.notify_one();
    }
}

bool Pending::done() const {
    const std::scoped_lock lock(connection_->mutex_);
    return done_;
}

WaitEnd Pending::wait(Deadline deadline, Waiter& waiter) {
    return connection_->wait_among(waiters_, deadline, &waiter, [&](std::unique_lock<std::mutex>& lock) {
        // It lets go of the lock, and more may come meanwhile: the last lines stand before the result.
        while (!output_.empty()) deliver_output(lock, waiter);
        return done_;
    });
}

WaitEnd Pending::wait_items(Deadline deadline, Waiter& waiter) {
    return connection_->wait_among(waiters_, deadline, &waiter, [&](std::unique_lock<std::mutex>& lock) {
        while (!output_.empty()) deliver_output(lock, waiter);
        return done_ || !items_.empty();
    });
}

void Pending::deliver_output(std::unique_lock<std::mutex>& lock, Waiter& waiter) {
    std::size_t bytes = 0;
    connection_->hand_over();
    while (!output_.empty()) {
        const std::vector<Connection::Text> texts = std::exchange(output_, {});
        lock.unlock();
        for (const auto& [channel, text] : texts) {
            waiter.on_output(channel, text);
            bytes += text.size();
        }
        lock.lock();
    }
    lock.unlock();
    connection_->took_output(*this, bytes);
    lock.lock();
}

Outcome Pending::take_outcome() {
    const std::scoped_lock lock(connection_->mutex_);
    return std::move(outcome_);
}

void Pending::abandon(Error error) {
    // The worker aborts a result that is on its way; one that comes all the same is received and thrown away.
    cancel(false);
    std::unique_lock lock(connection_->mutex_);
    if (!done_) connection_->finish(lock, *this, Outcome::failed(Connection::lost_call(std::move(error), *this)));
    // One who waits for this very call may be the one who reads, and would go on until something comes.
    const bool nudge = connection_->reading_ && !(waiters_.empty() && senders_.empty());
    lock.unlock();
    if (nudge) connection_->nudge_reader();
}

// --- what arrives, on the reading thread ---------------------------------------------------------------------------

Result<void> Connection::on_message(rpc::Message& message, Body body) {
    switch (message.kind()) {
        case wire::RESULT:
            if (message.outcome() == wire::FAILED && send_again(message)) return {};
            if (body.bytes.size() > limits::k_body_window_bytes) has_taken(message.stream());
            // Those that came together are told of under one lock, by lead().
            ended_.emplace_back(message.stream(), wire::outcome_of(message, std::move(body)));
            return {};
        case wire::ITEM: return on_items(message, std::move(body));
        case wire::CREDIT:
        case wire::CANCEL: on_item_credit(message); return {};
        case wire::ABORT: {
            if (message.channel() == wire::ITEMS) return {};  // of an item: the call's own end follows
            std::unique_lock lock(mutex_);
            const auto found = calls_.find(message.stream());
            if (found == calls_.end()) return {};
            const std::shared_ptr<Pending> call = found->second;
            finish(lock, *call, Outcome::failed(wire::error_of(message)));
            return {};
        }
        case wire::OUTPUT:
            return on_output(message, std::string(as_text(body.bytes.view())));
        case wire::PONG: {
            const std::scoped_lock lock(mutex_);
            if (const auto found = pings_.find(message.number()); found != pings_.end()) found->second.answered = true;
            poke(followers_);
            return {};
        }
        default: return {};  // of a feature that this build does not know
    }
}

Result<void> Connection::on_output(const rpc::Message& message, std::string text) {
    const auto channel = static_cast<Channel>(message.channel());
    std::shared_ptr<Pending> call;
    std::shared_ptr<Observer> observer;
    {
        const std::scoped_lock lock(mutex_);
        call = find(message.stream());
        if (call == nullptr) return {};
        (message.number() != 0 ? call->pending_output_ : call->pending_followed_) += text.size();
        if (message.number() != 0) call->output_number_ = message.number();
        if (message.stdout_offset() != 0) call->file_offsets_[0] = message.stdout_offset();
        if (message.stderr_offset() != 0) call->file_offsets_[1] = message.stderr_offset();
        if (!call->waiters_.empty() || call->observer_ == nullptr) {
            call->output_.push_back({channel, std::move(text)});
            poke(call->waiters_);
            return {};
        }
        observer = call->observer_;
    }
    observer->on_output(channel, text);
    took_output(*call, text.size());
    return {};
}

std::shared_ptr<Pending> Connection::find(std::uint64_t stream) {
    const auto found = calls_.find(stream);
    return found == calls_.end() ? nullptr : found->second;
}

void Connection::poke(const std::vector<Waiting*>& threads) {
    for (Waiting* waiting : threads) {
        waiting->poked = true;
        waiting->wake.notify_one();
    }
}

void Connection::finish(std::unique_lock<std::mutex>& lock, Pending& call, Outcome outcome) {
    call.outcome_ = std::move(outcome);
    call.done_ = true;
    poke(call.waiters_);
    poke(call.senders_);
    const std::shared_ptr<Observer> observer = call.observer_;
    if (observer != nullptr) --observed_;
    calls_.erase(call.stream_);
    // An item that was sent while the end came in: nobody will grant it room.
    const bool unsent = call.sending_;
    if (observer == nullptr && !unsent) return;
    lock.unlock();
    if (unsent) link_->abort_outgoing(call.stream_);
    if (observer != nullptr) observer->on_done();
    lock.lock();
}

Error Connection::lost_call(Error why, const Pending& call) {
    const bool has_begun = call.output_number_ != 0 || call.item_number_ != 0;
    if (call.sent_ && !has_begun) return why;
    std::erase_if(why.context, [](const auto& fact) { return fact.first == "started"; });
    // Of a call that is not whole the daemon throws away what it has.
    return std::move(why).with("started", has_begun ? "yes" : "no");
}

void Connection::lose(const Error& why) {
    link_->shutdown();
    std::unique_lock lock(mutex_);
    if (lost_) return;
    lost_ = true;
    why_lost_ = why;
    up_wake_.notify_all();
    while (!calls_.empty()) {
        const std::shared_ptr<Pending> call = calls_.begin()->second;
        finish(lock, *call, Outcome::failed(lost_call(why, *call)));
    }
    poke(followers_);
    background_wake_.notify_one();
}

// --- control -------------------------------------------------------------------------------------------------------

void Connection::cancel(std::uint64_t stream, bool kill) {
    if (!link_->usable()) return;
    {
        const std::scoped_lock lock(mutex_);
        if (const std::shared_ptr<Pending> call = find(stream)) {
            call->cancel_asked_ = true;
            call->kill_asked_ = call->kill_asked_ || kill;
        }
        if (down_) return;  // it is said when the call is resumed
    }
    rpc::Message message;
    message.set_kind(wire::CANCEL);
    message.set_stream(stream);
    if (kill) message.set_kill(true);
    link_->abort_outgoing(stream);
    if (const Result<void> sent = link_->send(message); !sent && link_->usable()) broke(sent.error());
}

void Connection::took_output(Pending& call, std::size_t bytes) {
    std::uint64_t grant = 0;
    std::uint64_t generation = 0;
    {
        const std::scoped_lock lock(mutex_);
        call.ungranted_output_ += bytes;
        // What is left of the window takes whatever the worker sends at once.
        if (call.done_ || call.ungranted_output_ < limits::k_output_window_bytes / 4) return;
        grant = std::exchange(call.ungranted_output_, 0);
        // As the node divides it.
        const std::uint64_t followed = std::min(call.pending_followed_, grant);
        call.pending_followed_ -= followed;
        call.pending_output_ -= std::min(call.pending_output_, grant - followed);
        if (down_) {
            // Said once the call is resumed, unless the node hears it then.
            call.output_owed_ += grant;
            return;
        }
        generation = link_->generation();
    }
    rpc::Message credit;
    credit.set_kind(wire::CREDIT);
    credit.set_stream(call.stream_);
    credit.set_channel(wire::STDOUT);
    credit.set_number(grant);
    if (const Result<void> sent = link_->send_on(generation, credit); !sent && link_->usable()) broke(sent.error());
}

// The node answers at once, and whoever reads looks whether its own call is done.
void Connection::nudge_reader() {
    rpc::Message message;
    message.set_kind(wire::PING);
    message.set_number(0);  // pings that somebody waits for count from 1
    if (const Result<void> sent = link_->send(message); !sent && link_->usable()) broke(sent.error());
}

Result<std::chrono::microseconds> Connection::ping(Deadline deadline) { return ping_stream(0, deadline); }

Result<std::chrono::microseconds> Connection::ping_stream(std::uint64_t stream, Deadline deadline) {
    if (!link_->usable()) return fail(Error(Code::node_lost, "this connection belongs to the process that forked this one; open a new one").with("started", "no"));
    rpc::Message message;
    message.set_kind(wire::PING);
    message.set_stream(stream);
    std::uint64_t number = 0;
    {
        const std::scoped_lock lock(mutex_);
        number = next_ping_++;
        pings_.emplace(number, Ping{stream});
    }
    message.set_number(number);
    const auto start = Clock::now();
    if (const Result<void> sent = link_->send(message); !sent) {
        broke(sent.error());
        const std::scoped_lock lock(mutex_);
        // Otherwise it is sent again on the next connection.
        if (!down_) {
            pings_.erase(number);
            return fail(sent.error());
        }
    }
    Waiting waiting;
    const WaitEnd end = wait(waiting, deadline, nullptr, [&](std::unique_lock<std::mutex>&) { return pings_[number].answered || lost_; });
    const std::scoped_lock lock(mutex_);
    pings_.erase(number);
    if (lost_) return fail(why_lost_);
    if (end != WaitEnd::done) return fail(Code::timeout, "the ping was not answered in time");
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
}

bool Connection::alive() const {
    if (!link_->usable()) return false;
    const std::scoped_lock lock(mutex_);
    return !lost_;
}

void Connection::close() {
    if (link_ == nullptr || !link_->usable()) return;
    {
        const std::scoped_lock lock(mutex_);
        closing_ = true;
    }
    link_->say_goodbye();
    lose(Error(Code::node_lost, "the connection was closed on this side").with("started", "unknown"));
    std::thread background;
    {
        const std::scoped_lock lock(mutex_);
        if (background_.get_id() != std::this_thread::get_id()) background.swap(background_);
    }
    if (background.joinable()) background.join();
}

std::string Connection::session() const {
    std::string hex;
    for (const char byte : session_) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return hex;
}

// --- the background thread -----------------------------------------------------------------------------------------

void Connection::background() {
    std::unique_lock lock(mutex_);
    std::size_t seen = activity_;
    std::size_t napped = activity_;
    bool quiet = false;
    while (!lost_) {
        if (down_) {
            // Whoever reads notices soon, and lets go of the right to.
            background_wake_.wait(lock, [&] { return !reading_ || lost_; });
            if (!lost_) make_anew(lock);
            continue;
        }
        if (background_needed() && followers_.empty() && napped != activity_) {
            napped = activity_;
            napping_ = true;
            background_wake_.wait_for(lock, k_nap, [&] { return lost_ || down_ || !followers_.empty(); });
            napping_ = false;
            continue;
        }
        if (background_needed()) {
            Read read = Read::progress;
            // Where many wait, spinning would take the processor from those who have their answer.
            lead(lock, {}, followers_.size() < k_followers_many, read);
            if (!background_needed()) hand_over();
            quiet = false;
            continue;
        }
        // A caller's own reads come first: while callers come and go, stay away from the socket altogether.
        if (!quiet) {
            const bool woken = background_wake_.wait_for(lock, k_quiet, [&] { return lost_ || down_ || background_needed(); });
            if (woken || reading_ || !followers_.empty() || std::exchange(seen, activity_) != activity_) continue;
        }
        // Quiet: watch for what nobody waits for (a lost daemon, above all) without taking the right to read.
        lock.unlock();
        link_->wait_readable();
        lock.lock();
        quiet = !lost_ && !down_ && !reading_ && followers_.empty() && seen == activity_;
        if (!quiet) continue;
        Read read = Read::progress;
        lead(lock, Clock::now(), false, read);
    }
}

}  // namespace rh::client
