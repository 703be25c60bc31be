#pragma once

// What the HTTP side may ask of the daemon. Implemented by Daemon; everything on its executor.

#include <memory>

#include "base/bytes.h"
#include "net/unix.h"

namespace rh::daemon {

class Api {
public:
    virtual ~Api() = default;
    // Takes over a stream whose peer asked for the Upgrade; `leftover` is what it sent after its request.
    virtual void adopt(std::unique_ptr<net::Stream> stream, net::Peer peer, Bytes leftover) = 0;
    // False at the connection limit: the peer is to be told 503.
    virtual bool has_room() const = 0;
};

}  // namespace rh::daemon
