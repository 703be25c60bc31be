#pragma once

// Makes of a request's body, query and headers what a call's body is (protocol/http.md, A call, and In the worker).

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "http/exchange.h"
#include "http/json_check.h"

namespace rh::http {

// What is said about a call, rather than to it.
struct CallOptions {
    bool remote = false;
    std::uint64_t timeout_ms = 0;
    std::optional<bool> logs;
    std::string name;
    std::string process;
    bool kill = false;
};

// `in_query` says that the query is for these alone; otherwise only headers count.
Try<CallOptions> options_of(const Request& request, bool in_query);

// Whether a body of that type leaves the query to the call's options.
bool is_json_or_nothing(const Request& request);

struct Arguments {
    std::vector<std::uint64_t> part_bytes;
    Bytes bytes;                 // of the parts, from the first on
    std::uint64_t unread_bytes = 0;  // that the request's body still has to bring
};

// `accept` goes to the worker, "" where it says nothing. `kept_max` bounds what must be whole before anything is called; 0: bodies with a
// length are not kept.
net::asio::awaitable<Try<Arguments>> read_arguments(Exchange& exchange, Kept& kept, std::string accept, std::uint64_t kept_max);
// Of a GET: its query.
Arguments arguments_of_query(const Request& request, const std::string& accept);

// A whole JSON text, checked, as the body of a request has it.
struct JsonBody {
    Bytes text;
    JsonCheck check;
};
net::asio::awaitable<Try<JsonBody>> read_json(Exchange& exchange, Kept& kept);
// {"args": .., "kwargs": ..} of it.
Try<Arguments> arguments_of_json(const JsonBody& body, const std::string& accept);

// What a worker is told of the Accept header: nothing where any JSON will do.
std::string accept_for_worker(const Request& request);

}  // namespace rh::http
