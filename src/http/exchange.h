#pragma once

// One request being served: what all that serves it needs. Lives in the coroutine of its connection (server.h).

#include "daemon/api.h"
#include "http/answer.h"
#include "http/body.h"
#include "http/request.h"

namespace rh::http {

struct Exchange {
    Exchange(daemon::Api& api_in, Connection& connection_in, const Request& request_in)
        : api(api_in), connection(connection_in), request(request_in), body(connection_in, request_in), answer(connection_in, request_in) {}
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    daemon::Api& api;
    Connection& connection;
    const Request& request;
    daemon::Principal principal;  // once the guard has let it in
    BodyReader body;
    Answer answer;
};

// Bytes that are kept until there are more, counted against what all may keep together.
class Kept {
public:
    explicit Kept(Shared& shared) : shared_(shared) {}
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() { shared_.waiting_bytes -= bytes_; }

    Try<> add(std::uint64_t bytes);

private:
    Shared& shared_;
    std::uint64_t bytes_ = 0;
};

// The body as it is, at most so many bytes of it.
net::asio::awaitable<Try<Bytes>> read_whole(Exchange& exchange, Kept& kept, std::uint64_t bytes_max);

}  // namespace rh::http
