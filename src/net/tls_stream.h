#pragma once

// The server's end of a TLS connection as a Stream. Hands are shaken by the first reads: whoever reads with a deadline has one for
// that as well.

#include <memory>

#include "net/socket_stream.h"
#include "net/tls.h"

namespace rh::net {

std::unique_ptr<Stream> accept_tls(const TlsContext& context, SocketStream::Socket socket);

}  // namespace rh::net
