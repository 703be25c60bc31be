// A caller that comes back on another connection (exchange.h): what is kept for it, and how it is said again.

#include <algorithm>

#include "base/deadline.h"
#include "worker/exchange.h"

namespace rh::worker {

std::shared_ptr<Exchange::Running> Exchange::find(const std::string& session, std::uint64_t sequence) {
    const auto is_it = [&](const Running& running) { return running.origin.sequence == sequence && running.origin.session == session; };
    for (const auto& [id, running] : running_) {
        if (is_it(*running)) return running;
    }
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& running) { return is_it(*running); });
    return found == kept_.end() ? nullptr : *found;
}

std::shared_ptr<Exchange::Running> Exchange::find_kept(std::uint64_t id) const {
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& running) { return running->id == id; });
    return found == kept_.end() ? nullptr : *found;
}

// It will be missed by a caller that comes back for it, and that must not be told that it never began.
void Exchange::let_go(const Running& running) {
    if (gone_.size() >= limits::k_kept_results_max) gone_.clear();
    std::uint64_t& upto = gone_[running.origin.session];
    upto = std::max(upto, running.origin.sequence);
}

void Exchange::keep(std::shared_ptr<Running> running) {
    kept_bytes_ += running->outcome->body.bytes.size();
    kept_.push_back(std::move(running));
    trim_kept();
}

void Exchange::trim_kept() {
    const auto drop_first = [&] {
        kept_bytes_ -= kept_.front()->outcome->body.bytes.size();
        let_go(*kept_.front());
        kept_.pop_front();
    };
    // The last is kept whatever its size: its caller is only about to take it.
    while (kept_.size() > limits::k_kept_results_max || (kept_.size() > 1 && kept_bytes_ > limits::k_kept_result_bytes)) drop_first();
    if (kept_.size() < sweep_at_) return;
    // The time is asked for here alone, and not for each call: so they stay from the first sweep that finds them on.
    const auto now = Clock::now();
    for (const std::shared_ptr<Running>& running : kept_) {
        if (running->swept_at == Clock::time_point{}) running->swept_at = now;
    }
    while (!kept_.empty() && kept_.front()->swept_at < now - 2 * limits::k_resume_grace) drop_first();
    sweep_at_ = std::max<std::size_t>(64, 2 * kept_.size());
}

void Exchange::acknowledge(const std::string& session, std::uint64_t sequence) {
    const auto has_it = [&](const Running& running) { return running.origin.sequence <= sequence && running.origin.session == session; };
    while (!kept_.empty() && has_it(*kept_.front())) {
        kept_bytes_ -= kept_.front()->outcome->body.bytes.size();
        kept_.pop_front();
    }
    if (kept_.size() < sweep_at_ / 2) return;
    std::erase_if(kept_, [&](const auto& running) {
        if (!has_it(*running)) return false;
        kept_bytes_ -= running->outcome->body.bytes.size();
        return true;
    });
    sweep_at_ = std::max<std::size_t>(64, 2 * kept_.size());
}

void Exchange::forget(const std::string& session, std::uint64_t sequence) {
    const Lock lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& running) { return running->origin.sequence == sequence && running->origin.session == session; });
    if (found == kept_.end()) return;
    kept_bytes_ -= (*found)->outcome->body.bytes.size();
    kept_.erase(found);
}

void Exchange::announce() {
    std::vector<rpc::Message> messages;
    {
        const Lock lock(mutex_);
        for (const auto& [id, running] : running_) {
            rpc::Message& message = messages.emplace_back();
            message.set_kind(wire::RUNNING);
            message.set_stream(id);
            message.set_service(running->origin.service);
            message.set_session(running->origin.session);
            message.set_sequence(running->origin.sequence);
            if (running->origin.deadline) message.set_deadline_ms(left_ms(*running->origin.deadline));
        }
    }
    rpc::Message& end = messages.emplace_back();
    end.set_kind(wire::RUNNING);
    end.set_number(last_id_);
    // A connection that is lost again shows itself to the reader.
    for (rpc::Message& message : messages) static_cast<void>(link_->send(message));
}

void Exchange::resume(const rpc::Message& asked) {
    rpc::Message answer;
    answer.set_kind(wire::RESUMED);
    answer.set_number(asked.number());
    std::shared_ptr<Running> running;
    {
        const Lock lock(mutex_);
        running = find(asked.session(), asked.sequence());
        if (running == nullptr) {
            const auto gone = gone_.find(asked.session());
            answer.set_gone(gone != gone_.end() && asked.sequence() <= gone->second);
        } else {
            answer.set_stream(running->id);
        }
    }
    if (running == nullptr) {
        static_cast<void>(link_->send(answer));
        return;
    }
    // What was on its way went to a connection that is no more. Whoever waits for it to have gone holds `order`.
    link_->drop_outgoing(running->id);
    bool told = false;
    {
        const std::scoped_lock order(running->order, running->print_order);
        static_cast<void>(link_->send(answer));
        if (!say_again(*running, asked)) return;
        const Lock lock(mutex_);
        running->changed.notify_all();
        told = room_of(*running) == Room::open && std::exchange(running->wants_room, false);
    }
    if (told) on_room_(running->id);
}

// With both orders held. False when the call is over, and all of it has been said.
bool Exchange::say_again(Running& running, const rpc::Message& asked) {
    std::deque<Line> lines;
    std::deque<SentItem> items;
    bool ended = false;
    {
        const Lock lock(mutex_);
        ended = running.outcome != nullptr;
        if (running.sent != nullptr) {
            Sent& sent = *running.sent;
            std::uint64_t has = sent.output_granted;
            for (; !sent.lines.empty() && sent.lines.front().number <= asked.output_number(); sent.lines.pop_front()) has = sent.lines.front().upto;
            while (!sent.items.empty() && sent.items.front().number <= asked.item_number()) sent.items.pop_front();
            sent.output_granted = has - std::min(asked.output_pending(), has);
            sent.items_granted = asked.items_granted();
            lines = sent.lines;
            items = sent.items;
            const std::uint64_t out = sent.output_bytes - sent.output_granted;
            running.output_window = limits::k_output_window_bytes - std::min(out, limits::k_output_window_bytes);
        }
        const auto most = static_cast<std::int64_t>(limits::k_items_window_bytes);
        const std::int64_t first = running.asks_first ? 0 : most;
        running.item_window = std::min(first + static_cast<std::int64_t>(asked.items_granted()) - static_cast<std::int64_t>(running.items_cost), most);
    }
    for (const Line& line : lines) {
        rpc::Message message;
        message.set_kind(wire::OUTPUT);
        message.set_stream(running.id);
        message.set_number(line.number);
        message.set_channel(static_cast<wire::Channel>(line.channel));
        static_cast<void>(link_->send(message, as_byte_view(line.text)));
    }
    for (const SentItem& item : items) {
        // Only the last can be larger than a window, and so not leave at once: it overdrew what its caller had granted.
        const bool waits = item.body->bytes.size() > limits::k_body_window_bytes;
        {
            const Lock lock(mutex_);
            running.body_out = waits;
            running.result_due = waits && ended;
        }
        rpc::Message message;
        message.set_kind(wire::ITEM);
        message.set_stream(running.id);
        message.set_number(item.number);
        message.set_batch(item.batch);
        static_cast<void>(link_->send_whole(message, item.body));
        if (waits && ended) return false;
    }
    if (!ended) return true;
    send_kept_result(running);
    return false;
}

void Exchange::send_kept_result(Running& running) {
    {
        const Lock lock(mutex_);
        if (running.outcome == nullptr) return;
        running.result_due = false;
    }
    static_cast<void>(send_outcome(running.id, running.outcome, false));
}

}  // namespace rh::worker
