// What a call prints, and whether it is still wanted (roundhouse/worker.h).

#include <cstdio>
#include <ostream>
#include <streambuf>

#include "sdk/crash.h"
#include "sdk/current.h"

namespace roundhouse {

namespace {

thread_local std::shared_ptr<CurrentCall::State> t_state;

// Beyond this a line is sent in pieces.
constexpr std::size_t k_line_bytes_max = 64 * 1024;

class Lines final : public std::streambuf {
public:
    void send() {
        if (text_.empty()) return;
        print(text_);
        text_.clear();
    }

private:
    int_type overflow(int_type character) override {
        if (traits_type::eq_int_type(character, traits_type::eof())) return traits_type::not_eof(character);
        const char letter = traits_type::to_char_type(character);
        xsputn(&letter, 1);
        return character;
    }
    std::streamsize xsputn(const char* letters, std::streamsize count) override {
        text_.append(letters, static_cast<std::size_t>(count));
        const std::size_t end = text_.rfind('\n');
        if (end != std::string::npos) {
            print(std::string_view(text_).substr(0, end + 1));
            text_.erase(0, end + 1);
        }
        if (text_.size() >= k_line_bytes_max) send();
        return count;
    }

    std::string text_;
};

struct Log {
    Lines lines;
    std::ostream stream{&lines};
    ~Log() { lines.send(); }
};

Log& this_log() {
    thread_local Log log;
    return log;
}

void write(bool is_error, std::string_view text) {
    const auto channel = is_error ? rh::Channel::err : rh::Channel::out;
    if (t_state != nullptr && t_state->host->output(t_state->id, channel, text)) return;
    std::FILE* const to = is_error ? stderr : stdout;
    std::fwrite(text.data(), 1, text.size(), to);
    std::fflush(to);
}

}  // namespace

const std::shared_ptr<CurrentCall::State>& current_state() { return t_state; }

void print(std::string_view text) { write(false, text); }
void print_error(std::string_view text) { write(true, text); }
std::ostream& log() { return this_log().stream; }

bool cancelled() { return t_state != nullptr && t_state->cancelled.load(std::memory_order_relaxed); }

CurrentCall::CurrentCall() : state_(t_state) {}

CurrentCall::Inside::Inside(std::shared_ptr<State> state) : before_(std::exchange(t_state, std::move(state))) {
    rh::crash_label(t_state != nullptr ? t_state->label.c_str() : nullptr);
}

CurrentCall::Inside::~Inside() {
    this_log().lines.send();
    this_log().stream.clear();
    t_state = std::move(before_);
    rh::crash_label(t_state != nullptr ? t_state->label.c_str() : nullptr);
}

}  // namespace roundhouse
