#include "net/endpoint.h"

#include <arpa/inet.h>
#include <charconv>
#include <fmt/format.h>
#include <netinet/in.h>

namespace rh::net {

namespace {

constexpr std::size_t k_text_bytes_shown = 128;

tl::unexpected<Error> refused(std::string_view text, std::string_view why) {
    return fail(Code::bad_arguments, fmt::format("\"{}\" is no endpoint: {}. Try: unix:/path, tcp://127.0.0.1:PORT or tls://HOST:PORT", text.substr(0, k_text_bytes_shown), why));
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
    Endpoint endpoint;
    if (text.starts_with('/') || text.starts_with("unix:")) {
        endpoint.path = text.substr(text.starts_with('/') ? 0 : 5);
        if (!endpoint.path.starts_with('/')) return refused(text, "the path of a socket begins with /");
        return endpoint;
    }
    const std::size_t colon = text.find("://");
    if (colon == text.npos) return refused(text, "it names no kind of connection");
    const std::string_view scheme = text.substr(0, colon);
    if (scheme == "tls" || scheme == "https") {
        endpoint.kind = Kind::tls;
    } else if (scheme == "tcp" || scheme == "http") {
        endpoint.kind = Kind::tcp;
    } else {
        return refused(text, "it names a kind of connection that does not exist");
    }
    std::string_view rest = text.substr(colon + 3);
    if (rest.ends_with('/')) rest.remove_suffix(1);
    // A token never stands in a URL.
    if (rest.find_first_of("/@?#") != rest.npos) return fail(Code::bad_arguments, "an endpoint is a host and a port, without user, path or query: a token is given beside it");
    const std::size_t last = rest.rfind(':');
    if (last == rest.npos) return refused(text, "it has no port");
    std::string_view host = rest.substr(0, last);
    const std::string_view digits = rest.substr(last + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (error != std::errc() || end != digits.data() + digits.size() || endpoint.port == 0) return refused(text, "its port is no number from 1 to 65535");
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
        if (!is_numeric(host)) return refused(text, "what stands in brackets is no address");
    } else if (host.find(':') != host.npos) {
        return refused(text, "an IPv6 address stands in brackets");
    }
    if (host.empty()) return refused(text, "it has no host");
    for (const char c : host) {
        if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return refused(text.substr(0, colon), "its host has a character that no host has");
    }
    endpoint.host = host;
    return endpoint;
}

std::string Endpoint::authority() const { return kind == Kind::unix_socket ? "localhost" : fmt::format("{}:{}", bracketed(host), port); }

std::string Endpoint::text() const {
    if (kind == Kind::unix_socket) return "unix:" + path;
    return fmt::format("{}://{}", kind == Kind::tls ? "tls" : "tcp", authority());
}

std::string bracketed(std::string_view host) { return host.find(':') == host.npos ? std::string(host) : fmt::format("[{}]", host); }

bool is_numeric(std::string_view host) {
    const std::string text(host);
    in6_addr address{};
    return ::inet_pton(AF_INET, text.c_str(), &address) == 1 || ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool is_loopback(std::string_view host) {
    const std::string text(host);
    in_addr four{};
    in6_addr six{};
    if (::inet_pton(AF_INET, text.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
    if (::inet_pton(AF_INET6, text.c_str(), &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    return text == "localhost";
}

}  // namespace rh::net
