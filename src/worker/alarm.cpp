#include "worker/alarm.h"

#include <cerrno>
#include <cstdint>
#include <thread>
#include <unistd.h>

#ifdef __linux__
#include <sys/timerfd.h>
#endif

namespace rh::worker {

#ifdef __linux__

Alarm::Alarm() : timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {}

void Alarm::set(std::chrono::nanoseconds delay) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
    itimerspec when{};
    when.it_value.tv_sec = seconds.count();
    // Zero would take the alarm off.
    when.it_value.tv_nsec = delay.count() > 0 ? (delay - seconds).count() : 1;
    ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

bool Alarm::clear() {
    const itimerspec never{};
    // What has gone off and was not read is forgotten with it.
    return ::timerfd_settime(timer_.get(), 0, &never, nullptr) == 0;
}

void Alarm::sleep() {
    std::uint64_t times = 0;
    if (::read(timer_.get(), &times, sizeof times) == sizeof times || errno == EINTR) return;
    // Without a timer (no descriptor was to be had) the sleeper looks by itself, seldom enough not to matter.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

#else

Alarm::Alarm() = default;

void Alarm::set(std::chrono::nanoseconds delay) {
    const std::scoped_lock lock(mutex_);
    set_ = true;
    delay_ = delay;
    changed_.notify_one();
}

bool Alarm::clear() { return false; }

void Alarm::sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return set_; });
    set_ = false;
    const auto delay = delay_;
    lock.unlock();
    std::this_thread::sleep_for(delay);
}

#endif

}  // namespace rh::worker
