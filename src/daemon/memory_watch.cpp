#include "daemon/memory_watch.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"

namespace rh::daemon {

using isolate::Clock;
using net::asio::awaitable;
using std::chrono::milliseconds;

namespace {

// Version 1 says that memory is short before it kills, and perhaps need not: the counter is looked at so often, for so long.
constexpr milliseconds k_settle_step{2};
constexpr milliseconds k_settle_time{1'000};

}  // namespace

// Version 2 wakes whoever polls the file of events; version 1 whoever has given it an eventfd.
struct MemoryWatch::Ear {
    Ear(const net::asio::any_io_executor& executor, const isolate::Cgroup& cgroup) : descriptor(executor), first(cgroup.version() == isolate::Version::v1) {
        file = Fd(::open(cgroup.events_path().c_str(), O_RDONLY | O_CLOEXEC));
        if (!file) return;
        if (!first) {
            open(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
            clear();
            return;
        }
        const int heard = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (heard >= 0 && isolate::write_text(cgroup.folder() + "/cgroup.event_control", fmt::format("{} {}", heard, file.get()))) {
            open(heard);
        } else if (heard >= 0) {
            ::close(heard);
        }
    }

    void open(int heard) {
        boost::system::error_code failed;
        if (heard >= 0) descriptor.assign(heard, failed);
        if (failed && heard >= 0) ::close(heard);
    }
    // So that only what comes from now on wakes.
    void clear() {
        char text[512];
        if (first) {
            [[maybe_unused]] const auto count = ::read(descriptor.native_handle(), text, sizeof(std::uint64_t));
        } else {
            [[maybe_unused]] const auto count = ::pread(descriptor.native_handle(), text, sizeof text, 0);
        }
    }

    net::asio::posix::stream_descriptor descriptor;
    Fd file;
    const bool first;
};

MemoryWatch::MemoryWatch(const net::asio::any_io_executor& executor, OnKill on_kill)
    : executor_(executor), on_kill_(std::move(on_kill)), tasks_(executor), bell_(executor) {}

void MemoryWatch::add(const std::shared_ptr<Worker>& worker, const process::Limited& limited) {
    worker->memory = std::make_unique<WorkerMemory>(
        WorkerMemory{limited.memory, std::nullopt, isolate::Growth(worker->started_at), Clock::now() + isolate::k_follow_step, false, 0, 0, nullptr});
    if (limited.cgroup.empty()) return;
    const auto version = limited.memory.enforced_by == process::Enforcer::cgroup2 ? isolate::Version::v2 : isolate::Version::v1;
    worker->memory->cgroup.emplace(version, limited.cgroup);
    const auto ear = std::make_shared<Ear>(executor_, *worker->memory->cgroup);
    watched_[worker.get()] = {worker, ear};
    if (ear->descriptor.is_open()) tasks_.spawn(listen(worker, ear));
    bell_.set();
}

void MemoryWatch::remove(const Worker& worker) {
    const auto found = watched_.find(&worker);
    if (found == watched_.end()) return;
    boost::system::error_code ignored;
    found->second.ear->descriptor.close(ignored);
    watched_.erase(found);
}

awaitable<void> MemoryWatch::stop() {
    while (!watched_.empty()) remove(*watched_.begin()->first);
    co_await tasks_.stop();
}

awaitable<void> MemoryWatch::listen(std::shared_ptr<Worker> worker, std::shared_ptr<Ear> ear) {
    using Wait = net::asio::posix::stream_descriptor;
    while (ear->descriptor.is_open()) {
        boost::system::error_code failed;
        co_await ear->descriptor.async_wait(ear->first ? Wait::wait_read : Wait::wait_error, net::asio::redirect_error(net::asio::use_awaitable, failed));
        if (failed || !ear->descriptor.is_open()) co_return;
        ear->clear();
        worker->memory->suspected = true;
        const auto until = Clock::now() + k_settle_time;
        net::asio::steady_timer pause(executor_);
        while (ear->descriptor.is_open() && worker->memory->suspected && !look(*worker) && Clock::now() < until) {
            pause.expires_after(k_settle_step);
            co_await pause.async_wait(net::asio::redirect_error(net::asio::use_awaitable, failed));
        }
        worker->memory->suspected = false;
    }
}

bool MemoryWatch::look(Worker& worker) {
    WorkerMemory& memory = *worker.memory;
    const std::uint64_t kills = memory.cgroup->kills().value_or(0);
    if (kills <= memory.kills_seen) return false;
    memory.kills_seen = static_cast<std::uint32_t>(kills);
    memory.suspected = false;
    process::MemoryFacts facts = memory.facts;
    const isolate::Counts counts = memory.cgroup->read();
    facts.peak_bytes = counts.peak_bytes.value_or(0);
    const auto rise = memory.growth.until(Clock::now(), std::max(facts.peak_bytes, counts.used_bytes.value_or(0)));
    facts.growth_bytes = rise.bytes;
    facts.growth_ms = static_cast<std::uint32_t>(rise.over.count());
    facts.kills = memory.kills_seen;
    log_.read();
    std::string names;
    // The log is that of the machine: what it names may be another worker's. The process may be gone, so who it was cannot be asked.
    if (log_.kills().size() == 1) names = fmt::format("{} (pid {})", log_.kills().front().name, log_.kills().front().pid);
    log_.clear();
    tell(worker, facts, names);
    return true;
}

void MemoryWatch::over_limit(Worker& worker, const process::OverLimit& over) {
    if (worker.memory == nullptr) return;
    worker.memory->kills_seen = over.memory.kills;
    tell(worker, over.memory, fmt::format("{} (pid {})", over.name, over.pid));
}

void MemoryWatch::tell(Worker& worker, const process::MemoryFacts& facts, const std::string& names) {
    auto why = std::make_shared<Error>(Code::out_of_memory, fmt::format("a process that came from the worker (pid {}) was killed for its memory{}{}: {}", worker.pid,
                                                                        names.empty() ? "" : ", ", names, memory_words(facts)));
    why->context.emplace_back("worker", worker.id);
    why->context.emplace_back("pid", std::to_string(worker.pid));
    if (facts.peak_bytes != 0) why->context.emplace_back("peak", std::to_string(facts.peak_bytes));
    add_memory_facts(*why, facts);
    on_kill_(worker, std::move(why));
}

awaitable<void> MemoryWatch::run() {
    for (;;) {
        auto next = Clock::time_point::max();
        const auto now = Clock::now();
        for (auto& [key, watched] : watched_) {
            WorkerMemory& memory = *watched.worker->memory;
            if (memory.look_at <= now) {
                memory.growth.note(now, memory.cgroup->used_bytes().value_or(0));
                memory.look_at = now + memory.growth.step();
            }
            next = std::min(next, memory.look_at);
        }
        bell_.reset();
        co_await bell_.wait_until(next);
    }
}

}  // namespace rh::daemon
