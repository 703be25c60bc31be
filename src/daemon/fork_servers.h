#pragma once

// The fork servers of this node, as the daemon sees them: which one a worker can be forked from, what they are told to import, and
// when one is begun or ended (protocol/node.md). What they are is theirs to say; until one has said it, nothing is forked from it.
// Owned by Node, on the daemon's executor.

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/workers.h"

namespace rh::daemon {

// Where a worker that may be forked writes down what it has imported, a module a line.
inline constexpr const char* k_imports_variable = "ROUNDHOUSE_IMPORTS";

class ForkServers {
public:
    // `folder` is where what they print goes, and what workers have imported.
    ForkServers(Workers& workers, std::string folder);
    ~ForkServers();

    // The one that this can be forked from now; empty where there is none.
    std::string choose(const Forkable& wanted);
    // What a worker has imported, workers like it will import: it is read where that worker writes it, as to ask would be a call
    // beside its calls. The first that comes of a kind begins a fork server for the next.
    void learn_from(const Worker& worker);
    std::string imports_path_of(const std::string& worker_id) const;
    // The worker has ended.
    void forget(const Worker& worker);
    // Ends what nobody has wanted for long; false when none is left.
    bool end_idle();

    nlohmann::json status() const;

private:
    struct Server;

    // True for what concerns one of them.
    bool on_keeper(const process::KeeperMessage& message);
    void hear(Server& server, const std::string& text);
    bool may_begin();
    void begin(const Forkable& like);
    Server* find(const Forkable& wanted);

    Workers& workers_;
    const std::string folder_;
    std::map<std::string, std::unique_ptr<Server>, std::less<>> servers_;
    std::deque<std::chrono::steady_clock::time_point> deaths_;
};

}  // namespace rh::daemon
