#pragma once

// The other end of a connection, for the tests of what connects: a FakeNode listens on a path of its own and accepts
// FakePeers, which speak frames and do nothing by themselves but put bodies together and keep their credit. Each belongs
// to one thread; every wait ends after k_patience, so that a test that waits in vain fails instead of hanging.

#include <cerrno>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include "base/fd.h"
#include "base/ids.h"
#include "rpc/handshake.h"
#include "rpc/inbound.h"
#include "rpc/outbound.h"

namespace rh::rpc {

class FakePeer final : private Inbound::Handler {
public:
    static constexpr std::chrono::seconds k_patience{20};

    struct Received {
        Message message;
        Body body;
    };

    explicit FakePeer(Fd socket) : socket_(std::move(socket)), inbound_(*this) {}

    // Reads the request for the Upgrade and grants it; then takes the peer's HELLO and answers it.
    Message greet() {
        take_request();
        raw(upgrade_answer());
        Message theirs = next().message;
        say_hello();
        return theirs;
    }
    // Reads up to the empty line that ends the request; what follows it is kept.
    std::string take_request() {
        std::string head;
        while (head.find("\r\n\r\n") == std::string::npos) {
            if (!wait(k_patience)) throw std::runtime_error("the peer sends no request");
            char buffer[4096];
            const auto count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
            if (count <= 0) throw std::runtime_error("the peer closed before its request was whole");
            head.append(buffer, static_cast<std::size_t>(count));
        }
        const std::size_t end = head.find("\r\n\r\n") + 4;
        feed(as_byte_view(std::string_view(head).substr(end)));
        head.resize(end);
        return head;
    }
    // As a node that goes on with nothing whose connection was lost, unless the test says that it does.
    void say_hello(bool resumes = false, const std::string& node = {}) {
        Message hello;
        hello.set_kind(wire::HELLO);
        hello.mutable_hello()->set_role(wire::NODE);
        hello.mutable_hello()->set_node(node);
        add_features(*hello.mutable_hello());
        if (!resumes) hello.mutable_hello()->mutable_features()->RemoveLast();
        send(hello);
    }

    // The next message, or nothing once the peer has closed or `patience` is over.
    std::optional<Received> receive(std::chrono::milliseconds patience = k_patience) {
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (received_.empty() && !closed_) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left.count() <= 0 || !wait(left)) return std::nullopt;
            read_once();
        }
        if (received_.empty()) return std::nullopt;
        Received first = std::move(received_.front());
        received_.pop_front();
        return first;
    }
    Received next() {
        std::optional<Received> received = receive();
        if (!received) throw std::runtime_error(closed_ ? "the peer closed" : "the peer sends nothing");
        return std::move(*received);
    }
    // The next message of that kind; others before it are dropped.
    Received next(wire::Kind kind) {
        for (;;) {
            Received received = next();
            if (received.message.kind() == kind) return received;
        }
    }

    void send(Message& message, std::string_view body = {}) {
        outbound_.send(message, as_byte_view(body));
        flush();
    }
    void send(wire::Kind kind, std::uint64_t stream, std::uint64_t number = 0, wire::Channel channel = wire::BODY, std::string_view body = {}) {
        Message message;
        message.set_kind(kind);
        message.set_stream(stream);
        message.set_number(number);
        message.set_channel(channel);
        send(message, body);
    }
    void send_whole(Message& message, Body body) {
        outbound_.send_whole(message, std::move(body));
        flush();
    }
    // Bytes as they are.
    void raw(std::string_view text) {
        while (!text.empty()) {
            const auto count = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("the peer takes nothing");
            text.remove_prefix(static_cast<std::size_t>(count));
        }
    }

    void keep_credit(bool keep) { keeps_credit_ = keep; }
    // How much of bodies came that was not granted back (only while it keeps no credit).
    std::uint64_t ungranted_bytes() const { return ungranted_bytes_; }
    bool closed() const { return closed_; }
    int fd() const { return socket_.get(); }

private:
    bool wait(std::chrono::milliseconds patience) {
        pollfd poll{socket_.get(), POLLIN, 0};
        return ::poll(&poll, 1, static_cast<int>(patience.count())) > 0;
    }
    void read_once() {
        char buffer[64 * 1024];
        const auto count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
        if (count <= 0) {
            closed_ = true;
        } else {
            feed(as_byte_view({buffer, static_cast<std::size_t>(count)}));
        }
    }
    void feed(ByteView bytes) {
        const Result<void> fed = inbound_.feed(bytes);
        if (!fed) throw std::runtime_error(fed.error().message);
        flush();  // only here: writing may read, and nothing may be fed while something is
    }
    // Like a daemon, it reads while it cannot write: two ends that only write would wait for each other.
    void flush() {
        if (std::exchange(flushing_, true)) return;
        for (ByteView rest = outbound_.pending(); !rest.empty() && !closed_; rest = outbound_.pending()) {
            const auto count = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count > 0) {
                outbound_.consume(static_cast<std::size_t>(count));
                continue;
            }
            if (errno != EAGAIN && errno != EINTR) break;  // closed: the next receive() tells
            pollfd poll{socket_.get(), POLLIN | POLLOUT, 0};
            if (::poll(&poll, 1, static_cast<int>(std::chrono::milliseconds(k_patience).count())) <= 0)
                throw std::runtime_error("the peer takes nothing");
            if ((poll.revents & POLLIN) != 0) read_once();
        }
        flushing_ = false;
    }

    Result<void> on_message(Message& message, Body body) override {
        if (message.kind() == wire::CREDIT && message.channel() == wire::BODY) {
            outbound_.grant(message.stream(), message.number());
        }
        received_.push_back({std::move(message), std::move(body)});
        return {};
    }
    void on_room(std::uint64_t stream, std::uint64_t bytes) override {
        if (keeps_credit_) {
            Message credit;
            credit.set_kind(wire::CREDIT);
            credit.set_stream(stream);
            credit.set_number(bytes);
            outbound_.send(credit);
        } else {
            ungranted_bytes_ += bytes;
        }
    }

    Fd socket_;
    Inbound inbound_;
    Outbound outbound_;
    std::deque<Received> received_;
    std::uint64_t ungranted_bytes_ = 0;
    bool keeps_credit_ = true;
    bool closed_ = false;
    bool flushing_ = false;
};

class FakeNode {
public:
    FakeNode() : folder_("/tmp/rh-test-" + random_hex(8)), path_(folder_ + "/socket"), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof address.sun_path - 1);
        if (::mkdir(folder_.c_str(), 0700) != 0 || ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(socket_.get(), 16) != 0)
            throw std::runtime_error("cannot listen at " + path_);
    }
    FakeNode(const FakeNode&) = delete;
    FakeNode& operator=(const FakeNode&) = delete;
    ~FakeNode() {
        ::unlink(path_.c_str());
        ::rmdir(folder_.c_str());
    }

    const std::string& path() const { return path_; }
    std::unique_ptr<FakePeer> accept() {
        pollfd poll{socket_.get(), POLLIN, 0};
        if (::poll(&poll, 1, std::chrono::milliseconds(FakePeer::k_patience).count()) <= 0) throw std::runtime_error("nobody connects");
        return std::make_unique<FakePeer>(Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }

private:
    const std::string folder_;
    const std::string path_;
    Fd socket_;
};

}  // namespace rh::rpc
