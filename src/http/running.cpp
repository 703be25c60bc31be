#include "http/running.h"

#include <algorithm>

#include "base/limits.h"

namespace rh::http {

using daemon::CallEvent;
using net::asio::awaitable;

Running::Running(Exchange& exchange) : exchange_(exchange), calls_(exchange.api.calls(exchange.principal)) {}

bool Running::ended_early() {
    while (std::optional<CallEvent> event = call_->next()) early_.push_back(std::move(*event));
    return std::any_of(early_.begin(), early_.end(), [](const CallEvent& event) { return event.kind == CallEvent::Kind::result || event.kind == CallEvent::Kind::aborted; });
}

void Running::notice_hang_up() {
    if (exchange_.connection.hung_up()) call_->cancel(false);
    exchange_.connection.watch();
}

awaitable<Try<>> Running::open(daemon::CallRequest request, Arguments arguments) {
    request.part_bytes = std::move(arguments.part_bytes);
    request.encoding = request.part_bytes.empty() ? Encoding::empty : Encoding::json;
    ByteView rest = arguments.bytes.view();
    const ByteView first = rest.first(std::min(rest.size(), limits::k_chunk_bytes));
    rest = rest.subspan(first.size());
    early_.clear();
    Connection& connection = exchange_.connection;
    call_ = calls_->open(std::move(request), first, [&connection] { connection.ring(); });
    while (!rest.empty() && !ended_early()) {
        const ByteView piece = rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(rest.size(), call_->room())));
        call_->send(piece);
        rest = rest.subspan(piece.size());
        if (!piece.empty()) continue;
        notice_hang_up();
        co_await connection.wait();
    }
    std::uint64_t left = arguments.unread_bytes;
    while (left != 0 && !ended_early()) {
        const Try<ByteView> there = co_await exchange_.body.next();
        if (!there) co_return refuse(there.error());
        const ByteView piece = there->first(static_cast<std::size_t>(std::min<std::uint64_t>(there->size(), call_->room())));
        call_->send(piece);
        exchange_.body.take(piece.size());
        left -= piece.size();
        if (!piece.empty()) continue;
        if (connection.hung_up() && connection.unread().size() < left) co_return refuse(Refusal::broken(400, "the connection was closed in the middle of the body"));
        connection.watch();
        co_await connection.wait();
    }
    co_return Try<>();
}

std::optional<CallEvent> Running::next_now() {
    if (early_.empty()) return call_->next();
    std::optional<CallEvent> event = std::move(early_.front());
    early_.pop_front();
    return event;
}

awaitable<std::optional<CallEvent>> Running::next(Clock::time_point deadline) {
    for (;;) {
        std::optional<CallEvent> event = next_now();
        if (event) co_return event;
        notice_hang_up();
        // What was cancelled answers soon; the peer may have closed only its own side, and still hear it.
        const bool rung = co_await exchange_.connection.wait(deadline);
        if (!rung) co_return std::nullopt;
    }
}

awaitable<Outcome> Running::outcome(std::uint64_t bytes_max) {
    Outcome outcome;
    std::uint64_t whole = 0;
    bool begun = false;
    for (;;) {
        std::optional<CallEvent> event = co_await next();
        if (!event) continue;
        if (event->kind == CallEvent::Kind::output) {
            call_->took_output(event->bytes.size());
            continue;
        }
        if (event->kind == CallEvent::Kind::item) {
            call_->took_item(*event);
            continue;
        }
        if (event->kind == CallEvent::Kind::aborted) co_return std::move(event->outcome);
        if (event->kind == CallEvent::Kind::result) {
            begun = true;
            outcome = std::move(event->outcome);
            for (const std::uint64_t part : outcome.body.part_bytes) whole += part;
            if (whole > bytes_max) co_return Outcome::failed(Error(Code::limit_exceeded, "what the node answered is too long"));
        }
        call_->took_body(event->bytes.size());
        if (!begun) continue;
        outcome.body.bytes.append(event->bytes.view());
        if (outcome.body.bytes.size() >= whole) co_return outcome;
    }
}

}  // namespace rh::http
