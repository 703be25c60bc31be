#pragma once

// The workers of this node, and the daemon's end of its keeper's socket: asks for processes and hears how they ended. On
// the daemon's executor; run() ends when the keeper does, which is the end of the node.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/worker.h"
#include "net/stream.h"
#include "process/keeper_messages.h"

namespace rh::daemon {

class Workers {
public:
    // What one is started with.
    struct Command {
        std::vector<std::string> argv;
        std::vector<std::string> env;
        std::string cwd;
        std::vector<std::int32_t> cpus;  // that it may run on; empty: all
        std::uint64_t memory_bytes = 0;  // that it may have, with all that comes from it; 0: no limit of its own
        std::string fork_server = {};    // what it is forked from, if that can be; empty: nothing
        std::vector<std::string> import_path = {};
    };
    using OnStart = std::function<void(const std::shared_ptr<Worker>&)>;
    using OnEnd = std::function<void(Worker&)>;
    using OnLimited = std::function<void(const std::shared_ptr<Worker>&, const process::Limited&)>;
    using OnOverLimit = std::function<void(Worker&, const process::OverLimit&)>;

    Workers(const net::asio::any_io_executor& executor, int keeper_fd, std::string folder, OnEnd on_end);
    // Called for each before its process is asked for.
    void on_start(OnStart on_start) { on_start_ = std::move(on_start); }

    // Called for the end of a process that this daemon did not know, as one before it did.
    void on_unknown_exit(std::function<void()> told) { on_unknown_exit_ = std::move(told); }
    // What the keeper says first: which workers of a daemon before this one live, and how they were started, and whether there was
    // one at all. Called once, when all of that has come.
    struct Left {
        std::int32_t pid = 0;
        process::Start start;
    };
    using OnInventory = std::function<void(std::vector<Left>, bool is_first)>;
    void on_inventory(OnInventory told) { on_inventory_ = std::move(told); }
    // Takes over such a worker; nothing when there is one of that id.
    std::shared_ptr<Worker> adopt(const Left& left);
    // Ends such a one.
    void end_left(const std::string& id) { tell(process::End{id, 0}); }
    // Told what the keeper says of a worker's memory.
    void on_memory(OnLimited on_limited, OnOverLimit on_over_limit) {
        on_limited_ = std::move(on_limited);
        on_over_limit_ = std::move(on_over_limit);
    }
    // Whether the keeper knows fork servers; they begin with a Start of theirs, and are told what it passes on.
    bool can_fork() const { return can_fork_; }
    void begin_fork_server(process::Start start) { tell(std::move(start)); }
    void tell_fork_server(const process::Tell& message) { tell(message); }
    // Asked first with all that the keeper says of processes: true for what concerns a fork server.
    void on_fork_servers(std::function<bool(const process::KeeperMessage&)> told) { on_fork_servers_ = std::move(told); }
    // Who limits memory here, as the keeper has said in the environment, or since.
    process::Enforcer memory_enforcer() const { return memory_enforcer_; }

    // Reads what the keeper says until it closes.
    net::asio::awaitable<void> run();

    // A name for the next one, which nothing else on this node has had.
    static std::string new_id();
    // Asks for a process; worker.ready is set at its hello, or when it could not start or ended, and worker.end is then set.
    Result<std::shared_ptr<Worker>> start(std::string id, Command command);
    std::shared_ptr<Worker> find(std::string_view id) const;
    // Ends it with everything that came from it.
    void stop(Worker& worker);
    // Ends it because a call in it would not: SIGTERM, and soon SIGKILL. It is not "stopping", so its end needs explaining.
    void kill(Worker& worker);
    // Its connection was lost: kills the process unless the keeper has already seen it end, so that its end is known.
    void end_lost(Worker& worker);
    // Ends the node.
    void shut_down();
    // Has a daemon of that program take this one's place, with all that lives here.
    void upgrade(const std::string& program) { tell(process::Upgrade{program}); }

    std::vector<std::shared_ptr<Worker>> all() const;

private:
    void tell(const process::KeeperMessage& message);
    void on_keeper(process::KeeperMessage message);
    void on_left(process::Start start);
    void tell_inventory();
    std::string begun_path_of(const std::string& id) const;
    void end(const std::string& id, Error why);
    net::asio::awaitable<void> write_later();

    net::asio::any_io_executor executor_;
    std::unique_ptr<net::Stream> keeper_;
    const std::string folder_;
    OnStart on_start_;
    OnEnd on_end_;
    OnInventory on_inventory_;
    std::function<void()> on_unknown_exit_;
    std::map<std::string, Left, std::less<>> left_;  // until all of their starts have come
    std::size_t starts_missing_ = 0;
    bool is_first_ = false;
    OnLimited on_limited_;
    OnOverLimit on_over_limit_;
    process::Enforcer memory_enforcer_;
    std::function<bool(const process::KeeperMessage&)> on_fork_servers_;
    const bool can_fork_;
    Bytes unsent_;
    bool writing_ = false;
    bool keeper_gone_ = false;  // and every worker with it: there is nobody to tell anything
    net::TaskGroup tasks_;
    std::map<std::string, std::shared_ptr<Worker>, std::less<>> by_id_;
};

}  // namespace rh::daemon
