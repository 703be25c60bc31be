#pragma once

// Calls that are made inside the daemon, by its HTTP side and by runs: no socket and no frames, but the same routes, credit, cancel
// and deadlines as a connected client's. Owned by whoever makes the calls, on the daemon's executor; its end cancels them. With a
// session they outlive the daemon: their workers keep them for the next one.

#include <deque>
#include <unordered_map>

#include "daemon/api.h"
#include "daemon/router.h"

namespace rh::daemon {

class LocalCall;

class LocalCalls final : public Calls, private Caller::Receiver {
public:
    // What is for the daemon rather than the router.
    class Owner {
    public:
        virtual void ask_node(Asker asker, std::string method, Body body) = 0;
        // That call of its own is no longer wanted.
        virtual void cancel_ask(const Caller& caller, std::uint64_t stream) = 0;
        // It has taken so many bytes of that call's output.
        virtual void credit_ask(const Caller& caller, std::uint64_t stream, std::uint64_t bytes) = 0;
        virtual void drop_caller(Caller& caller) = 0;

    protected:
        ~Owner() = default;
    };

    LocalCalls(Principal principal, Router& router, Owner& owner);
    // Its calls are numbered from `first_stream` on.
    LocalCalls(Principal principal, std::string session, std::uint64_t first_stream, Router& router, Owner& owner);
    ~LocalCalls() override;

    std::unique_ptr<Call> open(CallRequest request, ByteView first, std::function<void()> bell) override;
    std::unique_ptr<Call> resume(std::uint64_t stream, const OutputPlace& has, std::function<void()> bell) override;

private:
    friend class LocalCall;

    void on_message(rpc::Message& message, ByteView body) override;
    void on_outcome(std::uint64_t stream, Outcome outcome) override;

    Router& router_;
    Owner& owner_;
    Caller caller_;
    const std::shared_ptr<bool> alive_;  // shared with the coroutines that owe it an answer
    std::unordered_map<std::uint64_t, LocalCall*> calls_;
    std::uint64_t next_stream_ = 1;
};

}  // namespace rh::daemon
