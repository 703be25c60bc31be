#pragma once

// Frames of a stack, taken where a signal struck a thread and written for people. Only what the comment says so of allocates or
// waits: the rest may be used in a signal handler, once prepare_frames() was called. No state but what that finds out.

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace rh::worker {

inline constexpr std::array k_crash_signals{SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};

// Text on its way to a descriptor, without memory of its own.
class Text {
public:
    explicit Text(int fd) : fd_(fd) {}
    ~Text() { flush(); }
    Text(const Text&) = delete;
    Text& operator=(const Text&) = delete;

    Text& operator<<(std::string_view text) {
        for (const char letter : text) {
            if (size_ == buffer_.size()) flush();
            buffer_[size_++] = letter;
        }
        return *this;
    }
    Text& number(std::uintptr_t value, unsigned base = 10) {
        std::array<char, 24> digits{};
        std::size_t at = digits.size();
        do {
            digits[--at] = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        return *this << (base == 16 ? "0x" : "") << std::string_view(&digits[at], digits.size() - at);
    }
    // For what writes to a descriptor by itself.
    template <class Write>
    void through(Write&& write) {
        flush();
        write(fd_);
    }
    void flush() {
        for (std::size_t sent = 0; sent < size_;) {
            const ssize_t count = ::write(fd_, &buffer_[sent], size_ - sent);
            if (count <= 0) break;
            sent += static_cast<std::size_t>(count);
        }
        size_ = 0;
    }

private:
    const int fd_;
    std::array<char, 512> buffer_{};
    std::size_t size_ = 0;
};

struct Frames {
    std::array<void*, 64> all{};
    int count = 0;
    std::uintptr_t place = 0;  // where the signal struck

    // Without those of the handler.
    std::span<void* const> below_signal() const;
};

// What the first use loads, which a handler could not.
void prepare_frames();
// Of the thread that the signal behind `context` struck, in its handler.
void take_frames(Frames& frames, const void* context);
// One line each, down to where the worker itself begins. `readable` allocates, and takes locks that another thread may hold.
void write_frames(Text& text, std::span<void* const> frames, bool readable);

// What `write` says in a copy of this process, in which nothing else runs: there it may allocate, and read what others were
// writing just now. Its size, 0 where it did not come to an end within so much silence. Waits; no handler of fork() runs.
std::size_t written_by_copy(std::span<char> into, std::chrono::milliseconds silence, void (*write)(Text& text, void* with), void* with);

}  // namespace rh::worker
