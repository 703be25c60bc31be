// What a call prints, and whether it is still wanted (roundhouse/worker.h).

#include <cstdio>
#include <iostream>
#include <streambuf>

#include "sdk/crash.h"
#include "sdk/current.h"

namespace roundhouse {

namespace {

thread_local std::shared_ptr<CurrentCall::State> t_state;

// Beyond this a line is sent in pieces.
constexpr std::size_t k_line_bytes_max = 64 * 1024;

void write(bool is_error, std::string_view text) {
    const auto channel = is_error ? rh::Channel::err : rh::Channel::out;
    if (t_state != nullptr && t_state->host->output(t_state->id, channel, text)) return;
    std::FILE* const to = is_error ? stderr : stdout;
    std::fwrite(text.data(), 1, text.size(), to);
    std::fflush(to);
}

// Of one thread: what it has printed since the last end of a line.
class Lines final : public std::streambuf {
public:
    explicit Lines(bool is_error) : is_error_(is_error) {}

    void add(std::string_view text) {
        text_ += text;
        const std::size_t end = text_.rfind('\n');
        if (end != std::string::npos) {
            const std::string lines = text_.substr(0, end + 1);
            text_.erase(0, end + 1);
            write(is_error_, lines);
        }
        if (text_.size() >= k_line_bytes_max) send();
    }
    void send() {
        if (!text_.empty()) write(is_error_, std::exchange(text_, {}));
    }

private:
    int_type overflow(int_type character) override {
        const char letter = traits_type::to_char_type(character);
        if (!traits_type::eq_int_type(character, traits_type::eof())) add({&letter, 1});
        return traits_type::not_eof(character);
    }
    std::streamsize xsputn(const char* letters, std::streamsize count) override {
        add({letters, static_cast<std::size_t>(count)});
        return count;
    }
    int sync() override {
        send();
        return 0;
    }

    const bool is_error_;
    std::string text_;
};

struct Printed {
    Lines out{false};
    Lines err{true};
    std::ostream log{&out};
};

Printed& printed() {
    thread_local Printed of_this_thread;
    return of_this_thread;
}

// Takes the place of the buffer of std::cout or std::cerr: what a thread prints within a call belongs to that.
class Captured final : public std::streambuf {
public:
    Captured(std::streambuf* own, bool is_error) : own_(own), is_error_(is_error) {}

private:
    int_type overflow(int_type character) override {
        const char letter = traits_type::to_char_type(character);
        if (!traits_type::eq_int_type(character, traits_type::eof())) xsputn(&letter, 1);
        return traits_type::not_eof(character);
    }
    std::streamsize xsputn(const char* letters, std::streamsize count) override {
        if (t_state == nullptr) return own_->sputn(letters, count);
        (is_error_ ? printed().err : printed().out).add({letters, static_cast<std::size_t>(count)});
        return count;
    }
    int sync() override {
        if (t_state == nullptr) return own_->pubsync();
        // std::cerr asks for that after every word.
        if (!is_error_) printed().out.send();
        return 0;
    }

    std::streambuf* const own_;
    const bool is_error_;
};

}  // namespace

const std::shared_ptr<CurrentCall::State>& current_state() { return t_state; }

void print(std::string_view text) { write(false, text); }
void print_error(std::string_view text) { write(true, text); }
std::ostream& log() { return printed().log; }

void capture_streams() {
    // They stay until the process ends, and so do these.
    std::cout.rdbuf(new Captured(std::cout.rdbuf(), false));
    std::cerr.rdbuf(new Captured(std::cerr.rdbuf(), true));
    std::clog.rdbuf(new Captured(std::clog.rdbuf(), true));
}

bool cancelled() {
    if (t_state == nullptr || !t_state->cancelled.load(std::memory_order_relaxed)) return false;
    t_state->heard.store(true, std::memory_order_relaxed);
    return true;
}

CurrentCall::CurrentCall() : state_(t_state) {}

CurrentCall::Inside::Inside(std::shared_ptr<State> state) : before_(std::exchange(t_state, std::move(state))) {
    rh::crash_label(t_state != nullptr ? t_state->label.c_str() : nullptr);
}

CurrentCall::Inside::~Inside() {
    printed().out.send();
    printed().err.send();
    printed().log.clear();
    t_state = std::move(before_);
    rh::crash_label(t_state != nullptr ? t_state->label.c_str() : nullptr);
}

}  // namespace roundhouse
