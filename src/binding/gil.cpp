#include "binding/gil.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace rh::binding {

namespace {

// What the exit of the interpreter waits for threads that have the GIL, or are about to.
constexpr std::chrono::milliseconds k_exit_grace{1'000};

std::atomic<bool> exiting{false};
std::thread::id exiting_thread;  // set before `exiting`
// A taker counts itself before it looks whether the exit has begun, and the exit begins before it looks at the count: one of
// them sees the other.
std::atomic<int> takers{0};

}  // namespace

WithoutGil::~WithoutGil() {
    takers.fetch_add(1);
    if (is_left_behind()) {
        takers.fetch_sub(1);
        for (;;) ::pause();
    }
    PyEval_RestoreThread(state_);
    takers.fetch_sub(1);
}

WithGil::WithGil(Use use) {
    takers.fetch_add(1);
    held_ = !is_left_behind();
    if (held_) state_ = PyGILState_Ensure();
    counted_ = held_ && use == Use::callback;
    if (!counted_) takers.fetch_sub(1);
}

WithGil::~WithGil() {
    if (held_) PyGILState_Release(state_);
    if (counted_) takers.fetch_sub(1);
}

void begin_exit() {
    exiting_thread = std::this_thread::get_id();
    exiting.store(true);
}

bool is_left_behind() { return exiting.load() && std::this_thread::get_id() != exiting_thread; }

bool is_exiting() { return exiting.load(); }

void await_takers() {
    const auto deadline = std::chrono::steady_clock::now() + k_exit_grace;
    while (takers.load() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void bind_gil() {
    // Only the forking thread goes on in a child, and it has the GIL already.
    ::pthread_atfork(nullptr, nullptr, [] { takers.store(0); });
}

}  // namespace rh::binding
