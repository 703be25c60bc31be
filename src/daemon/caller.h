#pragma once

// Who makes calls through the Router: a connected client, whose link carries what comes back, or somebody inside the daemon, who
// takes it as it is (local_calls.h). Owned by whoever it stands for, on the daemon's executor; Router::drop_client() ends what
// it has begun.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/principal.h"
#include "rpc/async_link.h"

namespace rh::daemon {

class Worker;

class Caller final {
public:
    // A stream of the caller's and where it leads.
    struct Target {
        Worker* worker = nullptr;
        std::uint64_t stream = 0;
    };
    // Where messages go that never become frames. Neither may make a call, nor end the caller.
    class Receiver {
    public:
        virtual void on_message(rpc::Message& message, ByteView body) = 0;
        virtual void on_outcome(std::uint64_t stream, Outcome outcome) = 0;

    protected:
        ~Receiver() = default;
    };

    Caller(Principal principal, rpc::AsyncLink& link) : principal_(std::move(principal)), link_(&link) {}
    Caller(Principal principal, Receiver& receiver) : principal_(std::move(principal)), receiver_(&receiver) {}
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

    // Who it is, and what they may do.
    const Principal& principal() const { return principal_; }
    void send(rpc::Message& message, ByteView body = {}) {
        if (link_ != nullptr) return link_->send(message, body);
        if (receiver_ != nullptr) receiver_->on_message(message, body);
    }
    // The end of that stream.
    void answer(std::uint64_t stream, Outcome outcome);

    // A client whose connection was lost, and who may come back on another within limits::k_resume_grace. Until then what its
    // workers send goes nowhere: they keep it.
    void detach() { link_ = nullptr; }
    void attach(rpc::AsyncLink& link) { link_ = &link; }
    bool is_detached() const { return link_ == nullptr && receiver_ == nullptr; }
    // What the node itself has told it of its calls, unlike their workers; kept until it is known to have arrived.
    const Outcome* answer_to(std::uint64_t stream) const;
    void acknowledge(std::uint64_t sequence);
    // Of some that answer_to() no longer knows.
    bool has_forgotten(std::uint64_t stream) const { return stream <= forgotten_; }
    bool has_answers() const { return !answers_.empty(); }

    std::string session;  // empty: it does not come back

    std::unordered_map<std::uint64_t, Target> targets;  // calls on their way
    std::unordered_set<std::uint64_t> asking;           // calls to the node itself that were not answered yet

private:
    const Principal principal_;
    rpc::AsyncLink* link_ = nullptr;  // null for a Receiver, and while it is detached
    Receiver* const receiver_ = nullptr;
    std::map<std::uint64_t, Outcome> answers_;
    std::uint64_t forgotten_ = 0;
};

// A call to the node itself: whose stream asked, which may be gone by the time of the answer, as `alive` then says.
struct Asker {
    Caller* caller = nullptr;
    std::uint64_t stream = 0;
    std::shared_ptr<const bool> alive;  // shared with the caller's owner, which outlives neither
    std::uint64_t deadline_ms = 0;
    bool kill = false;
    std::vector<std::string> parents;
    Principal principal;
    std::uint64_t output_number = 0;  // up to where it has what is printed for it, when it asks again

    Caller* get() const { return alive != nullptr && *alive ? caller : nullptr; }
};

// When the call must have ended, if nothing of its time was used up yet.
std::chrono::steady_clock::time_point due_of(const Asker& asker);

}  // namespace rh::daemon
