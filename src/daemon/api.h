#pragma once

// What the HTTP side may ask of the daemon. Implemented by Daemon; everything on its executor.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/body.h"
#include "base/limits.h"
#include "base/output_place.h"
#include "daemon/principal.h"
#include "net/accepted.h"

namespace rh::daemon {

// A call as somebody inside the daemon makes it: of a service, or of "_node" (protocol/node.md).
struct CallRequest {
    std::string service;
    std::string method;
    Encoding encoding = Encoding::empty;
    std::vector<std::uint64_t> part_bytes;  // announces the whole body
    std::uint64_t deadline_ms = 0;          // 0: none
    bool kill = false;
    std::uint32_t prefetch = limits::k_prefetch_default;  // should it be a generator
};

// Something that came back, in the order in which it came.
struct CallEvent {
    enum class Kind {
        output,   // `bytes` of text on `channel`
        item,     // of a generator: `outcome` announces its body, `bytes` begin it
        result,   // the same, and nothing but `more` and `output` follows
        more,     // of the body that came last
        aborted,  // the rest of that body will not come: `outcome` says why. Behind it nothing comes.
    };
    Kind kind = Kind::output;
    Channel channel = Channel::out;
    OutputPlace place;   // of output: how far it has come with this
    bool batch = false;  // each part is an item of its own
    Outcome outcome;     // its body has the encoding and the sizes of the parts, no bytes
    Bytes bytes;
};

// One call. Destroying it while it runs cancels it. At most one body window, one output window and one items window of what comes
// back waits here: the sender stops until took() is told.
class Call {
public:
    virtual ~Call() = default;
    // What came and was not looked at yet.
    virtual std::optional<CallEvent> next() = 0;
    // How many bytes of the announced body may be sent now.
    virtual std::uint64_t room() const = 0;
    // The next of them; at most room().
    virtual void send(ByteView bytes) = 0;
    // So much of a body, or of output, is no longer held here.
    virtual void took_body(std::uint64_t bytes) = 0;
    virtual void took_output(std::uint64_t bytes) = 0;
    // An item event was dealt with.
    virtual void took_item(const CallEvent& item) = 0;
    // With `kill` its worker may be ended for it.
    virtual void cancel(bool kill) = 0;
    // How it ended is kept elsewhere now, so its worker need not.
    virtual void settle() = 0;
};

// Somebody inside the daemon who makes calls. Outlives them; when it goes, what it has started and not deployed to is ended.
class Calls {
public:
    virtual ~Calls() = default;
    // `first` begins the body, with at most one chunk. `bell` is rung whenever next() or room() have something new; it must not
    // call back.
    virtual std::unique_ptr<Call> open(CallRequest request, ByteView first, std::function<void()> bell) = 0;
    // The call `stream` of a session that a daemon before this one has begun: what it prints behind `has`, and how it ends.
    // Code::node_lost with the fact never_began where its worker has never seen it.
    virtual std::unique_ptr<Call> resume(std::uint64_t stream, const OutputPlace& has, std::function<void()> bell) = 0;
};

// What is known of a method without asking its worker.
struct MethodFacts {
    std::string service_kind;  // "function", "class", "instance", "object"
    bool known = false;        // it has such a method
    bool generator = false;
    bool readonly = false;
};

class Api {
public:
    virtual ~Api() = default;
    // Takes over a stream whose peer asked for the Upgrade; `leftover` is what it sent after its request.
    virtual void adopt(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Bytes leftover) = 0;
    // False at the connection limit: the peer is to be told 503.
    virtual bool has_room() const = 0;
    // The next connection over TCP, from whenever the node is asked to listen there. One caller at a time; an Error with the
    // fact errno=ECANCELED's number is the end.
    virtual net::asio::awaitable<Result<net::Accepted>> accept() = 0;
    // Whose token that is. Code::not_allowed, after a moment, when it is nobody's (401); Code::limit_exceeded when too many wrong
    // ones are being answered.
    virtual net::asio::awaitable<Result<Principal>> authenticate(std::string token, std::string address) = 0;
    // Returns once it is known what lives on this node, which a restarted daemon hears from its workers. Bounded.
    virtual net::asio::awaitable<void> ready() = 0;
    // How many connections carry frames.
    virtual std::size_t connections() const = 0;
    virtual std::unique_ptr<Calls> calls(Principal principal) = 0;
    // Nothing where there is no such service.
    virtual std::optional<MethodFacts> method(std::string_view service, std::string_view name) const = 0;
};

}  // namespace rh::daemon
