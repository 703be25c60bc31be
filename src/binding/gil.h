#pragma once

// The only ways in which the binding lets go of Python's lock (the GIL) and takes it. While Python finalises, it ends every
// thread but its own that asks for the lock, by unwinding it: through C++ frames, some of which let nothing through, and then
// the program aborts. So no thread asks any more once the exit of the interpreter has begun, and the exit waits for those
// that are asking just then.

#include <nanobind/nanobind.h>

namespace rh::binding {

namespace nb = nanobind;

// Without the GIL for as long as it lives. Its end does not come back on a thread that the exit leaves behind.
class WithoutGil {
public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil();
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

private:
    PyThreadState* const state_;
};

// What `work` returns, done without the GIL.
template <class Work>
auto without_gil(Work work) {
    const WithoutGil released;
    return work();
}

// With the GIL, on any thread: false, and without it, on one that the exit leaves behind.
class WithGil {
public:
    // How long it is had. The exit waits a moment for a callback to end; user code may never.
    enum class Use { callback, user_code };

    explicit WithGil(Use use = Use::callback);
    ~WithGil();
    WithGil(const WithGil&) = delete;
    WithGil& operator=(const WithGil&) = delete;

    explicit operator bool() const { return held_; }

private:
    bool counted_ = false;
    bool held_ = false;
    PyGILState_STATE state_{};
};

// With the GIL, on the thread that ends the interpreter: from here on no other thread takes it.
void begin_exit();
// Whether this thread is one that the exit leaves behind.
bool is_left_behind();
bool is_exiting();
// Without the GIL: waits for threads that are in the middle of taking it, or of a callback, for a moment.
void await_takers();

void bind_gil();

}  // namespace rh::binding
