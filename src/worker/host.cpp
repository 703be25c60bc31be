#include "worker/host.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fmt/format.h>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <unordered_map>

#include "base/deadline.h"
#include "base/limits.h"
#include "net/unix.h"
#include "rpc/blocking_link.h"
#include "wire/convert.h"
#include "worker/alarm.h"
#include "worker/stacks.h"

namespace rh::worker {

namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

// What Host::limit() was told about a service.
struct Limit {
    std::size_t concurrency = 0;
    std::size_t queue = 0;
    std::size_t running = 0;
    std::size_t waiting = 0;
};

// Threads of serve() are in one of three states: reading (one of them, `reading_`), running a call, or idle. The reader
// that takes a call keeps the right to read while it runs it: `held_run_` is then that run's number, and the watcher, one
// of the idle threads, takes the right away when it sees the same number for a tick.
class HostImpl final : public Host, private rpc::BlockingLink::Receiver {
public:
    HostImpl(Options options, Runner& runner)
        : options_(std::move(options)), runner_(runner), exchange_([this](std::uint64_t id) { runner_.room(id); }),
          stacks_([this] { return runner_.stacks(); }, [this](std::uint64_t id, Outcome outcome) { send_result(id, std::move(outcome)); }) {}
    ~HostImpl() override {
        stop();
        stacks_.stop();
        if (link_ != nullptr) link_->stop();
    }

    Result<void> open();
    Result<void> serve() override;
    void serve_more() override;
    bool output(std::uint64_t id, Channel channel, std::string_view text) override { return exchange_.output(id, channel, text); }
    void finish(std::uint64_t id, Outcome outcome) override;
    Exchange& exchange() override { return exchange_; }
    void limit(const std::string& service, std::size_t concurrency, std::size_t queue) override;
    void stop() override;

private:
    void work(Lock& lock);
    // With `pending`, calls that could not begin yet, only for a moment.
    void read_once(Lock& lock, bool pending);
    bool has_runnable() const;
    std::optional<Incoming> take_runnable();
    bool is_nested(const Incoming& call) const;
    bool is_full(const Limit& limit, const Incoming& call) const;
    bool may_wait(const Limit& limit, const Incoming& call) const;
    void run_next(Lock& lock, bool holding);
    // The call has ended, and no longer counts against its service's limit. With the lock held.
    void release(std::uint64_t id);
    void settle(std::uint64_t id, Outcome& outcome);
    bool may_run(Lock& lock);
    void idle(Lock& lock);
    void watch(Lock& lock);
    void set_alarm();
    // Sees to it that a call that has become runnable while nothing arrived is run.
    void wake_one(Lock& lock);
    void send_result(std::uint64_t id, Outcome outcome, bool gather = false);
    void lose(Lock& lock, Error why);
    rpc::Message hello() const;
    // Waits for the daemon that takes a dead one's place. By the thread that has the right to read, without the lock.
    bool reconnect();

    Result<void> on_message(rpc::Message& message, Body body) override;
    void on_sent(std::uint64_t stream) override { exchange_.on_sent(stream); }
    Result<void> take_call(rpc::Message& message, Body body);
    void take_cancel(std::uint64_t id);

    const Options options_;
    const pid_t parent_ = ::getppid();
    Runner& runner_;
    std::atomic<bool> stopping_{false};
    std::unique_ptr<rpc::BlockingLink> link_;
    shm::BegunMarks begun_;
    Exchange exchange_;
    StackTeller stacks_;

    std::mutex mutex_;
    std::deque<Incoming> ready_;
    std::unordered_map<std::string, Limit> limits_;
    std::unordered_map<std::uint64_t, std::string> limited_;  // running calls of services in limits_
    std::condition_variable idle_wake_;   // idle threads other than the watcher
    Alarm alarm_;                         // the watcher
    std::size_t running_ = 0;  // calls
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;  // with the watcher
    std::size_t starting_ = 0;
    bool woken_ = false;    // one thread, for calls that became runnable while nothing arrived
    bool watched_ = false;
    bool alarm_set_ = false;
    bool seldom_ = false;   // the last read waited for long
    std::uint64_t alarm_run_ = 0;  // the run that held the right to read when the alarm was set
    bool reading_ = false;  // a thread has the right to read
    bool in_read_ = false;  // and makes use of it: it runs no call until something comes
    std::uint64_t runs_ = 0;
    std::uint64_t held_run_ = 0;
    std::atomic<int> unbegun_{0};  // calls that a thread runs but that wait for the language's own lock
    // How long a call may hold the right to read. Where calls are short but threads wait for their turn on a processor, taking
    // it away only makes more threads compete: it grows with each such call, until one really lasts.
    std::chrono::nanoseconds tick_{limits::k_watch_tick};
    Clock::time_point taken_at_{};
    std::size_t taken_ = 0;  // calls that lost it and still run
    bool ended_ = false;
    Error why_ended_;
};

Result<void> HostImpl::open() {
    // Without it callers hear "unknown" where they might have heard more, which is no reason not to work.
    if (!options_.begun_path.empty()) static_cast<void>(begun_.open(options_.begun_path));
    RH_TRY(Fd socket, net::connect_unix(options_.socket_path));
    rpc::Message first = hello();
    for (const std::string& service : runner_.services()) first.mutable_hello()->add_services(service);
    RH_TRY(link_, rpc::BlockingLink::open(std::move(socket), first, Clock::now() + limits::k_handshake_timeout, *this));
    exchange_.attach(*link_);
    return {};
}

rpc::Message HostImpl::hello() const {
    rpc::Message message;
    wire::Hello& about = *message.mutable_hello();
    about.set_role(wire::WORKER);
    about.set_worker(options_.worker_id);
    about.set_pid(static_cast<std::uint64_t>(::getpid()));
    about.set_software("roundhouse " ROUNDHOUSE_VERSION);
    about.set_language(options_.language);
    return message;
}

bool HostImpl::reconnect() {
    const auto give_up = Clock::now() + options_.grace;
    // The keeper is this process's parent; orphans have another.
    while (!link_->is_final() && !stopping_ && ::getppid() == parent_ && Clock::now() < give_up) {
        if (Result<Fd> socket = net::connect_unix(options_.socket_path)) {
            rpc::Message again = hello();
            again.mutable_hello()->set_again(true);
            if (link_->reopen(std::move(*socket), again, Clock::now() + limits::k_handshake_timeout)) {
                exchange_.announce();
                return true;
            }
        }
        std::this_thread::sleep_for(limits::k_resume_pause);
    }
    return false;
}

Result<void> HostImpl::serve() {
    Lock lock(mutex_);
    work(lock);
    // The other threads return by themselves; user code that does not end is ended with the process.
    if (why_ended_.code == Code::node_lost) return {};
    return fail(why_ended_);
}

void HostImpl::serve_more() {
    Lock lock(mutex_);
    if (starting_ > 0) --starting_;
    work(lock);
}

void HostImpl::work(Lock& lock) {
    ++threads_;
    while (!ended_) {
        const bool holding = !reading_;
        if (holding) reading_ = true;
        // Whoever holds the right to read while it runs a call takes the next one too: a second thread would only compete with it
        // for Python's lock, unless that call lasts, and then the watcher is its successor.
        if (has_runnable() && unbegun_.load() == 0 && (holding ? may_run(lock) : in_read_)) {
            run_next(lock, holding);
        } else if (holding) {
            read_once(lock, has_runnable());
        } else {
            idle(lock);
        }
    }
    --threads_;
}

// The reader may run a call only when another thread can take the reading over; it makes one when there is none. That
// needs the language's own lock, which is why it is done here, by a thread that is about to need it anyway.
bool HostImpl::may_run(Lock& lock) {
    // A thread that was started for this may itself have taken a call by the time the lock is back, so look again.
    while (idle_ == 0 && starting_ == 0) {
        if (threads_ >= limits::k_worker_threads_max) return false;
        ++starting_;
        lock.unlock();
        const bool started = runner_.start_thread();
        lock.lock();
        if (!started) --starting_;
        if (!has_runnable() || ended_) return false;
        // Better a call that cannot be cancelled than one that never runs.
        if (!started) return running_ == 0;
    }
    return true;
}

void HostImpl::read_once(Lock& lock, bool pending) {
    const bool served = runs_ != 0;
    // Where calls come seldom, the one that has just ended needs no watcher any more, and to wake it for nothing costs more than
    // to take its alarm off. Where they come fast, the alarm serves the next.
    if (seldom_ && alarm_set_ && alarm_run_ != 0 && held_run_ == 0 && !ended_ && alarm_.clear()) alarm_set_ = false;
    in_read_ = true;
    lock.unlock();
    const auto start = Clock::now();
    rpc::Deadline deadline;
    if (pending) deadline = Clock::now() + limits::k_watch_tick;
    const Result<rpc::BlockingLink::Read> read = link_->read_some(deadline, served && !pending);
    const bool waited = Clock::now() - start >= limits::k_watch_tick_max;
    const bool goes_on = read || reconnect();
    lock.lock();
    seldom_ = waited;
    in_read_ = false;
    reading_ = false;
    if (!goes_on) lose(lock, read.error());
}

// Whether a running call of the service waits for this one, and would otherwise wait for ever.
bool HostImpl::is_nested(const Incoming& call) const {
    for (const std::string& parent : call.parents) {
        const std::size_t slash = parent.rfind('/');
        if (slash == std::string::npos || std::string_view(parent).substr(0, slash) != options_.worker_id) continue;
        const auto found = limited_.find(std::strtoull(parent.c_str() + slash + 1, nullptr, 10));
        if (found != limited_.end() && found->second == call.service) return true;
    }
    return false;
}

bool HostImpl::is_full(const Limit& limit, const Incoming& call) const {
    return limit.concurrency != 0 && limit.running >= limit.concurrency && !is_nested(call);
}

bool HostImpl::may_wait(const Limit& limit, const Incoming& call) const {
    if (limit.concurrency == 0 || limit.queue == 0) return true;
    // Of those that wait some have a place already and only want a thread.
    const std::size_t most = limit.concurrency - std::min(limit.running, limit.concurrency) + limit.queue;
    if (limit.waiting < most || is_nested(call)) return true;
    return static_cast<std::size_t>(std::count_if(ready_.begin(), ready_.end(), [&](const Incoming& other) {
        return other.service == call.service && !is_nested(other);
    })) < most;
}

bool HostImpl::has_runnable() const {
    if (limits_.empty()) return !ready_.empty();
    return std::any_of(ready_.begin(), ready_.end(), [&](const Incoming& call) {
        const auto limit = limits_.find(call.service);
        return limit == limits_.end() || !is_full(limit->second, call);
    });
}

std::optional<Incoming> HostImpl::take_runnable() {
    for (auto at = ready_.begin(); at != ready_.end(); ++at) {
        const auto limit = limits_.empty() ? limits_.end() : limits_.find(at->service);
        if (limit != limits_.end()) {
            if (is_full(limit->second, *at)) continue;
            --limit->second.waiting;
            ++limit->second.running;
            limited_.emplace(at->id, at->service);
        }
        Incoming call = std::move(*at);
        if (at == ready_.begin()) {
            ready_.pop_front();
        } else {
            ready_.erase(at);
        }
        return call;
    }
    return std::nullopt;
}

void HostImpl::run_next(Lock& lock, bool holding) {
    std::optional<Incoming> taken = take_runnable();
    if (!taken) return;
    Incoming& call = *taken;
    ++running_;
    const bool limited = !limited_.empty() && limited_.count(call.id) != 0;
    const std::uint64_t run = ++runs_;
    const bool more = !ready_.empty();
    if (holding) {
        held_run_ = run;
        if (!alarm_set_) set_alarm();
    }
    // The thread that was woken to watch may have found this call to run instead, so pass the watch on.
    if (!watched_ && idle_ > 0) idle_wake_.notify_one();
    // Several may have become runnable at once, of which one thread was told; who reads now does not look.
    if (woken_ && !holding && held_run_ == 0) {
        woken_ = false;
        if (has_runnable()) wake_one(lock);
    }
    lock.unlock();
    const std::uint64_t id = call.id;
    call.exchange = &exchange_;
    call.unbegun = &unbegun_;
    call.begun = &begun_;
    unbegun_.fetch_add(1);
    mark_running(id);
    std::optional<Outcome> outcome = runner_.run(call);
    mark_running(0);
    call.has_begun();
    if (outcome) {
        settle(id, *outcome);
        if (limited) {
            // Before the caller hears of the end: its next call may take the place.
            lock.lock();
            release(id);
            lock.unlock();
        }
        // What came together is answered together.
        send_result(id, std::move(*outcome), more);
    }
    lock.lock();
    if (outcome) --running_;
    // The right to read is still this thread's unless the watcher took it meanwhile.
    if (holding && held_run_ == run) {
        held_run_ = 0;
        reading_ = false;
    } else if (holding) {
        --taken_;
        const bool lasted = Clock::now() - taken_at_ >= limits::k_watch_tick_max;
        tick_ = lasted ? limits::k_watch_tick : std::min<std::chrono::nanoseconds>(2 * tick_, limits::k_watch_tick_max);
    }
}

void HostImpl::settle(std::uint64_t id, Outcome& outcome) {
    if (Result<void> settled = exchange_.settle(id); !settled) outcome = Outcome::failed(std::move(settled.error()));
}

void HostImpl::release(std::uint64_t id) {
    if (limited_.empty()) return;
    const auto limited = limited_.find(id);
    if (limited == limited_.end()) return;
    if (const auto limit = limits_.find(limited->second); limit != limits_.end()) --limit->second.running;
    limited_.erase(limited);
}

void HostImpl::finish(std::uint64_t id, Outcome outcome) {
    if (!link_->usable()) return;
    settle(id, outcome);
    {
        const Lock lock(mutex_);
        release(id);
    }
    send_result(id, std::move(outcome));
    Lock lock(mutex_);
    if (running_ > 0) --running_;
    if (!limits_.empty() && has_runnable()) wake_one(lock);
}

void HostImpl::wake_one(Lock& lock) {
    if (ended_) return;
    woken_ = true;
    if (idle_ > (watched_ ? 1 : 0)) {
        idle_wake_.notify_one();
    } else if (watched_) {
        alarm_set_ = true;
        alarm_run_ = 0;
        alarm_.set(std::chrono::nanoseconds(1));
    } else if (starting_ == 0 && threads_ < limits::k_worker_threads_max) {
        ++starting_;
        lock.unlock();
        const bool started = runner_.start_thread();
        lock.lock();
        if (!started) --starting_;
    }
}

void HostImpl::limit(const std::string& service, std::size_t concurrency, std::size_t queue) {
    Lock lock(mutex_);
    if (concurrency == 0 && queue == 0) {
        limits_.erase(service);
    } else {
        Limit& limit = limits_[service];
        limit.concurrency = concurrency;
        limit.queue = queue;
        // What came before the limit was set is counted from here on; what ran under an earlier one still is.
        limit.waiting = static_cast<std::size_t>(std::count_if(ready_.begin(), ready_.end(), [&](const Incoming& call) { return call.service == service; }));
        limit.running = static_cast<std::size_t>(std::count_if(limited_.begin(), limited_.end(), [&](const auto& running) { return running.second == service; }));
    }
    if (has_runnable()) wake_one(lock);
}

void HostImpl::idle(Lock& lock) {
    ++idle_;
    if (!watched_) {
        watched_ = true;
        watch(lock);
        watched_ = false;
        // This one goes to work; one of the others watches.
        idle_wake_.notify_one();
    } else {
        idle_wake_.wait(lock);
    }
    --idle_;
}

// Returns when the right to read is free, taken from a call that lasts if need be.
void HostImpl::watch(Lock& lock) {
    while (!ended_) {
        if (held_run_ == 0 && (!reading_ || (in_read_ && unbegun_.load() == 0 && has_runnable()))) return;
        if (held_run_ != 0 && !alarm_set_) set_alarm();
        lock.unlock();
        alarm_.sleep();
        lock.lock();
        alarm_set_ = false;
        if (held_run_ != 0 && held_run_ == alarm_run_) {
            held_run_ = 0;
            reading_ = false;
            taken_at_ = Clock::now();
            if (taken_++ > 0) tick_ = limits::k_watch_tick;
            return;
        }
    }
}

void HostImpl::set_alarm() {
    alarm_set_ = true;
    alarm_run_ = held_run_;
    alarm_.set(tick_);
}

void HostImpl::send_result(std::uint64_t id, Outcome outcome, bool gather) {
    const Result<bool> sent = exchange_.conclude(id, std::move(outcome), gather);
    if (sent && *sent) link_->flush_queued();
    if (sent || sent.error().code == Code::node_lost) return;  // a lost connection shows itself to the reader
    static_cast<void>(exchange_.conclude(id, Outcome::failed(Error(sent.error().code, "the call ended, but its result cannot be sent: " + sent.error().message).with("started", "yes")), false));
}

void HostImpl::stop() {
    if (link_ == nullptr || !link_->usable()) return;
    stopping_ = true;
    Lock lock(mutex_);
    lose(lock, Error(Code::node_lost, "the worker was stopped"));
    lock.unlock();
    exchange_.close();
}

void HostImpl::lose(Lock& lock, Error why) {
    link_->shutdown();
    if (!std::exchange(ended_, true)) why_ended_ = std::move(why);
    idle_wake_.notify_all();
    alarm_.set({});
    lock.unlock();
    exchange_.hang_up();
    lock.lock();
}

// --- what arrives, on the reading thread ---------------------------------------------------------------------------

Result<void> HostImpl::on_message(rpc::Message& message, Body body) {
    switch (message.kind()) {
        case wire::CALL: return take_call(message, std::move(body));
        case wire::CANCEL: take_cancel(message.stream()); return {};
        case wire::PING: {
            message.set_kind(wire::PONG);
            return link_->send(message);
        }
        case wire::CREDIT: exchange_.on_credit(message); return {};
        case wire::ITEM: exchange_.on_item(message, std::move(body)); return {};
        case wire::RESUME: exchange_.resume(message); return {};
        case wire::TAKEN: exchange_.forget(message.session(), message.sequence()); return {};
        default: return {};
    }
}

Result<void> HostImpl::take_call(rpc::Message& message, Body body) {
    Lock lock(mutex_);
    if (ready_.size() >= limits::k_calls_per_worker_max) return fail(Code::protocol, "the daemon sent more calls than a worker may queue");
    Incoming call;
    call.id = message.stream();
    call.service = message.service();
    call.method = message.method();
    call.prefetch = message.prefetch();
    for (std::string& parent : *message.mutable_parents()) {
        if (call.parents.size() < limits::k_parents_max) call.parents.push_back(std::move(parent));
    }
    call.body = std::move(body);
    if (const auto found = limits_.empty() ? limits_.end() : limits_.find(call.service); found != limits_.end()) {
        Limit& limit = found->second;
        if (!may_wait(limit, call)) {
            const std::string text = fmt::format("\"{}\" runs {} calls and {} wait, the most that it was deployed with: wait for some of them, or deploy it with a "
                                                 "larger max_concurrency or max_queue", call.service, limit.running, limit.waiting);
            lock.unlock();
            send_result(call.id, Outcome::failed(Error(Code::limit_exceeded, text).with("started", "no")));
            return {};
        }
        ++limit.waiting;
    }
    // Not for the runner: what is asked for is what keeps it busy.
    const bool for_stacks = call.service == "_worker" && call.method == "stack";
    // While it waits already: what is asked or sent right behind the call must find it.
    Origin origin{message.session(), message.sequence(), call.service};
    if (message.deadline_ms() != 0) origin.deadline = due_in(message.deadline_ms());
    exchange_.begin(call.id, call.prefetch, std::move(origin), message.acknowledged());
    if (for_stacks) {
        lock.unlock();
        stacks_.ask(call.id);
        return {};
    }
    ready_.push_back(std::move(call));
    return {};
}

void HostImpl::take_cancel(std::uint64_t id) {
    {
        Lock lock(mutex_);
        for (auto at = ready_.begin(); at != ready_.end(); ++at) {
            if (at->id != id) continue;
            if (const auto limit = limits_.find(at->service); limit != limits_.end()) --limit->second.waiting;
            ready_.erase(at);
            lock.unlock();
            exchange_.silence(id);
            send_result(id, Outcome::failed(Error(Code::cancelled, "the call was cancelled before it began").with("started", "no")));
            return;
        }
    }
    if (exchange_.silence(id)) runner_.cancel(id);
    // It may have ended just now and have begun to send its result; what of that is unsent need not travel.
    link_->abort_outgoing(id);
}

}  // namespace

Result<std::unique_ptr<Host>> Host::connect(Options options, Runner& runner) {
    auto host = std::make_unique<HostImpl>(std::move(options), runner);
    RH_TRY_VOID(host->open());
    return std::unique_ptr<Host>(std::move(host));
}

}  // namespace rh::worker
