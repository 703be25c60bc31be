#pragma once

// What a worker that crashes says before it dies: which signal, in which call, and where. It goes to stderr, whose end reaches the
// callers in WorkerDied; the process then dies by that same signal. The handlers use only what may be used there.

namespace rh {

// From here on, for SIGSEGV, SIGABRT, SIGBUS, SIGFPE and SIGILL where nobody else handles them, and for exceptions that nobody catches.
void install_crash_handlers();
// Gives the thread that calls this a stack of its own for the handler, so that an overflow can be told of too.
void prepare_crash_thread();
// The call that this thread runs, null for none. Must stay as it is until another is given.
void crash_label(const char* label);

}  // namespace rh
