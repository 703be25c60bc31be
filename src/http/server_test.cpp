#include "http/server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"

namespace rh::http {
namespace {

namespace asio = net::asio;
using namespace std::chrono_literals;

class FakeDaemon final : public daemon::Api {
public:
    void adopt(std::unique_ptr<net::Stream> stream, net::Peer peer, daemon::Principal, Bytes leftover) override {
        streams.push_back(std::move(stream));
        peers.push_back(peer);
        leftovers.emplace_back(as_text(leftover.view()));
    }
    bool has_room() const override { return room; }
    asio::awaitable<Result<net::Accepted>> accept() override { co_return fail(Error(Code::node_lost, "no TCP here").with("errno", std::to_string(ECANCELED))); }
    asio::awaitable<Result<daemon::Principal>> authenticate(std::string, std::string) override { co_return fail(Code::not_allowed, "nobody's token"); }
    asio::awaitable<void> ready() override { co_return; }
    std::size_t connections() const override { return streams.size(); }
    std::unique_ptr<daemon::Calls> calls(daemon::Principal) override { return nullptr; }
    std::optional<daemon::MethodFacts> method(std::string_view, std::string_view) const override { return std::nullopt; }
    bool room = true;
    std::vector<std::unique_ptr<net::Stream>> streams;
    std::vector<net::Peer> peers;
    std::vector<std::string> leftovers;
};

const std::string k_upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n";

class ServerTest : public ::testing::Test {
protected:
    ServerTest()
        : folder_("/tmp/rh-test-" + random_hex(8)), path_(folder_ + "/socket"), server(context.get_executor(), listen(), daemon) {
        server.start();
    }
    ~ServerTest() override {
        bool stopped = false;
        asio::co_spawn(context, stop(stopped), asio::detached);
        run_until([&] { return stopped; });
        ::unlink(path_.c_str());
        ::rmdir(folder_.c_str());
    }

    Fd connect() {
        Result<Fd> socket = net::connect_unix(path_);
        EXPECT_TRUE(socket);
        return std::move(*socket);
    }
    static void say(const Fd& socket, std::string_view text) {
        EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    }
    template <class Done>
    void run_until(Done done) {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        context.restart();
        while (!done()) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline);
            context.run_one_for(100ms);
        }
    }
    // What the server says until it closes.
    std::string hear(const Fd& socket) {
        std::string heard;
        bool closed = false;
        run_until([&] {
            char buffer[4096];
            const auto count = ::recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
            if (count > 0) heard.append(buffer, static_cast<std::size_t>(count));
            closed = count == 0 || (count < 0 && errno != EAGAIN);
            return closed;
        });
        return heard;
    }
    std::string ask(std::string_view text) {
        const Fd socket = connect();
        say(socket, text);
        return hear(socket);
    }

private:
    net::UnixListener listen() {
        EXPECT_EQ(::mkdir(folder_.c_str(), 0700), 0);
        return std::move(*net::UnixListener::listen(context.get_executor(), path_));
    }
    asio::awaitable<void> stop(bool& stopped) {
        co_await server.stop();
        stopped = true;
    }
    const std::string folder_;
    const std::string path_;

protected:
    asio::io_context context{1};
    FakeDaemon daemon;
    Server server;
};

bool begins(const std::string& text, std::string_view with) { return text.rfind(with, 0) == 0; }

TEST_F(ServerTest, ARequestIsAnsweredAndTheConnectionKept) {
    const std::string answer = ask("GET /v1/check HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("HTTP/1.1 404 Not Found\r\n"), std::string::npos);
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(answer.find("\"message\":"), std::string::npos);
    EXPECT_TRUE(daemon.streams.empty());
}

TEST_F(ServerTest, AnotherUpgradeIsNotOurs) {
    EXPECT_TRUE(begins(ask("GET / HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"), "HTTP/1.1 404 "));
    EXPECT_TRUE(begins(ask("GET / HTTP/1.1\r\nConnection: close\r\nUpgrade: roundhouse\r\n\r\n"), "HTTP/1.1 404 "));
}

TEST_F(ServerTest, GarbageIsABadRequest) {
    EXPECT_TRUE(begins(ask(std::string("\x16\x03\x01\x02\0\x01\0\x01", 8)), "HTTP/1.1 400 "));  // a TLS client
    EXPECT_TRUE(begins(ask("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "HTTP/1.1 400 "));
    EXPECT_TRUE(begins(ask("GET / HTTP/1.1\r\nno colon here\r\n\r\n"), "HTTP/1.1 400 "));
}

TEST_F(ServerTest, AHugeHeadIsABadRequest) {
    EXPECT_TRUE(begins(ask("GET / HTTP/1.1\r\nX: " + std::string(limits::k_http_head_bytes_max, 'x') + "\r\n\r\n"), "HTTP/1.1 431 "));
    EXPECT_TRUE(begins(ask("GET /" + std::string(2 * limits::k_http_target_bytes_max, 'x') + "\r\n\r\n"), "HTTP/1.1 414 "));
}

TEST_F(ServerTest, AFullNodeSaysSo) {
    daemon.room = false;
    EXPECT_TRUE(begins(ask(k_upgrade), "HTTP/1.1 503 "));
    EXPECT_TRUE(daemon.streams.empty());
}

TEST_F(ServerTest, AnUpgradeIsHandedOverWithWhatFollows) {
    const Fd socket = connect();
    say(socket, k_upgrade + std::string("\x10\0\0\0frames", 10));
    run_until([&] { return daemon.streams.size() == 1; });
    EXPECT_EQ(daemon.leftovers[0], std::string("\x10\0\0\0frames", 10));
    EXPECT_EQ(daemon.peers[0].uid, ::geteuid());
    // The stream is the same connection.
    EXPECT_EQ(daemon.streams[0]->try_write(as_byte_view("hello")).value(), 5u);
    char buffer[16];
    EXPECT_EQ(::recv(socket.get(), buffer, sizeof buffer, 0), 5);
}

TEST_F(ServerTest, TheRequestMayComeInPieces) {
    const Fd socket = connect();
    for (const char c : k_upgrade) {
        say(socket, {&c, 1});
        context.restart();
        while (context.poll() != 0) context.restart();
    }
    run_until([&] { return daemon.streams.size() == 1; });
    EXPECT_EQ(daemon.leftovers[0], "");
}

TEST_F(ServerTest, CaseDoesNotMatter) {
    const Fd socket = connect();
    say(socket, "GET / HTTP/1.1\r\nconnection: keep-alive, upgrade\r\nUPGRADE: Roundhouse\r\n\r\n");
    run_until([&] { return daemon.streams.size() == 1; });
}

TEST_F(ServerTest, OneThatSaysNothingHoldsUpNoOther) {
    const Fd silent = connect();
    const Fd half = connect();
    say(half, "GET / HT");
    { const Fd gone = connect(); }
    EXPECT_TRUE(begins(ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), "HTTP/1.1 404 "));
    // The fixture stops the server while both still wait.
}

}  // namespace
}  // namespace rh::http
