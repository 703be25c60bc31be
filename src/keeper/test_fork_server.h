#pragma once

// For tests of the keeper: a fork server without an interpreter. Each process that it makes runs the program it was asked for.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "process/keeper_messages.h"
#include "process/spawn.h"

namespace rh::keeper::testing {

inline constexpr int k_keeper_socket = 3;

struct Request {
    process::KeeperMessage message;
    std::array<int, 3> fds{-1, -1, -1};
};

inline bool receive_request(Request& request) {
    static std::array<char, 256 * 1024> packet;
    iovec part{packet.data(), packet.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof request.fds)> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto count = ::recvmsg(k_keeper_socket, &message, 0);
    if (count <= 0) return false;
    if (const cmsghdr* const header = CMSG_FIRSTHDR(&message); header != nullptr) std::memcpy(request.fds.data(), CMSG_DATA(header), sizeof request.fds);
    process::KeeperDecoder decoder;
    decoder.feed(as_byte_view(std::string_view(packet.data(), static_cast<std::size_t>(count))));
    return decoder.next(request.message).value_or(false);
}

[[noreturn]] inline void become(const process::Start& start, const std::array<int, 3>& fds, pid_t keeper) {
    // It is the keeper's within moments, unless that has ended meanwhile.
    for (int tries = 0; ::getppid() != keeper; ++tries) {
        if (tries == 50'000) ::_exit(9);
        ::usleep(200);
    }
    ::setsid();
    ::dup2(fds[1], STDOUT_FILENO);
    ::dup2(fds[2], STDERR_FILENO);
    const std::int32_t pid = ::getpid();
    char go = 0;
    if (::write(fds[0], &pid, sizeof pid) != sizeof pid || ::read(fds[0], &go, 1) != 1) ::_exit(9);
    process::close_from(STDERR_FILENO + 1);
    std::vector<char*> argv;
    for (const auto& text : start.argv) argv.push_back(const_cast<char*>(text.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> env;
    for (const auto& text : start.env) env.push_back(const_cast<char*>(text.c_str()));
    env.push_back(nullptr);
    ::execvpe(argv[0], argv.data(), env.data());
    ::_exit(127);
}

// "refuse" forks nothing, "hang" answers nothing, "other" says a pid that is no child of the keeper's.
inline int run_test_fork_server(const std::string& how) {
    const pid_t keeper = ::getppid();
    Request request;
    while (receive_request(request)) {
        if (auto* const told = std::get_if<process::Tell>(&request.message)) {
            Bytes answer;
            process::append_keeper_message(answer, process::Tell{told->id, "heard " + told->text});
            ::send(k_keeper_socket, answer.data(), answer.size(), 0);
        }
        const auto* const start = std::get_if<process::Start>(&request.message);
        if (start == nullptr || how == "hang") continue;
        if (how == "other") {
            const std::int32_t pid = ::getpid() - 1;
            ::send(request.fds[0], &pid, sizeof pid, 0);
        } else if (how != "refuse") {
            const pid_t between = ::fork();
            if (between == 0) {
                if (::fork() == 0) become(*start, request.fds, keeper);
                ::_exit(0);
            }
            ::waitpid(between, nullptr, 0);
        }
        for (const int fd : request.fds) ::close(fd);
    }
    return 0;
}

}  // namespace rh::keeper::testing
