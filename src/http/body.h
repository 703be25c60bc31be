#pragma once

// Reads the body of one request off its connection as it comes, whatever its framing, and never more of it than is asked for.

#include <cstdint>
#include <string>

#include "http/connection.h"
#include "http/refusal.h"
#include "http/request.h"

namespace rh::http {

class BodyReader {
public:
    BodyReader(Connection& connection, const Request& request);

    // Its length where that was said.
    bool has_length() const { return framing_ != Request::Framing::chunked; }
    std::uint64_t length() const { return length_; }
    bool at_end() const { return ended_; }

    // The next bytes, at least one; none at the end. They stand in the connection until they are taken. A peer that waits to be told
    // so is told to go on.
    net::asio::awaitable<Try<ByteView>> next();
    void take(std::size_t bytes);
    // Reads to its end and throws it away, if that is little; false where the connection cannot be used any more.
    net::asio::awaitable<bool> skip();

private:
    enum class Chunk { size, content, end, trailer };

    net::asio::awaitable<Try<ByteView>> next_of_chunk();
    // One line of the framing, without its end.
    net::asio::awaitable<Try<std::string>> line();
    net::asio::awaitable<Try<>> fill();

    Connection& connection_;
    const Request::Framing framing_;
    const std::uint64_t length_;
    std::uint64_t left_;  // of it, or of the chunk
    bool wants_continue_;
    bool ended_;
    Chunk chunk_ = Chunk::size;
    std::size_t trailer_bytes_ = 0;
};

}  // namespace rh::http
