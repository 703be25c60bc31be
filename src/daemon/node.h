#pragma once

// The service "_node": deploys, creates, describes and deletes services, tells the node's status and stops it
// (protocol/node.md). Each call is a coroutine of the Daemon's; replies go to the stream that asked.

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <map>
#include <set>
#include <string>

#include "daemon/router.h"
#include "daemon/workers.h"

namespace rh::daemon {

class Node {
public:
    struct About {
        std::string cluster_name;
        std::string socket_path;
        std::string state_folder;
    };

    Node(About about, Services& services, Workers& workers, Router& router);

    // Whose stream asked; the connection may be gone by the time of the answer, which `alive` then says.
    struct Asker {
        Connection* connection = nullptr;
        std::uint64_t stream = 0;
        std::shared_ptr<const bool> alive;  // shared with the connection's owner, which outlives neither
        Connection* get() const { return *alive ? connection : nullptr; }
    };

    net::asio::awaitable<Outcome> call(std::string method, Body body, Asker asker);
    // A client is gone: workers that it started and has not deployed to are ended.
    void drop_client(const Connection& client);

private:
    using Json = nlohmann::json;

    // A worker without a service yet, and who is about to give it one.
    struct Started {
        std::shared_ptr<Worker> worker;
        const Connection* by = nullptr;
    };

    Outcome start(const Json& request, const Asker& asker);
    Outcome abandon(const Json& request, const Asker& asker);
    net::asio::awaitable<Outcome> deploy(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Outcome> create(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Outcome> remove(const Json& request, Asker asker);
    Outcome describe(const Json& request) const;
    Outcome status() const;

    Result<void> check_free(std::string_view name, bool replace, bool instances_too) const;
    Result<std::shared_ptr<Worker>> start_worker(const Json& request);
    std::shared_ptr<Worker> take_started(const Json& request, const Asker& asker);
    Outcome finish(const std::shared_ptr<Service>& service, const Outcome& loaded);
    void retire(const std::shared_ptr<Service>& service);

    const About about_;
    Services& services_;
    Workers& workers_;
    Router& router_;
    std::map<std::string, Started> started_;  // by worker
    std::set<std::string, std::less<>> promised_;  // names whose services are being made
    const std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
};

}  // namespace rh::daemon
