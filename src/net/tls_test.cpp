#include "net/tls.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>

#include "base/ids.h"
#include "net/certificate.h"
#include "net/tcp.h"
#include "net/tls_stream.h"
#include "net/transport.h"

namespace rh::net {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A server on loopback that sends back what comes, and a client in the test's own thread.
class TlsTest : public ::testing::Test {
protected:
    TlsTest() : server_(make()), listener_(std::move(*TcpListener::listen(context_.get_executor(), "127.0.0.1", 0))) {
        asio::co_spawn(context_, serve(), asio::detached);
        thread_ = std::thread([this] { context_.run(); });
    }
    ~TlsTest() override {
        asio::post(context_, [this] { listener_.close(); });
        context_.stop();
        thread_.join();
        std::filesystem::remove_all(folder_);
    }

    TlsServer make() {
        const Certificate own = own_certificate(folder_, {"localhost", "127.0.0.1"}).value();
        return std::move(*TlsServer::make(own.certificate_path, own.key_path));
    }
    Result<Transport> connect(const std::string& pin) {
        const auto endpoint = Endpoint::parse("tls://127.0.0.1:" + std::to_string(listener_.port()));
        return net::connect(*endpoint, pin, Clock::now() + 20s);
    }
    std::string echo(Transport& transport, const std::string& text) {
        std::thread writer([&] {
            for (ByteView rest = as_byte_view(text); !rest.empty();) {
                const ssize_t count = transport.send(rest);
                if (count <= 0) break;
                rest = rest.subspan(static_cast<std::size_t>(count));
            }
        });
        std::string heard;
        std::vector<std::byte> buffer(100'000);
        while (heard.size() < text.size()) {
            const ssize_t count = transport.receive(buffer.data(), buffer.size(), 0);
            if (count <= 0) break;
            heard += as_text({buffer.data(), static_cast<std::size_t>(count)});
        }
        writer.join();
        return heard;
    }

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    asio::io_context context_{1};
    TlsServer server_;
    TcpListener listener_;
    std::thread thread_;

private:
    asio::awaitable<void> serve() {
        for (;;) {
            auto connected = co_await listener_.accept();
            if (!connected) co_return;
            asio::co_spawn(context_, answer(accept_tls(server_.context(), std::move(connected->socket))), asio::detached);
        }
    }
    // Through a buffer that holds less than a record, and one that holds more.
    static asio::awaitable<void> answer(std::unique_ptr<Stream> stream) {
        std::vector<std::byte> buffer(5000);
        for (;;) {
            const Result<void> readable = co_await stream->wait_readable();
            if (!readable) co_return;
            const Result<std::size_t> count = stream->try_read(buffer);
            if (!count) co_return;
            for (ByteView rest{buffer.data(), *count}; !rest.empty();) {
                const Result<std::size_t> sent = stream->try_write(rest);
                if (!sent) co_return;
                rest = rest.subspan(*sent);
                if (*sent == 0) {
                    const Result<void> writable = co_await stream->wait_writable();
                    if (!writable) co_return;
                }
            }
        }
    }
};

TEST_F(TlsTest, CarriesBytesBothWaysAtOnce) {
    Result<Transport> transport = connect(server_.pin());
    ASSERT_TRUE(transport) << transport.error().message;
    EXPECT_TRUE(transport->is_tls());
    for (const std::size_t size : {1U, 4999U, 5000U, 5001U, 16384U, 16385U, 3'000'000U}) {
        const std::string text = random_bytes(size);
        EXPECT_TRUE(echo(*transport, text) == text) << size;
    }
}

TEST_F(TlsTest, AWaitEndsAfterItsSlice) {
    Result<Transport> transport = connect(server_.pin());
    ASSERT_TRUE(transport);
    std::byte buffer[10];
    EXPECT_EQ(transport->receive(buffer, sizeof buffer, MSG_DONTWAIT), -1);
    EXPECT_EQ(errno, EAGAIN);
    ASSERT_TRUE(transport->set_slice(10ms));
    EXPECT_EQ(transport->receive(buffer, sizeof buffer, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
}

TEST_F(TlsTest, BytesThatHaveComeAreKnownOf) {
    Result<Transport> transport = connect(server_.pin());
    ASSERT_TRUE(transport);
    const std::string text = random_bytes(3000);
    ASSERT_EQ(transport->send(as_byte_view(text)), 3000);
    std::byte buffer[1000];
    std::size_t heard = 0;
    while (heard < text.size()) {
        const ssize_t count = transport->receive(buffer, sizeof buffer, 0);
        ASSERT_GT(count, 0);
        heard += static_cast<std::size_t>(count);
        // A whole buffer may not be all.
        EXPECT_TRUE(count < static_cast<ssize_t>(sizeof buffer) || transport->has_more());
    }
}

TEST_F(TlsTest, TheEndOfTheOtherSideIsSeen) {
    Result<Transport> transport = connect(server_.pin());
    ASSERT_TRUE(transport);
    ASSERT_EQ(echo(*transport, "x"), "x");
    ::shutdown(transport->fd(), SHUT_WR);
    std::byte buffer[10];
    EXPECT_EQ(transport->receive(buffer, sizeof buffer, 0), 0);
}

TEST_F(TlsTest, AnotherPinIsRefusedNamingBoth) {
    const Result<Transport> refused = connect("sha256/another");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::not_allowed);
    EXPECT_NE(refused.error().message.find(server_.pin()), std::string::npos);
    EXPECT_NE(refused.error().message.find("sha256/another"), std::string::npos);
    EXPECT_EQ(refused.error().fact("started"), "no");
}

TEST_F(TlsTest, WithoutAPinNobodyTrustsIt) {
    const Result<Transport> refused = connect("");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::not_allowed);
    EXPECT_NE(refused.error().message.find(server_.pin()), std::string::npos) << refused.error().message;
}

TEST_F(TlsTest, AServerThatSaysNothingIsNotWaitedForForever) {
    const int silent = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::listen(silent, 5), 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ASSERT_EQ(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size), 0);
    const auto endpoint = Endpoint::parse("tls://127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
    const Result<Transport> late = net::connect(*endpoint, "", Clock::now() + 50ms);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::timeout);
    ::close(silent);
    const Result<Transport> nobody = net::connect(*endpoint, "", Clock::now() + 20s);
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, Code::node_lost);
}

TEST(Tcp, ListensOnNumbersOnly) {
    asio::io_context context{1};
    for (const char* host : {"localhost", "example.org", "", "127.0.0.1:80", "999.0.0.1"})
        EXPECT_EQ(TcpListener::listen(context.get_executor(), host, 0).error().code, Code::bad_arguments) << host;
    const auto first = TcpListener::listen(context.get_executor(), "127.0.0.1", 0);
    ASSERT_TRUE(first);
    EXPECT_NE(first->port(), 0);
    EXPECT_EQ(TcpListener::listen(context.get_executor(), "127.0.0.1", first->port()).error().code, Code::name_taken);
    EXPECT_EQ(TcpListener::listen(context.get_executor(), "192.0.2.1", 0).error().code, Code::bad_arguments);
}

TEST(Tcp, PlainConnectionsStayOnThisMachine) {
    for (const char* text : {"tcp://192.0.2.1:80", "tcp://box.example:80"}) {
        const Result<Transport> refused = net::connect(*Endpoint::parse(text), "", Clock::now() + 1s);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::not_allowed);
    }
}

}  // namespace
}  // namespace rh::net
