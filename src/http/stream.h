#pragma once

// Writes what a call brings back as it comes: a generator's items as a JSON array, or everything as server-sent events or lines of
// JSON (protocol/http.md, Events). Credit is given back for what the connection has taken.

#include <vector>

#include "http/calls.h"

namespace rh::http {

class ItemStream {
public:
    ItemStream(Exchange& exchange, Running& running, Form form, bool logs);

    // To the end of the call; `event` came first.
    net::asio::awaitable<void> run(std::optional<daemon::CallEvent> event);

private:
    // False when the stream is over.
    bool put(daemon::CallEvent& event);
    void begin_body(daemon::CallEvent& event);
    void put_body(ByteView bytes);
    void begin_part();
    void end_part();
    void put_failure(const Outcome& outcome);
    void put_output(const daemon::CallEvent& event);
    net::asio::awaitable<bool> flush();

    Exchange& exchange_;
    Answer& answer_;
    Running& running_;
    const Form form_;
    const bool logs_;
    // The body that is being written.
    bool is_result_ = false;
    bool is_batch_ = false;
    std::vector<std::uint64_t> parts_;
    std::size_t part_ = 0;
    std::uint64_t part_left_ = 0;
    bool part_begun_ = false;
    bool any_items_ = false;
    bool failed_ = false;
    // What is to be given back once it was written.
    std::uint64_t body_bytes_ = 0;
    std::uint64_t output_bytes_ = 0;
    std::vector<daemon::CallEvent> items_;
};

}  // namespace rh::http
