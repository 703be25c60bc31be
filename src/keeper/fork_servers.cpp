#include "keeper/fork_servers.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/limits.h"

namespace rh::keeper {

namespace {

// What one step reads of one fork server.
constexpr int k_packets_a_step = 16;
// An empty packet would look like the end of the socket.
constexpr char k_go = 'g';

// One message is one packet, so that descriptors stay with theirs.
struct Packet {
    Bytes bytes;
    std::array<int, 3> fds{-1, -1, -1};
};

bool send_packet(int socket, const Packet& packet) {
    iovec part{const_cast<std::byte*>(packet.bytes.data()), packet.bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof packet.fds)> control{};
    if (packet.fds[0] >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof packet.fds);
        std::memcpy(CMSG_DATA(header), packet.fds.data(), sizeof packet.fds);
    }
    return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

Fd open_output(const std::string& path) { return Fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_CLOEXEC, 0600)); }

bool make_pair(Fd& ours, Fd& theirs) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
    ours = Fd(ends[0]);
    theirs = Fd(ends[1]);
    // The other side waits for what comes; this one never does.
    return ::fcntl(ours.get(), F_SETFL, O_NONBLOCK) == 0;
}

bool is_ended(ssize_t count) { return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR); }

}  // namespace

Result<Fd> ForkServers::open(const std::string& id) {
    Fd ours;
    Fd theirs;
    if (!make_pair(ours, theirs)) return fail(os_error("cannot make a socket for a fork server", errno));
    servers_[id] = Server{std::move(ours), {}};
    return theirs;
}

void ForkServers::close(const std::string& id) { servers_.erase(id); }

void ForkServers::tell(const process::Tell& message) {
    const auto found = servers_.find(message.id);
    if (found == servers_.end()) return;
    Packet packet;
    process::append_keeper_message(packet.bytes, message);
    // What does not fit is not told: the next that has more to tell tells it again.
    if (packet.bytes.size() <= limits::k_fork_message_bytes_max) send_packet(found->second.socket.get(), packet);
}

std::vector<process::Tell> ForkServers::last_told() const {
    std::vector<process::Tell> all;
    for (const auto& [id, server] : servers_) {
        if (!server.last_told.empty()) all.push_back({id, server.last_told});
    }
    return all;
}

bool ForkServers::ask(const process::Start& start, Clock::time_point now) {
    if (servers_.count(start.fork_server) == 0) return false;
    asked_.push_back({start, now + limits::k_fork_timeout});
    send_asked();
    return true;
}

// The descriptors are made no sooner than they can go: hundreds may be waiting.
ForkServers::Sent ForkServers::send(Asked& asked) const {
    const auto found = servers_.find(asked.start.fork_server);
    if (found == servers_.end() || !found->second.socket) return Sent::never;
    Packet packet;
    process::append_keeper_message(packet.bytes, asked.start);
    if (packet.bytes.size() > limits::k_fork_message_bytes_max) return Sent::never;
    pollfd room{found->second.socket.get(), POLLOUT, 0};
    if (::poll(&room, 1, 0) == 0) return Sent::later;
    const Fd out = open_output(asked.start.stdout_path);
    const Fd err = open_output(asked.start.stderr_path);
    Fd theirs;
    if (!out || !err || !make_pair(asked.socket, theirs)) return Sent::never;
    packet.fds = {theirs.get(), out.get(), err.get()};
    if (send_packet(room.fd, packet)) return Sent::yes;
    const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
    asked.socket.close();
    return full ? Sent::later : Sent::never;
}

void ForkServers::send_asked() {
    std::vector<std::string_view> full;
    for (Asked& asked : asked_) {
        if (asked.socket || std::find(full.begin(), full.end(), asked.start.fork_server) != full.end()) continue;
        const Sent sent = send(asked);
        if (sent == Sent::later) full.push_back(asked.start.fork_server);
        if (sent == Sent::never) asked.answer_by = {};
    }
}

bool ForkServers::is_asked(const std::string& id) const {
    return std::any_of(asked_.begin(), asked_.end(), [&](const Asked& asked) { return asked.start.id == id; });
}

// Whatever was made of it ends at the end of its socket, before it has run anything.
bool ForkServers::cancel(const std::string& id) {
    return std::erase_if(asked_, [&](const Asked& asked) { return asked.start.id == id; }) != 0;
}

bool ForkServers::go(const Forked& forked) { return ::send(forked.socket.get(), &k_go, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1; }

void ForkServers::add_to(std::vector<pollfd>& waited) const {
    for (const auto& [id, server] : servers_) {
        const bool more = std::any_of(asked_.begin(), asked_.end(), [&](const Asked& asked) { return !asked.socket && asked.start.fork_server == id; });
        if (server.socket) waited.push_back({server.socket.get(), static_cast<short>(more ? POLLIN | POLLOUT : POLLIN), 0});
    }
    for (const Asked& asked : asked_) {
        if (asked.socket) waited.push_back({asked.socket.get(), POLLIN, 0});
    }
}

std::optional<ForkServers::Clock::time_point> ForkServers::next_deadline() const {
    std::optional<Clock::time_point> next;
    for (const Asked& asked : asked_) next = next ? std::min(*next, asked.answer_by) : asked.answer_by;
    return next;
}

void ForkServers::hear(const std::string& id, Server& server, Heard& heard) const {
    Bytes packet;
    for (int i = 0; i < k_packets_a_step && server.socket; ++i) {
        packet.clear();
        std::byte* const room = packet.extend(limits::k_fork_message_bytes_max);
        const auto count = ::recv(server.socket.get(), room, limits::k_fork_message_bytes_max, 0);
        if (is_ended(count)) server.socket.close();
        if (count <= 0) return;
        process::KeeperDecoder decoder;
        decoder.feed({room, static_cast<std::size_t>(count)});
        process::KeeperMessage message;
        const Result<bool> whole = decoder.next(message);
        auto* const told = whole && *whole ? std::get_if<process::Tell>(&message) : nullptr;
        if (told == nullptr) continue;
        server.last_told = told->text;
        heard.told.push_back({id, std::move(told->text)});
    }
}

ForkServers::Heard ForkServers::step(Clock::time_point now) {
    Heard heard;
    for (auto& [id, server] : servers_) hear(id, server, heard);
    send_asked();
    std::vector<std::string> alive;
    for (auto at = asked_.begin(); at != asked_.end();) {
        std::int32_t pid = 0;
        const auto count = at->socket ? ::recv(at->socket.get(), &pid, sizeof pid, 0) : ssize_t{-1};
        const bool made = count == static_cast<ssize_t>(sizeof pid) && pid > 0;
        const bool ended = at->socket && !made && is_ended(count);
        const bool late = !made && !ended && now >= at->answer_by;
        if (!made && !ended && !late) {
            ++at;
            continue;
        }
        if (made) alive.push_back(at->start.fork_server);
        if (late && at->answer_by != Clock::time_point{}) heard.hung.push_back(at->start.fork_server);
        heard.forked.push_back({std::move(at->start), made ? pid : 0, std::move(at->socket)});
        at = asked_.erase(at);
    }
    // One that gets on with its work may have much of it.
    for (Asked& asked : asked_) {
        const bool goes_on = std::find(alive.begin(), alive.end(), asked.start.fork_server) != alive.end();
        if (goes_on && asked.answer_by != Clock::time_point{}) asked.answer_by = now + limits::k_fork_timeout;
    }
    return heard;
}

}  // namespace rh::keeper
