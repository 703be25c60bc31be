// The streams of values that a call may have beside its result: what its generator yields, what is sent into it, and what
// its generator arguments yield (protocol/wire.md, Items).

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "client/connection.h"
#include "wire/convert.h"

namespace rh::client {

namespace {

constexpr std::uint64_t k_window = limits::k_items_window_bytes;

// A node that sends more than it was granted is not believed to stop.
constexpr std::uint64_t k_items_cost_max = 4 * k_window;

}  // namespace

// --- what comes ----------------------------------------------------------------------------------------------------

std::uint64_t Pending::cost_of(const Items& items) const {
    const std::uint64_t least = k_window / std::max<std::uint32_t>(std::min(prefetch_.value_or(1), limits::k_prefetch_max), 1);
    if (!items.batch) return std::max<std::uint64_t>(items.body.bytes.size(), least);
    std::uint64_t cost = 0;
    for (const std::uint64_t bytes : items.body.part_bytes) cost += std::max(bytes, least);
    return cost;
}

Result<void> Connection::on_items(rpc::Message& message, Body body) {
    std::unique_lock lock(mutex_);
    const std::shared_ptr<Pending> call = find(message.stream());
    if (call == nullptr) return {};
    if (!call->prefetch_) {
        finish(lock, *call, Outcome::failed(Error(Code::unsupported, "what was called is a generator by now, which it was not when it was looked up: look it up again")
                                                .with("started", "yes")));
        lock.unlock();
        cancel(message.stream(), false);
        return {};
    }
    if (message.number() != 0) call->item_number_ = message.number();
    call->sent_in_ = false;
    Items items{std::move(body), message.batch()};
    if (items.batch && items.body.part_bytes.empty()) return {};  // none at all, which would cost nothing
    // One item may overdraw the window, whatever its size.
    if (call->items_cost_ > k_items_cost_max) return fail(Code::protocol, "the node sends more items than it was granted");
    call->items_cost_ += call->cost_of(items);
    const bool first = call->items_.empty();
    call->items_.push_back(std::move(items));
    poke(call->waiters_);
    const std::shared_ptr<Observer> observer = first ? call->observer_ : nullptr;
    lock.unlock();
    if (observer != nullptr) observer->on_items();
    return {};
}

std::vector<Items> Pending::take_items() {
    std::vector<Items> taken;
    std::uint64_t grant = 0;
    {
        const std::scoped_lock lock(connection_->mutex_);
        taken.swap(items_);
        ungranted_cost_ += std::exchange(items_cost_, 0);
        if (!done_ && prefetch_.value_or(0) > 0 && ungranted_cost_ >= k_window / 4) grant = std::exchange(ungranted_cost_, 0);
    }
    if (grant != 0) connection_->grant_items(*this, grant);
    return taken;
}

void Pending::ask() {
    std::uint64_t grant = 0;
    {
        const std::scoped_lock lock(connection_->mutex_);
        if (done_ || prefetch_.value_or(1) != 0) return;
        grant = std::exchange(asked_, true) ? std::exchange(ungranted_cost_, 0) : k_window;
    }
    if (grant != 0) connection_->grant_items(*this, grant);
}

void Pending::observe(std::shared_ptr<Observer> observer) {
    std::unique_lock lock(connection_->mutex_);
    // What has come is told first, so that what comes next, and the end, are told behind it.
    while (!output_.empty()) {
        const std::vector<Connection::Text> texts = std::exchange(output_, {});
        lock.unlock();
        std::size_t bytes = 0;
        for (const auto& [channel, text] : texts) {
            observer->on_output(channel, text);
            bytes += text.size();
        }
        connection_->took_output(*this, bytes);
        lock.lock();
    }
    const bool done = done_;
    const bool items = !items_.empty();
    if (!done) {
        if (observer_ == nullptr && ++connection_->observed_ == 1) connection_->background_wake_.notify_one();
        observer_ = observer;
    }
    lock.unlock();
    if (items) observer->on_items();
    if (done) observer->on_done();
}

// --- what goes -----------------------------------------------------------------------------------------------------

void Connection::on_item_credit(const rpc::Message& message) {
    const std::scoped_lock lock(mutex_);
    const std::shared_ptr<Pending> call = find(message.stream());
    if (call == nullptr || message.source() == 0 || message.source() > limits::k_inputs_per_call_max) return;
    Pending::Source& source = call->sources_[message.source()];
    if (message.kind() == wire::CANCEL) {
        source.dropped = true;
    } else if (message.channel() == wire::ITEMS) {
        const auto more = static_cast<std::int64_t>(std::min<std::uint64_t>(message.number(), limits::k_body_bytes_max));
        source.window = std::min(source.window + more, static_cast<std::int64_t>(k_window));
    }
    poke(call->senders_);
}

bool Pending::wait_room(std::uint32_t number) {
    bool room = false;
    connection_->wait_among(senders_, std::nullopt, nullptr, [&](std::unique_lock<std::mutex>&) {
        const Source& source = sources_[number];
        room = !done_ && !source.dropped && source.window > 0;
        return room || done_ || source.dropped || connection_->lost_;
    });
    return room;
}

bool Pending::send_item(std::uint32_t source, Sent sent) {
    bool mine = false;
    connection_->wait_among(senders_, std::nullopt, nullptr, [&](std::unique_lock<std::mutex>&) {
        if (done_ || connection_->lost_) return true;
        if (sending_) return false;
        if (source != 0) {
            Source& there = sources_[source];
            if (there.dropped) return true;
            there.window -= static_cast<std::int64_t>(std::max<std::uint64_t>(sent.body.bytes.size(), k_window / limits::k_input_prefetch));
        }
        if (source == 0) sent_in_ = true;
        // From several threads (one for each argument) they must not come between a large one and its chunks.
        return sending_ = mine = true;
    });
    return mine && connection_->send_item(*this, source, std::move(sent));
}

bool Connection::send_item(Pending& call, std::uint32_t source, Sent sent) {
    rpc::Message message;
    message.set_kind(wire::ITEM);
    message.set_stream(call.stream_);
    message.set_source(source);
    if (sent.kind == Sent::Kind::end) message.set_last(true);
    const auto raise = [&](const Raised& from) {
        message.set_outcome(wire::RAISED);
        wire::Raised& raised = *message.mutable_raised();
        raised.set_type(wire::keep_end(from.type, 1024));
        raised.set_message(wire::keep_end(from.message, limits::k_error_text_bytes_max));
        raised.set_traceback(wire::keep_end(from.traceback, limits::k_error_text_bytes_max));
    };
    if (sent.kind == Sent::Kind::raised) raise(sent.raised);
    const bool large = sent.body.bytes.size() > limits::k_chunk_bytes;
    Result<void> done = link_->send_whole(message, std::move(sent.body));
    if (done && large) {
        // The link tells when it has gone. What ended the call meanwhile came too early to find it, and nobody grants it room.
        bool over = false;
        {
            const std::scoped_lock lock(mutex_);
            over = call.done_;
        }
        if (over) link_->abort_outgoing(call.stream_);
        return true;
    }
    if (!done && done.error().code != Code::node_lost) {
        // Whoever waits for the value would wait for ever: it hears why there is none.
        raise({std::string(code_name(done.error().code)), "an item cannot be sent: " + done.error().message, ""});
        done = link_->send_whole(message, Body());
    }
    on_sent(call.stream_);
    if (done) return true;
    if (link_->usable()) broke(done.error());
    return false;
}

void Connection::on_sent(std::uint64_t stream) {
    const std::scoped_lock lock(mutex_);
    const std::shared_ptr<Pending> call = find(stream);
    if (call == nullptr) return;
    call->sending_ = false;
    call->sent_ = true;
    poke(call->senders_);
}

void Connection::grant_items(Pending& call, std::uint64_t bytes) {
    std::uint64_t generation = 0;
    {
        const std::scoped_lock lock(mutex_);
        call.items_granted_ += bytes;
        if (down_) return;  // it is said when the call is resumed
        generation = link_->generation();
    }
    rpc::Message credit;
    credit.set_kind(wire::CREDIT);
    credit.set_stream(call.stream_);
    credit.set_channel(wire::ITEMS);
    credit.set_number(bytes);
    if (const Result<void> sent = link_->send_on(generation, credit); !sent && link_->usable()) broke(sent.error());
}

}  // namespace rh::client
