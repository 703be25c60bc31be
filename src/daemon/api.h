#pragma once

// What the HTTP side may ask of the daemon. Implemented by Daemon; everything on its executor.

#include <memory>
#include <string>

#include "base/bytes.h"
#include "daemon/principal.h"
#include "net/accepted.h"

namespace rh::daemon {

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
};

}  // namespace rh::daemon
