#include "sdk/crash.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <span>
#include <string_view>
#include <unistd.h>
#include <utility>

#include "worker/frames.h"

namespace rh {

namespace {

constexpr std::size_t k_stack_bytes = 128 * 1024;
constexpr std::size_t k_text_bytes_max = 32 * 1024;
// Names are made readable by a copy of the process, because that takes memory, whose lock may be held; it gets this long.
constexpr std::chrono::milliseconds k_naming_wait{2000};

thread_local const char* t_label = nullptr;
std::atomic<bool> g_crashing{false};
std::array<char, k_text_bytes_max> g_named{};
// Of an exception that nobody caught; told with the crash that it makes.
std::array<char, 1024> g_uncaught{};

std::string_view signal_name(int number) {
    switch (number) {
        case SIGSEGV: return "SIGSEGV";
        case SIGABRT: return "SIGABRT";
        case SIGBUS: return "SIGBUS";
        case SIGFPE: return "SIGFPE";
        case SIGILL: return "SIGILL";
        default: return "a signal";
    }
}

std::string_view named_frames(std::span<void* const> frames) {
    using Span = std::span<void* const>;
    const std::size_t size = worker::written_by_copy(g_named, k_naming_wait, [](worker::Text& text, void* with) { worker::write_frames(text, *static_cast<const Span*>(with), true); }, &frames);
    return {g_named.data(), size};
}

// --- the handlers --------------------------------------------------------------------------------------------------

void die_by(int number) {
    ::signal(number, SIG_DFL);
    sigset_t these;
    ::sigemptyset(&these);
    ::sigaddset(&these, number);
    ::pthread_sigmask(SIG_UNBLOCK, &these, nullptr);
    ::raise(number);
}

void on_crash(int number, siginfo_t* about, void* context) {
    if (g_crashing.exchange(true)) {
        // Another thread crashed first, and ends the process. This one, if it crashed in here, ends it at once.
        static thread_local bool again = false;
        if (std::exchange(again, true)) die_by(number);
        for (;;) ::pause();
    }
    worker::Frames frames;
    worker::take_frames(frames, context);
    const std::span<void* const> all = frames.below_signal();
    {
        worker::Text text(STDERR_FILENO);
        text << "*** crash: " << signal_name(number);
        if (number == SIGSEGV || number == SIGBUS) {
            text << " at address ";
            text.number(reinterpret_cast<std::uintptr_t>(about->si_addr), 16);
        }
        if (g_uncaught[0] != '\0') text << ", because nobody caught " << g_uncaught.data();
        if (t_label != nullptr) text << ", in the call " << t_label;
        text << " ***\n";
        text.flush();
        const std::string_view named = named_frames(all);
        if (named.empty()) {
            worker::write_frames(text, all, false);
        } else {
            text << named;
        }
    }
    die_by(number);
}

void on_terminate() {
    if (const std::type_info* const type = abi::__cxa_current_exception_type()) {
        int status = 0;
        char* const name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
        const char* const readable = status == 0 ? name : type->name();
        try {
            throw;
        } catch (const std::exception& error) {
            std::snprintf(g_uncaught.data(), g_uncaught.size(), "%s: %s", readable, error.what());
        } catch (...) {
            std::snprintf(g_uncaught.data(), g_uncaught.size(), "%s", readable);
        }
    }
    std::abort();
}

}  // namespace

void crash_label(const char* label) { t_label = label; }

void prepare_crash_thread() {
    // One for each thread, kept until the thread ends.
    struct Stack {
        std::unique_ptr<std::byte[]> bytes{new std::byte[k_stack_bytes]};
        Stack() {
            stack_t stack{};
            stack.ss_sp = bytes.get();
            stack.ss_size = k_stack_bytes;
            ::sigaltstack(&stack, nullptr);
        }
        ~Stack() {
            stack_t stack{};
            stack.ss_flags = SS_DISABLE;
            ::sigaltstack(&stack, nullptr);
        }
    };
    thread_local Stack stack;
}

void install_crash_handlers() {
    worker::prepare_frames();
    prepare_crash_thread();
    for (const int number : worker::k_crash_signals) {
        struct sigaction before {};
        if (::sigaction(number, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) continue;
        struct sigaction action {};
        action.sa_sigaction = on_crash;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigaction(number, &action, nullptr);
    }
    std::set_terminate(on_terminate);
}

}  // namespace rh
