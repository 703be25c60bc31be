#include "cli/signals.h"

#include <csignal>
#include <initializer_list>

namespace rh::cli {

namespace {

volatile std::sig_atomic_t g_caught = 0;
volatile std::sig_atomic_t g_last = 0;

void on_signal(int number) {
    g_caught = g_caught + 1;
    g_last = number;
}

}  // namespace

void watch_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction before {};
        // What a shell or nohup has asked to be ignored stays so.
        if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        ::sigaction(number, &action, nullptr);
    }
    // Whoever stops reading is noticed where we write.
    ::signal(SIGPIPE, SIG_IGN);
}

int signals_caught() { return g_caught; }
int last_signal() { return g_last; }

}  // namespace rh::cli
