#include "worker/exchange.h"

#include <algorithm>
#include <csignal>
#include <system_error>
#include <vector>

#include "wire/convert.h"

namespace rh::worker {

namespace {

// An item beyond this goes alone; gathered ones then fit a chunk together.
constexpr std::size_t k_gathered_item_bytes_max = limits::k_chunk_bytes - limits::k_items_batch_bytes;
// What was sent into a generator and not yet taken by it; a caller asks for an item before it sends again.
constexpr std::size_t k_sent_in_max = 16;

}  // namespace

std::shared_ptr<Exchange::Running> Exchange::find(std::uint64_t id) {
    const auto found = running_.find(id);
    return found == running_.end() ? nullptr : found->second;
}

void Exchange::begin(std::uint64_t id, std::uint32_t prefetch, Origin origin, std::uint64_t acknowledged) {
    auto running = std::make_shared<Running>();
    running->id = id;
    running->origin = std::move(origin);
    running->asks_first = prefetch == 0;
    prefetch = std::min(prefetch, limits::k_prefetch_max);
    running->item_cost_min = limits::k_items_window_bytes / std::max<std::uint32_t>(prefetch, 1);
    running->item_window = prefetch == 0 ? 0 : static_cast<std::int64_t>(limits::k_items_window_bytes);
    const Lock lock(mutex_);
    last_id_ = std::max(last_id_, id);
    if (acknowledged != 0) acknowledge(running->origin.session, acknowledged);
    running_.emplace(id, std::move(running));
}

Result<bool> Exchange::send_outcome(std::uint64_t id, const std::shared_ptr<const Outcome>& outcome, bool gather) {
    rpc::Message head = wire::result_message(*outcome);
    head.set_stream(id);
    const std::shared_ptr<const Body> body(outcome, &outcome->body);
    if (gather) return link_->queue_whole(head, body);
    RH_TRY_VOID(link_->send_whole(head, body));
    return false;
}

Result<bool> Exchange::conclude(std::uint64_t id, Outcome outcome, bool gather) {
    // Beyond this it cannot leave without credit, which nobody grants for a call that was given up.
    const bool large = outcome.body.bytes.size() > limits::k_body_window_bytes;
    std::shared_ptr<Running> running;
    bool unwanted = false;
    {
        const Lock lock(mutex_);
        running = find(id);
        unwanted = large && running != nullptr && running->deaf;
    }
    if (unwanted)
        outcome = Outcome::failed(Error(Code::cancelled, "the call was cancelled; it has ended, and its result was thrown away").with("started", "yes"));
    const auto result = std::make_shared<const Outcome>(std::move(outcome));
    // What is refused before it begins is answered, and never kept.
    if (running == nullptr) return send_outcome(id, result, gather);
    // A caller that comes back just now is told either before this, or with it.
    const std::scoped_lock order(running->order);
    Result<bool> sent = send_outcome(id, result, gather);
    if (!sent && sent.error().code != Code::node_lost) return sent;
    {
        const Lock lock(mutex_);
        // A cancel that came just now may have come too early to find it.
        unwanted = large && !unwanted && running->deaf;
        running->deaf = true;
        running->outcome = result;
        running->changed.notify_all();
        running_.erase(id);
        if (!running->origin.session.empty()) keep(running);
    }
    if (unwanted) link_->abort_outgoing(id);
    return sent;
}

bool Exchange::silence(std::uint64_t id) {
    std::shared_ptr<Running> running;
    bool told = false;
    {
        const Lock lock(mutex_);
        running = find(id);
        if (running == nullptr) return false;
        running->deaf = true;
        running->changed.notify_all();
        told = std::exchange(running->wants_room, false);
    }
    if (told) on_room_(id);
    return true;
}

bool Exchange::is_silent(std::uint64_t id) const {
    const Lock lock(mutex_);
    const auto found = running_.find(id);
    return found != running_.end() && found->second->deaf;
}

void Exchange::hang_up() {
    std::vector<std::uint64_t> told;
    {
        const Lock lock(mutex_);
        closed_ = true;
        for (auto& [id, running] : running_) {
            running->changed.notify_all();
            if (std::exchange(running->wants_room, false)) told.push_back(id);
        }
        gather_wake_.notify_all();
    }
    for (const std::uint64_t id : told) on_room_(id);
}

void Exchange::close() {
    if (link_ != nullptr && !link_->usable()) {
        // A forked child: the thread is its parent's.
        if (flusher_.joinable()) flusher_.detach();
        return;
    }
    hang_up();
    std::thread flusher;
    {
        const Lock lock(mutex_);
        if (flusher_.get_id() != std::this_thread::get_id()) flusher.swap(flusher_);
    }
    if (flusher.joinable()) flusher.join();
}

// --- output --------------------------------------------------------------------------------------------------------

bool Exchange::output(std::uint64_t id, Channel channel, std::string_view text) {
    if (!link_->usable()) return false;
    while (!text.empty()) {
        const std::string_view piece = text.substr(0, limits::k_chunk_bytes);
        std::shared_ptr<Running> running;
        {
            Lock lock(mutex_);
            running = find(id);
            if (running == nullptr) return false;
            running->changed.wait(lock, [&] { return running->output_window >= piece.size() || running->deaf || closed_; });
            if (closed_) return false;
            // What a cancelled call still says, as it cleans up, is sent as far as its caller has room, and never waited for.
            if (running->output_window < piece.size()) return true;
        }
        // Numbered and sent in one order, whichever threads of the call print.
        const std::scoped_lock order(running->print_order);
        rpc::Message message;
        {
            const Lock lock(mutex_);
            if (running->output_window < piece.size()) continue;  // another thread has used it
            running->output_window -= piece.size();
            message.set_number(running->next_line++);
            if (!running->origin.session.empty()) {
                if (running->sent == nullptr) running->sent = std::make_unique<Sent>();
                running->sent->output_bytes += piece.size();
                running->sent->lines.push_back({message.number(), channel, std::string(piece), running->sent->output_bytes});
            }
        }
        message.set_kind(wire::OUTPUT);
        message.set_stream(id);
        message.set_channel(static_cast<wire::Channel>(channel));
        // What a lost connection did not take is said again on the next.
        if (const Result<void> sent = link_->send(message, as_byte_view(piece)); !sent && sent.error().code != Code::node_lost) return false;
        text.remove_prefix(piece.size());
    }
    return true;
}

// --- items ---------------------------------------------------------------------------------------------------------

bool Exchange::can_gather(const Running& running, const Body& body) {
    return body.part_bytes.size() == 1 && body.bytes.size() <= k_gathered_item_bytes_max &&
           (running.gathered.part_bytes.empty() || running.gathered.encoding == body.encoding);
}

void Exchange::pay(Running& running, const Body& body) const {
    const std::uint64_t cost = std::max<std::uint64_t>(body.bytes.size(), running.item_cost_min);
    running.item_window -= static_cast<std::int64_t>(cost);
    running.items_cost += cost;
}

// Numbers what is about to be sent, and keeps it for a caller that comes back. With the lock held.
std::shared_ptr<const Body> Exchange::keep_item(Running& running, rpc::Message& message, Body body) {
    message.set_kind(wire::ITEM);
    message.set_stream(running.id);
    message.set_number(running.next_item++);
    auto kept = std::make_shared<const Body>(std::move(body));
    if (running.origin.session.empty()) return kept;
    if (running.sent == nullptr) running.sent = std::make_unique<Sent>();
    running.sent->items.push_back({message.number(), message.batch(), kept, running.items_cost});
    return kept;
}

// With the lock held: what its caller has taken need not be kept.
void Exchange::has_taken(Running& running, const rpc::Message& credit) {
    if (running.sent == nullptr) return;
    Sent& sent = *running.sent;
    if (credit.channel() == wire::ITEMS) {
        sent.items_granted += credit.number();
        const std::uint64_t before = running.asks_first ? limits::k_items_window_bytes : 0;  // which only asked for the first
        while (!sent.items.empty() && sent.items.front().upto + before <= sent.items_granted) sent.items.pop_front();
    } else {
        sent.output_granted += credit.number();
        while (!sent.lines.empty() && sent.lines.front().upto <= sent.output_granted) sent.lines.pop_front();
    }
}

std::optional<Room> Exchange::gather(std::uint64_t id, const Body& body) {
    if (!link_->usable()) return Room::gone;
    const Lock lock(mutex_);
    const auto found = running_.find(id);
    if (found == running_.end()) return Room::gone;
    Running& running = *found->second;
    if (running.deaf || closed_) return Room::gone;
    Body& gathered = running.gathered;
    if (!can_gather(running, body) || gathered.part_bytes.size() + 1 >= limits::k_items_batch_max ||
        gathered.bytes.size() + body.bytes.size() >= limits::k_items_batch_bytes)
        return std::nullopt;
    // The first after a pause goes at once; what follows closely waits for company, unless nothing may follow.
    const Clock::time_point now = Clock::now();
    if (now - running.sent_at >= limits::k_items_gather) return std::nullopt;
    const auto cost = static_cast<std::int64_t>(std::max<std::uint64_t>(body.bytes.size(), running.item_cost_min));
    if (running.item_window <= cost || running.body_out) return std::nullopt;
    if (gathered.part_bytes.empty() && !gather_later(id, now + limits::k_items_gather)) return std::nullopt;
    running.item_window -= cost;
    running.items_cost += static_cast<std::uint64_t>(cost);
    gathered.encoding = body.encoding;
    gathered.add(body.bytes.view());
    return Room::open;
}

Room Exchange::item(std::uint64_t id, Body body, bool wait) {
    if (!link_->usable()) return Room::gone;
    std::shared_ptr<Running> running;
    bool alone = false;
    {
        const Lock lock(mutex_);
        running = find(id);
        if (running == nullptr || running->deaf || closed_) return Room::gone;
        pay(*running, body);
        alone = !can_gather(*running, body);
        if (!alone) {
            running->gathered.encoding = body.encoding;
            running->gathered.add(body.bytes.view());
        }
    }
    if (alone) {
        send_alone(id, *running, std::move(body));
    } else {
        flush(id, *running);
    }
    Lock lock(mutex_);
    return wait_room(*running, lock, wait);
}

Room Exchange::room_of(const Running& running) const {
    if (running.deaf || closed_) return Room::gone;
    return running.item_window > 0 && !running.body_out ? Room::open : Room::none;
}

Room Exchange::wait_room(Running& running, Lock& lock, bool wait) {
    if (wait) running.changed.wait(lock, [&] { return room_of(running) != Room::none; });
    const Room room = room_of(running);
    running.wants_room = room == Room::none;
    return room;
}

Room Exchange::room(std::uint64_t id, bool wait) {
    if (!link_->usable()) return Room::gone;
    Lock lock(mutex_);
    const std::shared_ptr<Running> running = find(id);
    return running == nullptr ? Room::gone : wait_room(*running, lock, wait);
}

void Exchange::flush(std::uint64_t id, Running& running) {
    const std::scoped_lock order(running.order);
    send_gathered(id, running, false);
}

bool Exchange::send_gathered(std::uint64_t id, Running& running, bool large_follows) {
    Lock lock(mutex_);
    // A large one before these may still be on its way.
    running.changed.wait(lock, [&] { return !running.body_out || running.deaf || closed_; });
    if (large_follows && !running.deaf && !closed_) running.body_out = true;
    return send_batch(id, std::move(lock), running);
}

bool Exchange::flush_now(std::uint64_t id, Running& running) {
    const std::unique_lock order(running.order, std::try_to_lock);
    if (!order.owns_lock()) return false;
    Lock lock(mutex_);
    // Who waits until a large one has gone sends these behind it.
    if (!running.body_out) send_batch(id, std::move(lock), running);
    return true;
}

// Lets go of the lock before it sends.
bool Exchange::send_batch(std::uint64_t id, Lock lock, Running& running) {
    Body batch = std::exchange(running.gathered, {});
    running.sent_at = Clock::now();
    gathering_.erase(id);
    if (running.deaf || closed_) return false;
    if (batch.part_bytes.empty()) return true;
    rpc::Message message;
    message.set_batch(batch.part_bytes.size() > 1);
    const std::shared_ptr<const Body> kept = keep_item(running, message, std::move(batch));
    lock.unlock();
    // A lost connection shows itself to the reader.
    static_cast<void>(link_->send_whole(message, kept));
    return true;
}

void Exchange::send_alone(std::uint64_t id, Running& running, Body body) {
    const std::scoped_lock order(running.order);
    const bool large = body.bytes.size() > limits::k_chunk_bytes;
    if (!send_gathered(id, running, large)) return;
    rpc::Message message;
    std::shared_ptr<const Body> kept;
    {
        const Lock lock(mutex_);
        kept = keep_item(running, message, std::move(body));
    }
    const Result<void> sent = link_->send_whole(message, kept);
    if (sent && !large) return;
    bool late = false;
    {
        const Lock lock(mutex_);
        if (!sent && sent.error().code != Code::node_lost) {
            if (running.sent != nullptr && !running.sent->items.empty()) running.sent->items.pop_back();
            running.sendable = fail(Error(sent.error().code, "an item of the call cannot be sent: " + sent.error().message).with("started", "yes"));
            running.deaf = true;
        }
        late = running.deaf || closed_;
    }
    if (!sent) {
        on_sent(id);
    } else if (late) {
        // The cancel came too early to find it, and nobody may be there to grant it room.
        link_->abort_outgoing(id);
    }
}

Result<void> Exchange::settle(std::uint64_t id) {
    if (!link_->usable()) return {};
    std::shared_ptr<Running> running;
    {
        const Lock lock(mutex_);
        running = find(id);
        if (running == nullptr) return {};
        if (running->gathered.part_bytes.empty() && !running->body_out && running->sent_at == Clock::time_point{}) return {};
    }
    flush(id, *running);
    Lock lock(mutex_);
    running->changed.wait(lock, [&] { return !running->body_out || closed_; });
    return running->sendable;
}

void Exchange::on_sent(std::uint64_t id) {
    bool told = false;
    {
        const Lock lock(mutex_);
        std::shared_ptr<Running> running = find(id);
        if (running == nullptr) running = find_kept(id);
        if (running == nullptr || !std::exchange(running->body_out, false)) return;
        running->changed.notify_all();
        if (running->result_due) gather_later(id, Clock::now());
        told = room_of(*running) == Room::open && std::exchange(running->wants_room, false);
    }
    if (told) on_room_(id);
}

// --- the thread that sends what was gathered -----------------------------------------------------------------------

bool Exchange::gather_later(std::uint64_t id, Clock::time_point when) {
    if (!flusher_.joinable()) {
        // Signals belong to the program's own threads.
        sigset_t all;
        sigset_t before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            flusher_ = std::thread([this] { flusher(); });
        } catch (const std::system_error&) {
            // No thread is to be had: items then go one by one.
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        if (!flusher_.joinable()) return false;
    } else if (gather_asleep_) {
        gather_wake_.notify_one();
    }
    gathering_[id] = when;
    return true;
}

void Exchange::flusher() {
    Lock lock(mutex_);
    while (!closed_) {
        if (gathering_.empty()) {
            gather_asleep_ = true;
            gather_wake_.wait(lock, [&] { return closed_ || !gathering_.empty(); });
            gather_asleep_ = false;
            continue;
        }
        const auto next = std::min_element(gathering_.begin(), gathering_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        const auto [id, when] = *next;
        if (Clock::now() < when) {
            gather_wake_.wait_until(lock, when, [&] { return closed_; });
            continue;
        }
        const std::shared_ptr<Running> running = find(id);
        gathering_.erase(id);
        if (running == nullptr) {
            const std::shared_ptr<Running> kept = find_kept(id);
            lock.unlock();
            if (kept != nullptr && kept->result_due) send_kept_result(*kept);
            lock.lock();
            continue;
        }
        lock.unlock();
        // One call's slow reader must not hold up the others' items, so this thread waits for no call.
        const bool sent = flush_now(id, *running);
        lock.lock();
        if (!sent && !running->gathered.part_bytes.empty() && !running->deaf) gathering_.try_emplace(id, Clock::now() + limits::k_items_gather);
    }
}

// --- what goes into generators -------------------------------------------------------------------------------------

std::optional<Input> Exchange::input(std::uint64_t id, std::uint32_t source_number, bool wait) {
    if (!link_->usable()) return std::nullopt;
    std::uint64_t grant = 0;
    std::optional<Input> taken;
    std::shared_ptr<Running> running;
    {
        const Lock lock(mutex_);
        running = find(id);
        if (running == nullptr) return std::nullopt;
        Source& source = running->sources[source_number];
        if (source_number != 0 && !std::exchange(source.asked, true)) grant = limits::k_items_window_bytes;
    }
    const auto give = [&] {
        rpc::Message credit;
        credit.set_kind(wire::CREDIT);
        credit.set_stream(id);
        credit.set_channel(wire::ITEMS);
        credit.set_source(source_number);
        credit.set_number(grant);
        static_cast<void>(link_->send(credit));
    };
    if (grant != 0) give();
    {
        Lock lock(mutex_);
        Source& source = running->sources[source_number];
        if (wait) running->changed.wait(lock, [&] { return !source.arrived.empty() || source.ended || running->deaf || closed_; });
        if (source.arrived.empty() || running->deaf || closed_) return std::nullopt;
        taken = std::move(source.arrived.front());
        source.arrived.pop_front();
        source.cost -= taken->cost;
        source.ungranted += taken->cost;
        if (taken->kind != Input::Kind::value && source_number != 0) {
            source.ended = true;
            source.arrived.clear();
        }
        grant = 0;
        if (source_number != 0 && !source.ended && source.ungranted >= limits::k_items_window_bytes / 4) grant = std::exchange(source.ungranted, 0);
    }
    if (grant != 0) give();
    return taken;
}

void Exchange::drop_input(std::uint64_t id, std::uint32_t source_number) {
    if (!link_->usable()) return;
    {
        const Lock lock(mutex_);
        const std::shared_ptr<Running> running = find(id);
        if (running == nullptr || running->deaf || closed_) return;
        Source& source = running->sources[source_number];
        if (std::exchange(source.ended, true)) return;
        source.arrived.clear();
        running->changed.notify_all();
    }
    rpc::Message cancel;
    cancel.set_kind(wire::CANCEL);
    cancel.set_stream(id);
    cancel.set_source(source_number);
    static_cast<void>(link_->send(cancel));
}

// --- from the reading thread ---------------------------------------------------------------------------------------

void Exchange::on_credit(const rpc::Message& message) {
    bool told = false;
    {
        const Lock lock(mutex_);
        const std::shared_ptr<Running> running = find(message.stream());
        if (running == nullptr) return;
        if (message.source() == 0) has_taken(*running, message);
        if (message.channel() == wire::ITEMS) {
            if (message.source() != 0) return;
            // A caller that grants without end gets a window's worth: it bounds nothing but its own memory.
            const auto most = static_cast<std::int64_t>(limits::k_items_window_bytes);
            const auto more = static_cast<std::int64_t>(std::min<std::uint64_t>(message.number(), limits::k_body_bytes_max));
            running->item_window = std::min(running->item_window + more, most);
        } else {
            running->output_window += std::min(message.number(), limits::k_output_window_bytes - running->output_window);
        }
        running->changed.notify_all();
        told = room_of(*running) == Room::open && std::exchange(running->wants_room, false);
    }
    if (told) on_room_(message.stream());
}

void Exchange::on_item(rpc::Message& message, Body body) {
    const Lock lock(mutex_);
    const std::shared_ptr<Running> running = find(message.stream());
    if (running == nullptr || running->deaf) return;
    if (message.source() > limits::k_inputs_per_call_max) return;
    Source& source = running->sources[message.source()];
    // Beyond what was granted: a caller that does not keep to it is not listened to.
    const bool full = message.source() == 0 ? source.arrived.size() >= k_sent_in_max : source.cost > 2 * limits::k_items_window_bytes;
    if (source.ended || full) return;
    Input input;
    input.cost = std::max<std::uint64_t>(body.bytes.size(), limits::k_items_window_bytes / limits::k_input_prefetch);
    if (message.last()) {
        input.kind = Input::Kind::end;
    } else if (message.outcome() == wire::RAISED) {
        input.kind = Input::Kind::raised;
        input.raised = {message.raised().type(), message.raised().message(), message.raised().traceback()};
    }
    input.body = std::move(body);
    source.cost += input.cost;
    source.arrived.push_back(std::move(input));
    running->changed.notify_all();
}

}  // namespace rh::worker
