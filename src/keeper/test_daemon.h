#pragma once

// For tests of keeper and launcher: a daemon that passes on what its keeper says to whoever connects, and back, so that a
// test speaks to a real keeper from outside; and the test's end of it. A test program runs itself as this daemon.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <list>
#include <optional>
#include <string>

#include "base/fd.h"
#include "process/keeper_messages.h"

namespace rh::keeper::testing {

inline sockaddr_un socket_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

// A connection is the test's once it has said something: starters connect as well, only to see whether they can.
inline int run_test_daemon(const std::string& state_folder, const std::string& socket_path, int keeper) {
    if (std::ifstream(state_folder + "/die")) {
        const char words[] = "this daemon is broken\n";
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, words, sizeof words - 1);
        return 7;
    }
    if (std::ifstream(state_folder + "/hang")) ::pause();
    ::signal(SIGPIPE, SIG_IGN);
    ::unlink(socket_path.c_str());
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = socket_address(socket_path);
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return 8;
    if (::listen(listener.get(), 64) != 0) return 9;
    std::list<Fd> visitors;
    Fd test;
    std::string unsent;
    char chunk[4096];
    for (;;) {
        std::vector<pollfd> waited = {{listener.get(), POLLIN, 0}, {keeper, POLLIN, 0}, {test.get(), POLLIN, 0}};
        for (const auto& visitor : visitors) waited.push_back({visitor.get(), POLLIN, 0});
        if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return 10;
        if (waited[1].revents != 0) {
            const auto count = ::read(keeper, chunk, sizeof chunk);
            if (count == 0) return 0;
            if (count > 0) unsent.append(chunk, static_cast<std::size_t>(count));
        }
        if (waited[2].revents != 0) {
            const auto count = ::read(test.get(), chunk, sizeof chunk);
            if (count <= 0) test.close();
            for (ssize_t sent = 0; sent < count;) {
                const auto taken = ::write(keeper, chunk + sent, static_cast<std::size_t>(count - sent));
                if (taken < 0 && errno != EAGAIN) return 11;
                if (taken > 0) sent += taken;
                pollfd room{keeper, POLLOUT, 0};
                ::poll(&room, 1, 1000);
            }
        }
        std::size_t at = 3;
        for (auto visitor = visitors.begin(); visitor != visitors.end() && at < waited.size(); ++at) {
            if (waited[at].revents == 0) {
                ++visitor;
                continue;
            }
            if (::read(visitor->get(), chunk, 1) == 1) test = std::move(*visitor);
            visitor = visitors.erase(visitor);
        }
        if (waited[0].revents != 0) visitors.emplace_back(::accept(listener.get(), nullptr, nullptr));
        if (test && !unsent.empty()) {
            const auto count = ::write(test.get(), unsent.data(), unsent.size());
            if (count > 0) unsent.erase(0, static_cast<std::size_t>(count));
        }
    }
}

// Speaks to the keeper through the daemon above.
class KeeperTalk {
public:
    // False when nobody listens there within the time.
    bool connect(const std::string& socket_path, std::chrono::milliseconds timeout = std::chrono::seconds(5)) {
        const sockaddr_un address = socket_address(socket_path);
        decoder_ = process::KeeperDecoder();
        for (const auto deadline = Clock::now() + timeout; Clock::now() < deadline; ::usleep(1000)) {
            socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
            if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
                return ::send(socket_.get(), "h", 1, MSG_NOSIGNAL) == 1;
        }
        return false;
    }
    void send(const process::KeeperMessage& message) {
        Bytes bytes;
        process::append_keeper_message(bytes, message);
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    // The next message; nothing when it does not come, or is of another kind.
    template <class Message>
    std::optional<Message> receive(std::chrono::milliseconds timeout = std::chrono::seconds(5)) {
        process::KeeperMessage message;
        const auto deadline = Clock::now() + timeout;
        for (;;) {
            const auto whole = decoder_.next(message);
            if (!whole) return std::nullopt;
            if (*whole) break;
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
            pollfd waited{socket_.get(), POLLIN, 0};
            if (left <= 0 || ::poll(&waited, 1, static_cast<int>(left)) <= 0) return std::nullopt;
            char chunk[4096];
            const auto count = ::read(socket_.get(), chunk, sizeof chunk);
            if (count <= 0) return std::nullopt;
            decoder_.feed(as_byte_view({chunk, static_cast<std::size_t>(count)}));
        }
        auto* const found = std::get_if<Message>(&message);
        return found == nullptr ? std::nullopt : std::optional<Message>(std::move(*found));
    }

private:
    using Clock = std::chrono::steady_clock;

    Fd socket_;
    process::KeeperDecoder decoder_;
};

}  // namespace rh::keeper::testing
