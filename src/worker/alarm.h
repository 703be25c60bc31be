#pragma once

// Wakes one sleeping thread a little later. Setting it costs one system call and wakes nobody now, which is what a call's
// first microseconds need: to wake a thread on an idle processor costs more than the call. Linux has a timer for this;
// elsewhere the sleeper is woken at once and times itself. One thread sleeps, any thread sets.

#include <chrono>

#include "base/fd.h"

#ifndef __linux__
#include <condition_variable>
#include <mutex>
#endif

namespace rh::worker {

class Alarm {
public:
    Alarm();

    // The sleeper wakes after `delay`; setting it again moves that.
    void set(std::chrono::nanoseconds delay);
    // Takes it off, where that is possible without waking the sleeper; false where it is not.
    bool clear();
    // Sleeps until the alarm goes off; at once when it has since the last sleep.
    void sleep();

private:
#ifdef __linux__
    Fd timer_;
#else
    std::mutex mutex_;
    std::condition_variable changed_;
    bool set_ = false;
    std::chrono::nanoseconds delay_{};
#endif
};

}  // namespace rh::worker
