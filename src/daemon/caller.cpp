#include "daemon/caller.h"

#include <algorithm>

#include "base/deadline.h"
#include "base/limits.h"
#include "wire/convert.h"

namespace rh::daemon {

void Caller::answer(std::uint64_t stream, Outcome outcome) {
    if (receiver_ != nullptr) return receiver_->on_outcome(stream, std::move(outcome));
    if (!session.empty() && outcome.kind == Outcome::Kind::failed) {
        answers_[stream] = Outcome::failed(outcome.error);
        if (answers_.size() > limits::k_kept_answers_max) {
            forgotten_ = std::max(forgotten_, answers_.begin()->first);
            answers_.erase(answers_.begin());
        }
    }
    if (link_ == nullptr) return;
    rpc::Message message = wire::result_message(outcome);
    message.set_stream(stream);
    link_->send_whole(message, std::move(outcome.body));
}

const Outcome* Caller::answer_to(std::uint64_t stream) const {
    const auto found = answers_.find(stream);
    return found == answers_.end() ? nullptr : &found->second;
}

void Caller::acknowledge(std::uint64_t sequence) {
    if (!answers_.empty()) answers_.erase(answers_.begin(), answers_.upper_bound(sequence));
}

std::chrono::steady_clock::time_point due_of(const Asker& asker) {
    return asker.deadline_ms == 0 || asker.deadline_ms > k_longest_ms ? std::chrono::steady_clock::time_point::max() : due_in(asker.deadline_ms);
}

}  // namespace rh::daemon
