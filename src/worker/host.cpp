#include "worker/host.h"

#include <condition_variable>
#include <csignal>
#include <deque>
#include <fmt/format.h>
#include <mutex>
#include <unistd.h>
#include <unordered_map>

#include "base/limits.h"
#include "net/unix.h"
#include "rpc/blocking_link.h"
#include "wire/convert.h"
#include "worker/alarm.h"

namespace rh::worker {

namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

// A call that is in Runner::run() now. Shared by the table and by threads of the user's that wait to print for it.
struct Running {
    std::uint64_t output_window = limits::k_output_window_bytes;
    std::uint64_t next_line = 1;
    bool deaf = false;  // cancelled or over: nobody listens any more
    std::condition_variable room;
};

// Threads of serve() are in one of three states: reading (one of them, `reading_`), running a call, or idle. The reader
// that takes a call keeps the right to read while it runs it: `held_run_` is then that run's number, and the watcher, one
// of the idle threads, takes the right away when it sees the same number for a tick.
class HostImpl final : public Host, private rpc::BlockingLink::Receiver {
public:
    HostImpl(Options options, Runner& runner) : options_(std::move(options)), runner_(runner) {}
    ~HostImpl() override { stop(); }

    Result<void> open();
    Result<void> serve() override;
    void serve_more() override;
    bool output(std::uint64_t id, Channel channel, std::string_view text) override;
    void stop() override;

private:
    void work(Lock& lock);
    void read_once(Lock& lock);
    void run_next(Lock& lock, bool holding);
    bool may_run(Lock& lock);
    // True when the socket is being read now or an idle thread will see to it.
    bool reading_is_safe() const { return held_run_ == 0 || idle_ > 0 || starting_ > 0; }
    void idle(Lock& lock);
    void watch(Lock& lock);
    void set_alarm();
    void send_result(std::uint64_t id, Outcome outcome);
    void lose(Lock& lock, Error why);

    Result<void> on_message(rpc::Message& message, Body body) override;
    Result<void> take_call(rpc::Message& message, Body body);
    void take_cancel(std::uint64_t id);

    const Options options_;
    Runner& runner_;
    std::unique_ptr<rpc::BlockingLink> link_;

    std::mutex mutex_;
    std::deque<Incoming> ready_;
    std::unordered_map<std::uint64_t, std::shared_ptr<Running>> running_;
    std::condition_variable idle_wake_;   // idle threads other than the watcher
    Alarm alarm_;                         // the watcher
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;  // with the watcher
    std::size_t starting_ = 0;
    bool watched_ = false;
    bool alarm_set_ = false;
    std::uint64_t alarm_run_ = 0;  // the run that held the right to read when the alarm was set
    bool reading_ = false;
    std::uint64_t runs_ = 0;
    std::uint64_t held_run_ = 0;
    bool ended_ = false;
    Error why_ended_;
};

Result<void> HostImpl::open() {
    RH_TRY(Fd socket, net::connect_unix(options_.socket_path));
    rpc::Message hello;
    wire::Hello& about = *hello.mutable_hello();
    about.set_role(wire::WORKER);
    about.set_worker(options_.worker_id);
    about.set_pid(static_cast<std::uint64_t>(::getpid()));
    about.set_software("roundhouse " ROUNDHOUSE_VERSION);
    about.set_language(options_.language);
    for (const std::string& service : runner_.services()) about.add_services(service);
    RH_TRY(link_, rpc::BlockingLink::open(std::move(socket), hello, Clock::now() + limits::k_handshake_timeout, *this));
    return {};
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
        if (!ready_.empty() && (holding ? may_run(lock) : reading_is_safe())) {
            run_next(lock, holding);
        } else if (holding) {
            read_once(lock);
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
        if (ready_.empty() || ended_) return false;
        if (!started) {
            --starting_;
            // Better a call that cannot be cancelled than one that never runs.
            return running_.empty();
        }
    }
    return true;
}

void HostImpl::read_once(Lock& lock) {
    const bool served = runs_ != 0;
    lock.unlock();
    const Result<rpc::BlockingLink::Read> read = link_->read_some({}, served);
    lock.lock();
    reading_ = false;
    if (!read) lose(lock, read.error());
}

void HostImpl::run_next(Lock& lock, bool holding) {
    Incoming call = std::move(ready_.front());
    ready_.pop_front();
    const auto running = std::make_shared<Running>();
    running_.emplace(call.id, running);
    const std::uint64_t run = ++runs_;
    if (holding) {
        held_run_ = run;
        if (!alarm_set_) set_alarm();
    }
    // The thread that was woken to watch may have found this call to run instead, so pass the watch on.
    if (!watched_ && idle_ > 0) idle_wake_.notify_one();
    lock.unlock();
    const std::uint64_t id = call.id;
    Outcome outcome = runner_.run(call);
    send_result(id, std::move(outcome));
    lock.lock();
    running_.erase(id);
    running->deaf = true;
    running->room.notify_all();
    // The right to read is still this thread's unless the watcher took it meanwhile.
    if (holding && held_run_ == run) {
        held_run_ = 0;
        reading_ = false;
    }
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
        if (held_run_ == 0 && !reading_) return;
        if (held_run_ != 0 && !alarm_set_) set_alarm();
        lock.unlock();
        alarm_.sleep();
        lock.lock();
        alarm_set_ = false;
        if (held_run_ != 0 && held_run_ == alarm_run_) {
            held_run_ = 0;
            reading_ = false;
            return;
        }
    }
}

void HostImpl::set_alarm() {
    alarm_set_ = true;
    alarm_run_ = held_run_;
    alarm_.set(limits::k_watch_tick);
}

void HostImpl::send_result(std::uint64_t id, Outcome outcome) {
    rpc::Message message = wire::result_message(outcome);
    message.set_stream(id);
    const Result<void> sent = link_->send_whole(message, std::move(outcome.body));
    if (sent || sent.error().code == Code::node_lost) return;  // a lost connection shows itself to the reader
    rpc::Message refusal = wire::result_message(Outcome::failed(
        Error(sent.error().code, "the call ended, but its result cannot be sent: " + sent.error().message).with("started", "yes")));
    refusal.set_stream(id);
    static_cast<void>(link_->send(refusal));
}

bool HostImpl::output(std::uint64_t id, Channel channel, std::string_view text) {
    if (!link_->usable()) return false;
    while (!text.empty()) {
        const std::string_view piece = text.substr(0, limits::k_chunk_bytes);
        rpc::Message message;
        {
            Lock lock(mutex_);
            const auto found = running_.find(id);
            if (found == running_.end()) return false;
            const std::shared_ptr<Running> running = found->second;
            running->room.wait(lock, [&] { return running->output_window >= piece.size() || running->deaf || ended_; });
            if (ended_) return false;
            if (running->deaf) return true;
            running->output_window -= piece.size();
            message.set_number(running->next_line++);
        }
        message.set_kind(wire::OUTPUT);
        message.set_stream(id);
        message.set_channel(static_cast<wire::Channel>(channel));
        if (!link_->send(message, as_byte_view(piece))) return false;
        text.remove_prefix(piece.size());
    }
    return true;
}

void HostImpl::stop() {
    if (link_ == nullptr || !link_->usable()) return;
    Lock lock(mutex_);
    lose(lock, Error(Code::node_lost, "the worker was stopped"));
}

void HostImpl::lose(Lock&, Error why) {
    link_->shutdown();
    if (!std::exchange(ended_, true)) why_ended_ = std::move(why);
    for (auto& [id, running] : running_) running->room.notify_all();
    idle_wake_.notify_all();
    alarm_.set({});
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
        case wire::CREDIT: {
            const Lock lock(mutex_);
            if (const auto found = running_.find(message.stream()); found != running_.end()) {
                Running& running = *found->second;
                running.output_window = running.output_window + std::min(message.number(), limits::k_output_window_bytes - running.output_window);
                running.room.notify_all();
            }
            return {};
        }
        default: return {};
    }
}

Result<void> HostImpl::take_call(rpc::Message& message, Body body) {
    const Lock lock(mutex_);
    if (ready_.size() >= limits::k_calls_per_worker_max) return fail(Code::protocol, "the daemon sent more calls than a worker may queue");
    Incoming call;
    call.id = message.stream();
    call.service = message.service();
    call.method = message.method();
    call.session = message.session();
    call.deadline_ms = message.deadline_ms();
    call.body = std::move(body);
    ready_.push_back(std::move(call));
    return {};
}

void HostImpl::take_cancel(std::uint64_t id) {
    {
        Lock lock(mutex_);
        for (auto at = ready_.begin(); at != ready_.end(); ++at) {
            if (at->id != id) continue;
            ready_.erase(at);
            lock.unlock();
            send_result(id, Outcome::failed(Error(Code::cancelled, "the call was cancelled before it began").with("started", "no")));
            return;
        }
        const auto found = running_.find(id);
        if (found != running_.end()) {
            found->second->deaf = true;
            found->second->room.notify_all();
            lock.unlock();
            runner_.cancel(id);
            // It may have ended just now and have begun to send its result.
            link_->abort_outgoing(id);
            return;
        }
    }
    // Its result is on its way; what of it is unsent need not travel.
    link_->abort_outgoing(id);
}

}  // namespace

Result<std::unique_ptr<Host>> Host::connect(Options options, Runner& runner) {
    auto host = std::make_unique<HostImpl>(std::move(options), runner);
    RH_TRY_VOID(host->open());
    return std::unique_ptr<Host>(std::move(host));
}

}  // namespace rh::worker
