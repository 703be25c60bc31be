#include "http/stream.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::http {

using daemon::CallEvent;
using net::asio::awaitable;

ItemStream::ItemStream(Exchange& exchange, Running& running, Form form, bool logs)
    : exchange_(exchange), answer_(exchange.answer), running_(running), form_(form), logs_(logs) {}

awaitable<void> ItemStream::run(std::optional<CallEvent> event) {
    if (form_ == Form::events) {
        Headers headers;
        headers.emplace_back("X-Accel-Buffering", "no");
        answer_.begin_stream(200, k_events, std::move(headers));
        answer_.wait_for_ever();
    } else {
        answer_.begin_stream(200, form_ == Form::lines ? k_lines : k_json);
        if (form_ == Form::value) answer_.add("[");
    }
    // Whoever listens for events is told at once that they will come.
    bool listens = true;
    if (!event && form_ != Form::value) listens = co_await flush();
    while (listens) {
        if (!event) event = running_.next_now();
        if (!event) {
            // Also what was not shown is given back.
            const bool owes = body_bytes_ != 0 || output_bytes_ != 0 || !items_.empty();
            if (owes || answer_.added() != 0) listens = co_await flush();
            if (!listens) break;
            const Clock::time_point deadline = form_ == Form::events ? Clock::now() + limits::k_http_event_pause : Clock::time_point::max();
            event = co_await running_.next(deadline);
            if (!event) {
                answer_.add(":\n\n");
                continue;
            }
        }
        const bool goes_on = put(*event);
        event.reset();
        if (!goes_on) break;
        if (answer_.added() >= limits::k_http_write_bytes) listens = co_await flush();
    }
    if (!listens) {
        answer_.break_off();
        co_return;
    }
    if (failed_) {
        // Nothing tells a reader of JSON that more should have come, but that the end is missing.
        answer_.break_off();
        co_await flush();
        co_return;
    }
    if (form_ == Form::value) answer_.add("]");
    co_await answer_.end();
}

bool ItemStream::put(CallEvent& event) {
    switch (event.kind) {
        case CallEvent::Kind::output: put_output(event); return true;
        case CallEvent::Kind::item:
            is_result_ = false;
            begin_body(event);
            put_body(event.bytes.view());
            items_.push_back(std::move(event));
            return true;
        case CallEvent::Kind::result:
            if (event.outcome.kind != Outcome::Kind::returned) {
                put_failure(event.outcome);
                return false;
            }
            is_result_ = true;
            begin_body(event);
            if (form_ == Form::value) return false;  // of what a generator returned an array has no place
            if (parts_.empty()) {
                begin_part();
                answer_.add("null");
                end_part();
                return false;
            }
            put_body(event.bytes.view());
            return part_ < parts_.size();
        case CallEvent::Kind::more:
            put_body(event.bytes.view());
            return !(is_result_ && part_ >= parts_.size());
        case CallEvent::Kind::aborted:
            put_failure(event.outcome);
            return false;
    }
    return false;
}

void ItemStream::begin_body(CallEvent& event) {
    is_batch_ = event.batch;
    parts_ = event.outcome.body.part_bytes;
    part_ = 0;
    part_left_ = parts_.empty() ? 0 : parts_.front();
    part_begun_ = false;
    if (!is_result_ && parts_.empty()) {
        // None, as an item.
        begin_part();
        answer_.add("null");
        end_part();
    }
}

// Beside the first part of a value there is nothing that a stream of JSON could say.
void ItemStream::put_body(ByteView bytes) {
    body_bytes_ += bytes.size();
    while (part_ < parts_.size()) {
        const bool shown = is_batch_ || part_ == 0;
        if (shown && !std::exchange(part_begun_, true)) begin_part();
        const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), part_left_));
        if (shown) answer_.add(as_text(bytes.first(count)));
        bytes = bytes.subspan(count);
        part_left_ -= count;
        if (part_left_ != 0) return;
        if (shown) end_part();
        part_begun_ = false;
        if (++part_ < parts_.size()) part_left_ = parts_[part_];
    }
}

void ItemStream::begin_part() {
    if (form_ == Form::value) {
        if (std::exchange(any_items_, true)) answer_.add(",");
    } else if (form_ == Form::events) {
        answer_.add(is_result_ ? "event: result\ndata: " : "event: item\ndata: ");
    } else {
        answer_.add(is_result_ ? "{\"result\":" : "{\"item\":");
    }
}

void ItemStream::end_part() {
    if (form_ == Form::events) answer_.add("\n\n");
    if (form_ == Form::lines) answer_.add("}\n");
}

void ItemStream::put_failure(const Outcome& outcome) {
    // In the middle of a value it cannot be told.
    failed_ = form_ == Form::value || part_begun_;
    if (failed_) return;
    if (form_ == Form::events) {
        answer_.add(fmt::format("event: error\ndata: {}\n\n", object_of(outcome)));
    } else {
        answer_.add(fmt::format("{{\"error\":{}}}\n", object_of(outcome)));
    }
}

void ItemStream::put_output(const CallEvent& event) {
    output_bytes_ += event.bytes.size();
    if (form_ == Form::value || !logs_ || part_begun_) return;
    const std::string_view channel = event.channel == Channel::err ? "stderr" : "stdout";
    const std::string text = json_string(as_text(event.bytes.view()));
    answer_.add(form_ == Form::events ? fmt::format("event: {}\ndata: {}\n\n", channel, text) : fmt::format("{{\"{}\":{}}}\n", channel, text));
}

awaitable<bool> ItemStream::flush() {
    const bool listens = co_await answer_.flush();
    if (listens) {
        daemon::Call& call = running_.call();
        if (body_bytes_ != 0) call.took_body(std::exchange(body_bytes_, 0));
        if (output_bytes_ != 0) call.took_output(std::exchange(output_bytes_, 0));
        for (const CallEvent& item : items_) call.took_item(item);
        items_.clear();
    }
    co_return listens;
}

}  // namespace rh::http
