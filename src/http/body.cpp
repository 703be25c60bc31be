#include "http/body.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::http {

using net::asio::awaitable;

namespace {

constexpr std::string_view k_continue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::size_t k_chunk_line_bytes_max = 256;
// What is read of a body that nobody wants, so that the connection can go on.
constexpr std::uint64_t k_skipped_bytes_max = 64 * 1024;

}  // namespace

BodyReader::BodyReader(Connection& connection, const Request& request)
    : connection_(connection), framing_(request.framing), length_(request.length), left_(framing_ == Request::Framing::length ? request.length : 0),
      wants_continue_(request.expects_continue), ended_(framing_ != Request::Framing::chunked && left_ == 0) {}

awaitable<Try<>> BodyReader::fill() {
    // Each co_await is a statement of its own, as g++ 12 wants it.
    const bool tell = std::exchange(wants_continue_, false) && connection_.unread().empty();
    const ByteView told = tell ? as_byte_view(k_continue) : ByteView();
    bool listens = co_await connection_.write(told, limits::k_http_write_timeout);
    if (listens) listens = co_await connection_.more(limits::k_http_body_timeout);
    Try<> filled;
    if (!listens && connection_.timed_out()) {
        filled = refuse(Refusal::broken(408, fmt::format("nothing came of the body for {} s", limits::k_http_body_timeout.count() / 1000)));
    } else if (!listens) {
        filled = refuse(Refusal::broken(400, "the connection was closed in the middle of the body"));
    }
    co_return filled;
}

awaitable<Try<ByteView>> BodyReader::next() {
    if (ended_) co_return ByteView();
    if (framing_ == Request::Framing::chunked) co_return co_await next_of_chunk();
    if (connection_.unread().empty()) {
        const Try<> filled = co_await fill();
        if (!filled) co_return refuse(filled.error());
    }
    const ByteView there = connection_.unread();
    co_return there.first(static_cast<std::size_t>(std::min<std::uint64_t>(there.size(), left_)));
}

void BodyReader::take(std::size_t bytes) {
    connection_.consume(bytes);
    left_ -= bytes;
    if (left_ != 0) return;
    if (framing_ == Request::Framing::chunked) {
        chunk_ = Chunk::end;
    } else {
        ended_ = true;
    }
}

awaitable<Try<std::string>> BodyReader::line() {
    for (;;) {
        const std::string_view there = as_text(connection_.unread());
        const std::size_t end = there.find('\n');
        if (end != there.npos) {
            std::string text(there.substr(0, end));
            connection_.consume(end + 1);
            if (!text.ends_with('\r')) co_return refuse(Refusal::broken(400, "a line of a chunked body does not end with a carriage return and a line feed"));
            text.pop_back();
            if (text.find('\r') != text.npos || text.size() > k_chunk_line_bytes_max) co_return refuse(Refusal::broken(400, "a line of a chunked body is malformed"));
            co_return text;
        }
        if (there.size() > k_chunk_line_bytes_max) co_return refuse(Refusal::broken(400, "a line of a chunked body is too long"));
        const Try<> filled = co_await fill();
        if (!filled) co_return refuse(filled.error());
    }
}

awaitable<Try<ByteView>> BodyReader::next_of_chunk() {
    while (chunk_ != Chunk::content) {
        Try<std::string> text = co_await line();
        if (!text) co_return refuse(text.error());
        if (chunk_ == Chunk::end) {
            if (!text->empty()) co_return refuse(Refusal::broken(400, "a chunk is longer than it says"));
            chunk_ = Chunk::size;
        } else if (chunk_ == Chunk::trailer) {
            trailer_bytes_ += text->size();
            if (trailer_bytes_ > limits::k_http_head_bytes_max) co_return refuse(Refusal::broken(431, "the trailers of the body are too long"));
            if (!text->empty()) continue;
            ended_ = true;
            co_return ByteView();
        } else {
            const std::string_view digits = std::string_view(*text).substr(0, text->find(';'));
            std::uint64_t size = 0;
            const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
            if (digits.empty() || digits.size() > 15 || error != std::errc() || end != digits.data() + digits.size())
                co_return refuse(Refusal::broken(400, "the size of a chunk is no hexadecimal number"));
            left_ = size;
            chunk_ = size == 0 ? Chunk::trailer : Chunk::content;
        }
    }
    if (connection_.unread().empty()) {
        const Try<> filled = co_await fill();
        if (!filled) co_return refuse(filled.error());
    }
    const ByteView there = connection_.unread();
    co_return there.first(static_cast<std::size_t>(std::min<std::uint64_t>(there.size(), left_)));
}

awaitable<bool> BodyReader::skip() {
    std::uint64_t skipped = 0;
    while (!ended_) {
        // It was never told to send it, and may not.
        if (wants_continue_ || (has_length() && left_ > k_skipped_bytes_max)) co_return false;
        const Try<ByteView> piece = co_await next();
        if (!piece) co_return false;
        skipped += piece->size();
        if (skipped > k_skipped_bytes_max) co_return false;
        take(piece->size());
    }
    co_return true;
}

}  // namespace rh::http
