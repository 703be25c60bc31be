#pragma once

// A connection that somebody made to this node: its bytes, who is at the other end, and by which door it came.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/stream.h"

namespace rh::net {

// Who is at the other end: as the kernel knows (Unix socket), or only from where (TCP).
struct Peer {
    std::uint32_t uid = 0;
    std::int32_t pid = 0;
    std::string address;  // "127.0.0.1", of a TCP peer
};

// A TCP port that the node listens on.
struct Door {
    bool tls = false;
    bool runhouse = false;           // whether a GET may call methods there, as Runhouse's did
    std::uint16_t port = 0;
    std::vector<std::string> hosts;  // lower case, without brackets and port; "*.example.org" is any name one level below

    // Whether that value of a request's Host header means this door. A page of another site cannot make a browser send such a one.
    bool is_named(std::string_view host_header) const;
    std::string certificate;  // what the peer was shown, as PEM; empty without TLS
};

struct Accepted {
    std::unique_ptr<Stream> stream;
    Peer peer;
    std::shared_ptr<const Door> door;  // null: the Unix socket. Shared with the listener, which may be closed before the connection
};

}  // namespace rh::net
