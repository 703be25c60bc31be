#pragma once

// Watches over the memory of workers that are limited: hears from the kernel when one of their processes is killed for it, before
// whoever waits for that process can, and follows how fast they grow. Of other workers, and of calls, it knows nothing: what is
// looked at while a call returns is one flag. Owned by the Daemon, on its executor; run() ends when it is cancelled.

#include <functional>
#include <map>
#include <memory>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "daemon/worker.h"
#include "isolate/kernel_kills.h"
#include "net/task_group.h"
#include "process/keeper_messages.h"

namespace rh::daemon {

class MemoryWatch {
public:
    // A process that came from the worker was killed: what its callers are told if their calls fail for it.
    using OnKill = std::function<void(Worker& worker, std::shared_ptr<const Error> why)>;

    MemoryWatch(const net::asio::any_io_executor& executor, OnKill on_kill);

    // What the keeper says of a worker: that it is limited, and that it is about to kill a process of its.
    void add(const std::shared_ptr<Worker>& worker, const process::Limited& limited);
    void over_limit(Worker& worker, const process::OverLimit& over);
    void remove(const Worker& worker);
    // To be told before a result of the worker's is passed on.
    void before_result(Worker& worker, bool raised) {
        if (worker.memory->cgroup && (raised || worker.memory->suspected)) look(worker);
    }

    // Follows how they grow.
    net::asio::awaitable<void> run();
    // Ends with the coroutines that hear from the kernel.
    net::asio::awaitable<void> stop();

private:
    // What the kernel tells of kills by; shared with the coroutine that listens.
    struct Ear;

    net::asio::awaitable<void> listen(std::shared_ptr<Worker> worker, std::shared_ptr<Ear> ear);
    // Whether another of its processes was killed.
    bool look(Worker& worker);
    void tell(Worker& worker, const process::MemoryFacts& facts, const std::string& names);

    net::asio::any_io_executor executor_;
    const OnKill on_kill_;
    isolate::KernelLog log_;
    net::TaskGroup tasks_;
    net::Event bell_;  // rung when there is another to follow
    struct Watched {
        std::shared_ptr<Worker> worker;
        std::shared_ptr<Ear> ear;
    };
    std::map<const Worker*, Watched> watched_;
};

}  // namespace rh::daemon
