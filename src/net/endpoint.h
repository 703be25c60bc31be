#pragma once

// How to reach a daemon, as text: "unix:/path", "tcp://127.0.0.1:PORT", "tls://HOST:PORT". A plain absolute path is a Unix
// socket, and http:// and https:// (a listener's URL) are tcp:// and tls://.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rh::net {

struct Endpoint {
    enum class Kind { unix_socket, tcp, tls };

    Kind kind = Kind::unix_socket;
    std::string path;        // unix_socket
    std::string host;        // a name or a numeric address, without brackets
    std::uint16_t port = 0;

    // Code::bad_arguments for what is none of these.
    static Result<Endpoint> parse(std::string_view text);
    // As a request's Host has it: "host:port", in brackets where that is needed; "localhost" for a Unix socket.
    std::string authority() const;
    std::string text() const;
};

// "[::1]" for an IPv6 address; everything else as it is.
std::string bracketed(std::string_view host);
// Whether it names this machine's loopback: 127.0.0.0/8, ::1 or localhost.
bool is_loopback(std::string_view host);
// Whether it is an IPv4 or IPv6 address rather than a name.
bool is_numeric(std::string_view host);

}  // namespace rh::net
