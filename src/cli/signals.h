#pragma once

// Ctrl-C and its like, as something to ask about: a command that waits ends its call and cleans up, then leaves. Once for
// the process. A handler can reach nothing but globals, so this is the one place that has some.

namespace rh::cli {

void watch_signals();
// How many came, and which came last; 0 when none did.
int signals_caught();
int last_signal();

}  // namespace rh::cli
