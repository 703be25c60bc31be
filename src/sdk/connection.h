#pragma once

// What Cluster, Service and calls share: one connection to a node, and where the output of its calls goes.

#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "client/client.h"
#include "roundhouse/client.h"
#include "sdk/codec.h"

namespace roundhouse {

struct Cluster::Impl {
    std::string name;
    bool local = false;  // it can be ended from here
    std::shared_ptr<rh::client::Client> client;
    std::mutex mutex;
    OnOutput on_output;  // guarded by mutex

    OnOutput output() {
        const std::scoped_lock lock(mutex);
        return on_output;
    }
    Result<Value> control(std::string_view method, const nlohmann::json& request, const rh::Encoded* attached = nullptr);
};

struct Service::Impl {
    std::string name;
    Value description;
    std::shared_ptr<Cluster::Impl> cluster;
    CallOptions options{};
};

// Shows output as it comes.
class Printer final : public rh::client::Waiter {
public:
    explicit Printer(OnOutput on_output) : on_output_(std::move(on_output)) {}
    void on_output(rh::Channel channel, std::string_view text) override;

private:
    const OnOutput on_output_;
};

// What a call ended with.
Result<Value> result_of(rh::Outcome outcome);
// Where a service's kind, name and description come from.
Result<Service> service_of(const std::shared_ptr<Cluster::Impl>& cluster, Result<Value> description);

}  // namespace roundhouse
