#include "http/server.h"

#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/limits.h"

namespace rh::http {

namespace {

namespace asio = net::asio;
namespace beast = boost::beast;
using asio::awaitable;

struct Refusal {
    int status;
    std::string_view reason;
    std::string message;
};

std::string answer_of(const Refusal& refusal) {
    const std::string body = nlohmann::json{{"error", {{"type", "bad_request"}, {"message", refusal.message}}}}.dump() + "\n";
    const std::string_view asks = refusal.status == 401 ? "WWW-Authenticate: Bearer\r\n" : "";
    return fmt::format("HTTP/1.1 {} {}\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", refusal.status, refusal.reason, asks, body.size(), body);
}

// Reads until the head is whole; what follows it goes to `leftover`.
class HeadReader {
public:
    HeadReader() {
        parser_.header_limit(limits::k_http_head_bytes_max);
        parser_.body_limit(0);
    }

    // True once the head is whole.
    Result<bool> feed(ByteView bytes) {
        buffer_.append(bytes);
        beast::error_code error;
        parser_.eager(false);
        const std::size_t used = parser_.put(asio::const_buffer(buffer_.data(), buffer_.size()), error);
        if (error == beast::http::error::need_more) error = {};
        if (error) return fail(Code::protocol, fmt::format("this is not an HTTP request: {}", error.message()));
        buffer_ = Bytes(buffer_.view().subspan(used));
        return parser_.is_header_done();
    }
    bool wants_upgrade() const {
        const auto& request = parser_.get();
        return beast::http::token_list(request[beast::http::field::connection]).exists("upgrade") &&
               beast::iequals(request[beast::http::field::upgrade], "roundhouse");
    }
    std::string_view field(beast::http::field name) const {
        const auto& value = parser_.get()[name];
        return {value.data(), value.size()};
    }
    std::string_view field(std::string_view name) const {
        const auto& value = parser_.get()[beast::string_view(name.data(), name.size())];
        return {value.data(), value.size()};
    }
    Bytes take_leftover() { return std::move(buffer_); }

private:
    beast::http::request_parser<beast::http::empty_body> parser_;
    Bytes buffer_;
};

// What over TCP is looked at before anything else (protocol/http.md): a browser that another site made send this is refused.
std::optional<Refusal> check_site(const HeadReader& reader, const net::Door& door) {
    const std::string_view host = reader.field(beast::http::field::host);
    if (!door.is_named(host)) return Refusal{421, "Misdirected Request", fmt::format("this node is not \"{:.128}\": use the host of the URL that `listening` shows", host)};
    const std::string_view origin = reader.field(beast::http::field::origin);
    if (!origin.empty() && origin != fmt::format("{}://{}", door.tls ? "https" : "http", host)) return Refusal{403, "Forbidden", "a page of another site may not use this node"};
    const std::string_view site = reader.field("Sec-Fetch-Site");
    if (site == "cross-site" || site == "same-site") return Refusal{403, "Forbidden", "a page of another site may not use this node"};
    return std::nullopt;
}

std::string bearer_of(const HeadReader& reader) {
    constexpr std::string_view k_scheme = "bearer ";
    const std::string_view value = reader.field(beast::http::field::authorization);
    if (value.size() <= k_scheme.size() || !beast::iequals(beast::string_view(value.data(), k_scheme.size()), beast::string_view(k_scheme.data(), k_scheme.size()))) return {};
    return std::string(value.substr(k_scheme.size()));
}

awaitable<std::optional<Refusal>> read_head(net::Stream& stream, HeadReader& reader) {
    std::byte buffer[4096];
    for (;;) {
        const Result<void> readable = co_await stream.wait_readable();
        if (!readable) co_return Refusal{0, "", readable.error().message};
        const Result<std::size_t> count = stream.try_read(buffer);
        if (!count) co_return Refusal{0, "", count.error().message};
        const Result<bool> whole = reader.feed({buffer, *count});
        if (!whole) co_return Refusal{400, "Bad Request", whole.error().message};
        if (*whole) co_return std::nullopt;
    }
}

}  // namespace

Server::Server(const asio::any_io_executor& executor, net::UnixListener listener, daemon::Api& api)
    : executor_(executor), listener_(std::move(listener)), api_(api), tasks_(executor) {}

void Server::start() {
    tasks_.spawn(accept());
    tasks_.spawn(accept_tcp());
}

awaitable<void> Server::stop() {
    stopping_ = true;
    listener_.close();
    co_await tasks_.stop();
}

awaitable<void> Server::accept() {
    for (;;) {
        Result<net::Accepted> accepted = co_await listener_.accept();
        if (stopping_) co_return;
        if (accepted) {
            tasks_.spawn(handle(std::move(*accepted)));
        } else {
            const bool go_on = co_await weather(accepted.error());
            if (!go_on) co_return;
        }
    }
}

awaitable<void> Server::accept_tcp() {
    for (;;) {
        Result<net::Accepted> accepted = co_await api_.accept();
        if (stopping_) co_return;
        if (accepted) {
            tasks_.spawn(handle(std::move(*accepted)));
        } else {
            const bool go_on = co_await weather(accepted.error());
            if (!go_on) co_return;
        }
    }
}

awaitable<bool> Server::weather(Error error) {
    if (error.fact("errno") == std::to_string(ECANCELED)) co_return false;
    // Out of descriptors, most likely: what is open goes on, and accepting is tried again.
    spdlog::warn("{}", error.message);
    asio::steady_timer pause(executor_, std::chrono::milliseconds(100));
    co_await pause.async_wait(asio::use_awaitable);
    co_return true;
}

awaitable<void> Server::handle(net::Accepted accepted) {
    net::Stream& stream = *accepted.stream;
    // A peer that sends nothing, or too slowly, is hung up on.
    asio::steady_timer deadline(executor_, limits::k_handshake_timeout);
    const auto watched = std::make_shared<net::Stream*>(&stream);  // outlives this coroutine in a timer that has just fired
    deadline.async_wait([watched](const boost::system::error_code& error) {
        if (!error && *watched != nullptr) (*watched)->close();
    });
    HeadReader reader;
    std::optional<Refusal> refusal = co_await read_head(stream, reader);
    *watched = nullptr;
    deadline.cancel();
    const net::Door* const door = accepted.door.get();
    if (!refusal && door == nullptr && accepted.peer.uid != ::geteuid())
        refusal = Refusal{403, "Forbidden", fmt::format("this node belongs to user {}; you are user {}", ::geteuid(), accepted.peer.uid)};
    daemon::Principal principal{fmt::format("uid:{}", accepted.peer.uid), daemon::Scope::admin, {}};
    if (!refusal && door != nullptr) refusal = check_site(reader, *door);
    if (!refusal && door != nullptr) {
        Result<daemon::Principal> known = co_await api_.authenticate(bearer_of(reader), accepted.peer.address);
        if (known) {
            principal = std::move(*known);
        } else if (known.error().code == Code::limit_exceeded) {
            refusal = Refusal{429, "Too Many Requests", known.error().message};
        } else {
            refusal = Refusal{401, "Unauthorized", known.error().message};
        }
    }
    if (!refusal && !api_.has_room()) refusal = Refusal{503, "Service Unavailable", "this node has as many connections as it allows: close some"};
    if (!refusal && !reader.wants_upgrade())
        refusal = Refusal{426, "Upgrade Required", "this port speaks Roundhouse frames: send \"Connection: Upgrade\" and \"Upgrade: roundhouse\""};
    if (!refusal) {
        api_.adopt(std::move(accepted.stream), std::move(accepted.peer), std::move(principal), reader.take_leftover());
    } else if (refusal->status != 0) {
        // One try: whoever does not read a short answer does not get it.
        static_cast<void>(stream.try_write(as_byte_view(answer_of(*refusal))));
    }
}

}  // namespace rh::http
