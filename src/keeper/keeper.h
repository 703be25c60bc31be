#pragma once

// The keeper: the one process that parents everything on a node, so that it knows how each of them ends, and outlives
// the daemon, which it starts and restarts. Single-threaded, no executor: run() is a poll loop. It ends with the last
// process after Shutdown or SIGTERM, and then nothing of the node is left: no process, socket or lock.

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "keeper/daemon_link.h"
#include "keeper/fork_servers.h"
#include "keeper/memory_limits.h"
#include "process/keeper_messages.h"
#include "process/node_folder.h"
#include "process/tree.h"

namespace rh::keeper {

struct Options {
    std::string state_folder;
    std::string cluster_name;
    std::string socket_path;
    // The daemon's command; what names the node and the keeper's descriptor is added to it.
    std::vector<std::string> daemon_argv;
};

class Keeper {
public:
    // `starter` is the end of a socketpair with the starter, or none. The starter says 'r' once the daemon accepts;
    // until then a daemon that dies is not restarted, and why is told there. 'x' asks for the end of the node.
    Keeper(Options options, process::FileLock lock, Fd starter);

    // Returns the exit code once everything on the node has ended. The caller has set up this process (run_keeper).
    int run();

private:
    using Clock = std::chrono::steady_clock;

    struct Worker {
        std::string id;
        pid_t pid = 0;
        process::Start start;  // for a daemon that takes a dead one's place
        bool signalled = false;  // by the keeper, so that nobody else need have ended it
    };
    // A worker's tree that is being ended, until none of it is left.
    struct Ending {
        std::string worker_id;
        pid_t session = 0;
        Clock::time_point kill_at;
        Clock::time_point look_at;  // when to look next; children's deaths bring it forward
    };

    Result<void> start();
    void wait(Clock::time_point now);
    std::optional<Clock::time_point> next_deadline() const;

    void read_signals();
    void reap();
    void on_worker_exit(const Worker& worker, int status, long peak_memory_kib);
    void step_memory(Clock::time_point now);
    void on_daemon_exit(int status);

    Result<void> start_daemon();
    void upgrade(const std::string& program);
    // After an upgrade: back to the program before. False where there is none.
    bool take_back_upgrade(Clock::time_point now);
    void plan_restart(Clock::time_point now, bool was_killed);
    void step_daemon(Clock::time_point now);
    void read_daemon();
    void handle(const process::KeeperMessage& message);
    void start_worker(const process::Start& start);
    Result<pid_t> spawn_worker(const process::Start& start, int inherited_fd);
    process::Start marked(process::Start start) const;
    void start_fresh(const process::Start& start);
    void begun(process::Start start, pid_t pid);
    void step_forks(Clock::time_point now);
    void on_forked(const ForkServers::Forked& forked);
    void signal_worker(const process::Signal& signal);
    void end_worker(const std::string& id, std::chrono::milliseconds grace);
    void read_starter();
    void tell_starter(const Error& error);

    void stop();
    void step_endings(Clock::time_point now);
    // True when all that is left is nobody of ours.
    bool step_stop(Clock::time_point now);
    void forget_node();
    void clean_up();

    Worker* find(const std::string& id);
    std::vector<process::ProcessEntry> below() const;

    const Options options_;
    process::FileLock lock_;
    Fd starter_;
    Fd signals_;
    std::uint64_t log_start_ = 0;  // the daemon's log before this keeper

    std::string daemon_program_;
    std::optional<std::string> program_before_;  // an upgrade, until it has proved itself
    std::optional<Clock::time_point> end_daemon_at_;
    pid_t daemon_pid_ = 0;
    Clock::time_point daemon_started_{};
    DaemonLink daemon_;
    bool had_daemon_ = false;
    std::deque<Clock::time_point> daemon_deaths_;
    std::optional<Clock::time_point> restart_at_;

    std::map<pid_t, Worker> workers_;
    ForkServers forks_;
    std::vector<Ending> endings_;
    std::deque<std::pair<Clock::time_point, process::Exited>> recent_exits_;
    std::optional<MemoryLimits> memory_;  // from the start of the first daemon on

    bool stopping_ = false;
    int exit_code_ = 0;
    Clock::time_point stop_kill_at_;
    Clock::time_point stop_look_at_;
    std::optional<Clock::time_point> daemon_kill_at_;
};

}  // namespace rh::keeper
