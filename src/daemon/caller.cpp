#include "daemon/caller.h"

#include "wire/convert.h"

namespace rh::daemon {

void Caller::answer(std::uint64_t stream, Outcome outcome) {
    if (link_ == nullptr) return receiver_->on_outcome(stream, std::move(outcome));
    rpc::Message message = wire::result_message(outcome);
    message.set_stream(stream);
    link_->send_whole(message, std::move(outcome.body));
}

std::chrono::steady_clock::time_point due_of(const Asker& asker) {
    using Clock = std::chrono::steady_clock;
    // A clock's numbers end somewhere: whoever waits longer than this waits for ever.
    constexpr std::uint64_t k_longest_ms = std::uint64_t{10} * 365 * 24 * 3600 * 1000;
    return asker.deadline_ms == 0 || asker.deadline_ms > k_longest_ms ? Clock::time_point::max() : Clock::now() + std::chrono::milliseconds(asker.deadline_ms);
}

}  // namespace rh::daemon
