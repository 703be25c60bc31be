#pragma once

// What a worker does just now, answered while user code runs (protocol/node.md, `stack` of `_worker`). A thread of its own, which
// the first question starts, asks the language for its stacks, which may take until user code lets it, and each thread of the
// process for its native one, by a signal. Owned by the Host; stop() joins the thread.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/body.h"

namespace rh::worker {

// The thread that calls this runs that call from now on, 0: none.
void mark_running(std::uint64_t call);

struct NativeStack {
    std::uint64_t thread = 0;  // as the kernel numbers it
    std::string name;
    std::uint64_t call = 0;    // 0: it runs none
    std::string frames;        // a line each, innermost first; empty where the thread did not answer in time
};
// Of every thread but this one. Their system calls are interrupted, as by any signal that is handled. One at a time.
std::vector<NativeStack> native_stacks();

class StackTeller {
public:
    // `language` says, as JSON, what protocol/node.md has of it.
    StackTeller(std::function<std::string()> language, std::function<void(std::uint64_t id, Outcome outcome)> answer) : language_(std::move(language)), answer_(std::move(answer)) {}
    ~StackTeller() { stop(); }

    // The answer to that call follows by itself; a question too many is refused.
    void ask(std::uint64_t id);
    void stop();

private:
    void work();

    const std::function<std::string()> language_;
    const std::function<void(std::uint64_t, Outcome)> answer_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::uint64_t> asked_;
    std::thread thread_;
    bool stopping_ = false;
};

}  // namespace rh::worker
