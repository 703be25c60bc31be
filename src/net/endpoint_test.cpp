#include "net/endpoint.h"

#include <gtest/gtest.h>

#include "net/accepted.h"

namespace rh::net {
namespace {

using Kind = Endpoint::Kind;

TEST(Endpoint, TextsAndBack) {
    const struct {
        const char* text;
        Kind kind;
        const char* host;
        int port;
        const char* again;
        const char* authority;
    } cases[] = {
        {"/run/rh/box.sock", Kind::unix_socket, "", 0, "unix:/run/rh/box.sock", "localhost"},
        {"unix:/run/rh/box.sock", Kind::unix_socket, "", 0, "unix:/run/rh/box.sock", "localhost"},
        {"tcp://127.0.0.1:32300", Kind::tcp, "127.0.0.1", 32300, "tcp://127.0.0.1:32300", "127.0.0.1:32300"},
        {"http://localhost:1/", Kind::tcp, "localhost", 1, "tcp://localhost:1", "localhost:1"},
        {"tls://box.example:443", Kind::tls, "box.example", 443, "tls://box.example:443", "box.example:443"},
        {"https://[::1]:65535", Kind::tls, "::1", 65535, "tls://[::1]:65535", "[::1]:65535"},
    };
    for (const auto& each : cases) {
        const Result<Endpoint> endpoint = Endpoint::parse(each.text);
        ASSERT_TRUE(endpoint) << endpoint.error().message;
        EXPECT_EQ(endpoint->kind, each.kind) << each.text;
        EXPECT_EQ(endpoint->host, each.host) << each.text;
        EXPECT_EQ(endpoint->port, each.port) << each.text;
        EXPECT_EQ(endpoint->text(), each.again);
        EXPECT_EQ(endpoint->authority(), each.authority);
    }
}

TEST(Endpoint, WhatIsNoneIsRefused) {
    for (const char* text : {"", "box", "box:80", "unix:", "unix:box", "ftp://box:1", "tls://box", "tls://box:", "tls://box:0", "tls://box:65536", "tls://box:1x", "tls://:1", "tls://[box]:1",
                             "tls://::1:1", "tls://a b:1", "tls://a\r\nb:1", "tls://[::1:1", "tcp://"}) {
        const Result<Endpoint> endpoint = Endpoint::parse(text);
        ASSERT_FALSE(endpoint) << text;
        EXPECT_EQ(endpoint.error().code, Code::bad_arguments) << text;
    }
}

// It would end in logs and in the lists of processes.
TEST(Endpoint, ATokenHasNoPlaceInIt) {
    for (const char* text : {"https://rh_secret@box:443", "https://user:rh_secret@box:443", "https://box:443/?token=rh_secret", "https://box:443#rh_secret", "https://box:443/rh_secret"}) {
        const Result<Endpoint> endpoint = Endpoint::parse(text);
        ASSERT_FALSE(endpoint) << text;
        EXPECT_EQ(endpoint.error().message.find("rh_secret"), std::string::npos) << endpoint.error().message;
    }
}

TEST(Endpoint, Loopback) {
    for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "localhost"}) EXPECT_TRUE(is_loopback(host)) << host;
    for (const char* host : {"0.0.0.0", "128.0.0.1", "::", "::2", "10.0.0.1", "localhost.example", "127.0.0.1.example", ""}) EXPECT_FALSE(is_loopback(host)) << host;
}

TEST(Door, KnowsItsOwnNames) {
    const Door door{true, false, 443, {"127.0.0.1", "localhost", "::1", "*.given.example"}, {}};
    for (const char* host : {"127.0.0.1", "127.0.0.1:443", "localhost:8443", "LocalHost", "[::1]:443", "[::1]", "a.given.example", "A.Given.Example:1"}) EXPECT_TRUE(door.is_named(host)) << host;
    for (const char* host : {"", ":443", "localhost:", "localhost:x", "localhost:99999", "evil.example", "localhost.evil.example", "given.example", "a.b.given.example", ".given.example",
                             "127.0.0.1:443:443", "localhost ", "localhost/", "*.given.example.evil"})
        EXPECT_FALSE(door.is_named(host)) << host;
}

}  // namespace
}  // namespace rh::net
