#include "base/fork_count.h"

#include <atomic>
#include <pthread.h>

namespace rh {

namespace {

// The kernel tells of a fork only through a handler without arguments, so this one number is the program's own.
std::atomic<std::uint64_t> forks{0};

void count_fork() { forks.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

std::uint64_t fork_count() {
    static const bool registered = ::pthread_atfork(nullptr, nullptr, count_fork) == 0;
    static_cast<void>(registered);
    return forks.load(std::memory_order_relaxed);
}

}  // namespace rh
