#pragma once

// The answer to one request: whole, or as it comes. Written to the request's connection by the coroutine that serves it.

#include <string>
#include <string_view>

#include "base/body.h"
#include "http/connection.h"
#include "http/refusal.h"
#include "http/request.h"

namespace rh::http {

inline constexpr std::string_view k_json = "application/json";
inline constexpr std::string_view k_bytes = "application/octet-stream";
inline constexpr std::string_view k_pickle = "application/x-pickle";
inline constexpr std::string_view k_npy = "application/x-npy";
inline constexpr std::string_view k_events = "text/event-stream";
inline constexpr std::string_view k_lines = "application/x-ndjson";

class Answer {
public:
    Answer(Connection& connection, const Request& request);

    // Each says whether the peer still listens.
    net::asio::awaitable<bool> whole(int status, std::string_view type, std::string_view body, Headers headers = {});
    net::asio::awaitable<bool> refuse(Refusal refusal);
    // For a call that has not returned.
    net::asio::awaitable<bool> fail(const Outcome& outcome);
    // A body of so many bytes, given by write(); or of any length, given by add() and flush(), and ended by end().
    void begin(int status, std::string_view type, std::uint64_t length, Headers headers = {});
    void begin_stream(int status, std::string_view type, Headers headers = {});
    net::asio::awaitable<bool> write(ByteView bytes);
    void add(std::string_view text) { pending_.append(as_byte_view(text)); }
    std::size_t added() const { return pending_.size(); }
    net::asio::awaitable<bool> flush();
    net::asio::awaitable<bool> end();
    // The rest will not come: the peer sees that by the connection's end.
    void break_off() { keep_alive_ = false; }
    // Event streams may be silent for as long as they like.
    void wait_for_ever() { timeout_ = std::chrono::milliseconds(0); }

    bool begun() const { return status_ != 0; }
    int status() const { return status_; }
    bool keep_alive() const { return keep_alive_; }
    void close_behind() { keep_alive_ = false; }

private:
    void head(int status, std::string_view type, const Headers& headers);

    Connection& connection_;
    const bool version_11_;
    const bool head_only_;
    bool keep_alive_;
    bool chunked_ = false;
    int status_ = 0;
    std::chrono::milliseconds timeout_;
    std::string head_;  // not written yet
    Bytes pending_;
};

// The object that tells an error, and that tells how a call failed.
std::string error_object(const Error& error);
std::string raised_object(const Raised& raised);
std::string object_of(const Outcome& outcome);
// The text as a JSON string; what is not UTF-8 is replaced.
std::string json_string(std::string_view text);

}  // namespace rh::http
