#pragma once

// The TCP port that the node listens on, once it was asked to: loopback, or TLS anywhere. What was asked is kept, and comes back with
// the next daemon. On the daemon's executor.

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/task_group.h"
#include "net/tcp.h"
#include "net/tls.h"
#include "store/store.h"

namespace rh::daemon {

class Listening {
public:
    using Json = nlohmann::json;

    // `store` outlives it.
    Listening(const net::asio::any_io_executor& executor, const store::Store& store, const std::string& state_folder);
    ~Listening();

    // Listens as the request of `listen` says (protocol/node.md), instead of where it listened before.
    Result<void> listen(const Json& request);
    Result<void> unlisten();
    // A listener as protocol/node.md has it; an empty object when there is none.
    Json description() const;
    // Listens again as the daemon before did; goes on trying while somebody else has the port.
    void restore();
    // See api.h.
    net::asio::awaitable<Result<net::Accepted>> accept();
    void stop();

private:
    struct Wanted;
    struct Open;

    Result<Wanted> check(const Json& request) const;
    Result<std::shared_ptr<Open>> open(const Wanted& wanted) const;
    void take(std::shared_ptr<Open> open);

    net::asio::any_io_executor executor_;
    const store::Store& store_;
    const std::string certificate_folder_;
    std::shared_ptr<Open> open_;       // shared with accept(), which may wait on it while another takes its place
    std::unique_ptr<Json> restoring_;  // what could not be opened again yet
    net::Event changed_;
    bool stopped_ = false;
};

}  // namespace rh::daemon
