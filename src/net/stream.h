#pragma once

// A connected byte stream on the daemon's executor: Unix sockets now, TCP and TLS behind the same face. Reading and
// writing never wait; waiting is separate, so that an idle connection holds no buffer and a writer can try before it
// waits. One reader and one writer at a time. close() ends both waits.

#include <boost/asio/awaitable.hpp>
#include <string>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"

namespace rh::net {

namespace asio = boost::asio;

class Stream {
public:
    virtual ~Stream() = default;

    // Bytes read into `to`, 0 when there are none just now. Code::node_lost once the peer has closed.
    virtual Result<std::size_t> try_read(std::span<std::byte> to) = 0;
    // Bytes taken from `from`, 0 when the peer must read first.
    virtual Result<std::size_t> try_write(ByteView from) = 0;
    virtual asio::awaitable<Result<void>> wait_readable() = 0;
    virtual asio::awaitable<Result<void>> wait_writable() = 0;
    virtual void close() = 0;
};

}  // namespace rh::net
