#include "daemon/caller.h"

#include "wire/convert.h"

namespace rh::daemon {

void Caller::answer(std::uint64_t stream, Outcome outcome) {
    if (link_ == nullptr) return receiver_->on_outcome(stream, std::move(outcome));
    rpc::Message message = wire::result_message(outcome);
    message.set_stream(stream);
    link_->send_whole(message, std::move(outcome.body));
}

}  // namespace rh::daemon
