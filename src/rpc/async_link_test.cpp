#include "rpc/async_link.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <unordered_map>

#include "base/limits.h"
#include "net/unix.h"
#include "rpc/handshake.h"

namespace rh::rpc {
namespace {

namespace asio = net::asio;
using namespace std::chrono_literals;

// Counts what goes to the socket.
class CountingStream final : public net::Stream {
public:
    CountingStream(std::unique_ptr<net::Stream> inner, std::size_t& writes) : inner_(std::move(inner)), writes_(writes) {}
    Result<std::size_t> try_read(std::span<std::byte> to) override { return inner_->try_read(to); }
    Result<std::size_t> try_write(ByteView from) override {
        ++writes_;
        return inner_->try_write(from);
    }
    asio::awaitable<Result<void>> wait_readable() override { return inner_->wait_readable(); }
    asio::awaitable<Result<void>> wait_writable() override { return inner_->wait_writable(); }
    void close() override { inner_->close(); }

private:
    std::unique_ptr<net::Stream> inner_;
    std::size_t& writes_;
};

// One end: keeps credit, and everything that came.
class End final : private Inbound::Handler {
public:
    End(asio::io_context& context, Cork& cork, Fd socket)
        : executor_(context.get_executor()), link(std::make_unique<CountingStream>(net::adopt_unix(executor_, std::move(socket)), writes), *this, cork, executor_) {}

    void start(Bytes leftover = {}) {
        asio::co_spawn(executor_, run(std::move(leftover)), asio::detached);
    }
    std::string text(std::uint64_t stream) { return std::string(as_text(bodies[stream].bytes.view())); }

private:
    asio::awaitable<void> run(Bytes leftover) {
        why = co_await link.run(std::move(leftover));
        ended = true;
        co_await link.stop();
        stopped = true;
    }
    Result<void> on_message(Message& message, Body body) override {
        if (message.kind() == wire::CREDIT) {
            link.grant(message.stream(), message.number());
            return {};
        }
        ++messages;
        bodies[message.stream()] = std::move(body);
        return reply ? reply(message) : Result<void>{};
    }
    void on_room(std::uint64_t stream, std::uint64_t bytes) override {
        Message credit;
        credit.set_kind(wire::CREDIT);
        credit.set_stream(stream);
        credit.set_number(bytes);
        link.send(credit);
    }
    asio::any_io_executor executor_;

public:
    std::size_t writes = 0;
    AsyncLink link;
    std::unordered_map<std::uint64_t, Body> bodies;
    std::size_t messages = 0;
    std::function<Result<void>(Message&)> reply;
    Error why;
    bool ended = false;
    bool stopped = false;
};

class AsyncLinkTest : public ::testing::Test {
protected:
    AsyncLinkTest() {
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        left = std::make_unique<End>(context, cork, Fd(pair[0]));
        right_socket = Fd(pair[1]);
    }
    ~AsyncLinkTest() override {
        for (End* end : {left.get(), right.get()}) {
            if (end == nullptr) continue;
            end->link.close();
            if (started_) run_until([&] { return end->stopped; });
        }
    }
    void start_both() {
        right = std::make_unique<End>(context, cork, std::move(right_socket));
        left->start();
        right->start();
        started_ = true;
    }
    // Runs the loop until `done` says so; a test that waits in vain fails.
    void run_until(const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + 30s;
        context.restart();
        while (!done()) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline);
            context.run_one_for(100ms);
        }
    }
    void run_until_idle() {
        context.restart();
        while (context.poll() != 0) context.restart();
    }
    static void send_body(End& end, std::uint64_t stream, const std::string& content) {
        Message message;
        message.set_kind(wire::CALL);
        message.set_stream(stream);
        end.link.send_whole(message, Body::one(Encoding::pickle, as_byte_view(content)));
    }
    static void send_text(End& end, std::uint64_t stream, const std::string& content) {
        Message message;
        message.set_kind(wire::OUTPUT);
        message.set_stream(stream);
        end.link.send(message, as_byte_view(content));
    }

    asio::io_context context{1};
    Cork cork;
    std::unique_ptr<End> left;
    std::unique_ptr<End> right;
    Fd right_socket;
    bool started_ = false;
};

std::string content(std::size_t bytes, char first) {
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(first + static_cast<char>(i * 7 % 101));
    return text;
}

TEST_F(AsyncLinkTest, BigBodiesGoBothWaysAtOnce) {
    start_both();
    for (std::uint64_t stream = 1; stream <= 3; ++stream) {
        send_body(*left, stream, content(4'000'000 + stream, 'l'));
        send_body(*right, stream, content(3'000'000 + stream, 'r'));
    }
    run_until([&] { return left->messages == 3 && right->messages == 3; });
    for (std::uint64_t stream = 1; stream <= 3; ++stream) {
        EXPECT_TRUE(right->text(stream) == content(4'000'000 + stream, 'l'));
        EXPECT_TRUE(left->text(stream) == content(3'000'000 + stream, 'r'));
    }
    EXPECT_EQ(left->link.unsent_bytes(), 0u);
}

TEST_F(AsyncLinkTest, ASlowReaderHoldsNoMoreThanTheWindow) {
    left->start();
    started_ = true;
    send_body(*left, 1, content(8 * limits::k_body_window_bytes, 'x'));
    run_until_idle();
    // Nobody reads: what is encoded is bounded, whatever the body's size.
    EXPECT_LE(left->link.unsent_bytes(), limits::k_write_batch_bytes + 2 * limits::k_chunk_bytes);
    EXPECT_FALSE(left->ended);
    right = std::make_unique<End>(context, cork, std::move(right_socket));
    right->start();
    send_text(*left, 2, "overtakes");
    std::size_t order_of_text = 0;
    right->reply = [&](Message& message) -> Result<void> {
        if (message.stream() == 2) order_of_text = right->messages;
        return {};
    };
    run_until([&] { return right->messages == 2; });
    EXPECT_EQ(order_of_text, 1u);
    EXPECT_TRUE(right->text(1) == content(8 * limits::k_body_window_bytes, 'x'));
}

TEST_F(AsyncLinkTest, RawTextStandsBeforeTheFrames) {
    left->link.send_raw(upgrade_answer());
    send_text(*left, 1, "frame");
    std::string came(4096, '\0');
    const auto count = ::recv(right_socket.get(), came.data(), came.size(), 0);
    ASSERT_GT(count, 0);
    came.resize(static_cast<std::size_t>(count));
    EXPECT_EQ(came.rfind(upgrade_answer(), 0), 0u);
    EXPECT_EQ(came.substr(came.size() - 5), "frame");
}

TEST_F(AsyncLinkTest, LeftoverIsReadFirst) {
    Message message;
    message.set_kind(wire::OUTPUT);
    message.set_stream(4);
    Bytes early;
    wire::append_message(early, message, as_byte_view("early"));
    left->start(std::move(early));
    started_ = true;
    run_until([&] { return left->messages == 1; });
    EXPECT_EQ(left->text(4), "early");
}

TEST_F(AsyncLinkTest, ThePeersCloseEndsRun) {
    start_both();
    left->link.close();
    run_until([&] { return left->stopped && right->stopped; });
    EXPECT_EQ(right->why.code, Code::node_lost);
    send_text(*left, 1, "into the void");
    EXPECT_EQ(left->link.unsent_bytes(), 0u);
}

TEST_F(AsyncLinkTest, CloseEndsAWriterThatWaits) {
    left->start();
    started_ = true;
    send_body(*left, 1, content(8 * limits::k_body_window_bytes, 'x'));
    run_until_idle();
    left->link.close();
    run_until([&] { return left->stopped; });
    EXPECT_EQ(left->why.code, Code::node_lost);
}

TEST_F(AsyncLinkTest, AHandlersErrorEndsRunAndCanStillBeTold) {
    start_both();
    right->reply = [](Message&) -> Result<void> { return fail(Code::protocol, "not like this"); };
    send_text(*left, 1, "x");
    run_until([&] { return right->stopped; });
    EXPECT_EQ(right->why.message, "not like this");
}

TEST_F(AsyncLinkTest, AnswersToOneReadLeaveInOneWrite) {
    left->start();
    started_ = true;
    left->reply = [&](Message& message) -> Result<void> {
        send_text(*left, message.stream(), "pong");
        return {};
    };
    Bytes calls;
    for (std::uint64_t stream = 1; stream <= 10; ++stream) {
        Message message;
        message.set_kind(wire::OUTPUT);
        message.set_stream(stream);
        wire::append_message(calls, message, {});
    }
    ASSERT_EQ(::send(right_socket.get(), calls.data(), calls.size(), 0), static_cast<ssize_t>(calls.size()));
    run_until([&] { return left->messages == 10; });
    EXPECT_EQ(left->writes, 1u);
}

}  // namespace
}  // namespace rh::rpc
