#include "http/exchange.h"

#include <fmt/format.h>

#include "base/limits.h"

namespace rh::http {

using net::asio::awaitable;

Try<> Kept::add(std::uint64_t bytes) {
    if (shared_.waiting_bytes + bytes > limits::k_http_waiting_bytes_max) {
        Refusal refusal(503, Code::limit_exceeded, "this node keeps as many bytes of unfinished requests as it may: try again soon");
        refusal.ends = true;
        return refuse(std::move(refusal).with("Retry-After", "1"));
    }
    shared_.waiting_bytes += bytes;
    bytes_ += bytes;
    return {};
}

awaitable<Try<Bytes>> read_whole(Exchange& exchange, Kept& kept, std::uint64_t bytes_max) {
    BodyReader& body = exchange.body;
    if (body.has_length() && body.length() > bytes_max) co_return refuse(413, fmt::format("the body has {} bytes; at most {} are allowed here", body.length(), bytes_max));
    Bytes all;
    for (;;) {
        const Try<ByteView> piece = co_await body.next();
        if (!piece) co_return refuse(piece.error());
        if (piece->empty()) co_return all;
        if (all.size() + piece->size() > bytes_max)
            co_return refuse(Refusal::broken(413, fmt::format("the body has more than {} bytes, the most that are allowed here without a Content-Length", bytes_max)));
        const Try<> counted = kept.add(piece->size());
        if (!counted) co_return refuse(counted.error());
        all.append(*piece);
        body.take(piece->size());
    }
}

}  // namespace rh::http
