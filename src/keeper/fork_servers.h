#pragma once

// The keeper's sockets to its fork servers, and the forks that are under way. A fork server forks twice, so that each worker becomes
// the keeper's own child; the new process says so on a socket of its own and begins only when it is told to, by when it is in its
// cgroup and on its CPUs. Owned by Keeper, which polls the descriptors; nothing here blocks.

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "process/keeper_messages.h"

namespace rh::keeper {

class ForkServers {
public:
    using Clock = std::chrono::steady_clock;

    // Makes the socket of one that is about to be started; returns its end.
    Result<Fd> open(const std::string& id);
    // It has ended, or could not be started. What it was to fork is failed by step().
    void close(const std::string& id);
    void tell(const process::Tell& message);
    // The last that each has said.
    std::vector<process::Tell> last_told() const;

    // Has a fork server make that process. False where it cannot: then it is to be started in another way.
    bool ask(const process::Start& start, Clock::time_point now);
    // How many there are, and how many processes are being made.
    std::size_t servers() const { return servers_.size(); }
    std::size_t asked() const { return asked_.size(); }
    bool is_asked(const std::string& id) const;
    // It is not to be, after all. False where nobody makes it.
    bool cancel(const std::string& id);
    void cancel_all() { asked_.clear(); }

    // A process that waits for go() to be called with it; or, without a pid, one that its fork server did not make.
    struct Forked {
        process::Start start;
        pid_t pid = 0;
        Fd socket;
    };
    static bool go(const Forked& forked);

    struct Heard {
        std::vector<process::Tell> told;
        std::vector<Forked> forked;
        std::vector<std::string> hung;  // fork servers that have not answered in time
    };
    void add_to(std::vector<pollfd>& waited) const;
    std::optional<Clock::time_point> next_deadline() const;
    // What there is to read, and what was too long in coming.
    Heard step(Clock::time_point now);

private:
    struct Server {
        Fd socket;
        std::string last_told;
    };
    struct Asked {
        process::Start start;
        Clock::time_point answer_by;
        Fd socket = {};  // none before its fork server has been asked
    };
    enum class Sent { yes, later, never };
    Sent send(Asked& asked) const;
    // As much as the fork servers take now.
    void send_asked();
    void hear(const std::string& id, Server& server, Heard& heard) const;

    std::map<std::string, Server, std::less<>> servers_;
    std::list<Asked> asked_;  // bounded by the keeper, with its workers
};

}  // namespace rh::keeper
