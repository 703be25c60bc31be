#pragma once

// The C++ side of a worker: finds what a call names, gives it its arguments, and sends what comes of it. Owned by the Worker. The
// host's threads call run() at once; what the program serves never changes while it does, names and instances do, under a lock.

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>

#include "roundhouse/client.h"
#include "sdk/codec.h"
#include "sdk/current.h"
#include "worker/host.h"

namespace rh {

class CppRunner final : public worker::Runner {
public:
    // Before serve().
    std::map<std::string, roundhouse::detail::Function> functions;
    std::map<std::string, roundhouse::detail::Class> classes;
    std::map<std::string, std::function<std::shared_ptr<void>()>> default_constructors;

    // Until the daemon ends the connection.
    Result<void> serve(const std::string& socket, const std::string& worker_id);

private:
    using Json = nlohmann::json;
    using Value = roundhouse::Value;
    template <class T>
    using PublicResult = roundhouse::Result<T>;

    // What lives here under a name.
    struct Living {
        const roundhouse::detail::Function* function = nullptr;
        const roundhouse::detail::Class* made_of = nullptr;  // a class, or with `object` its instance
        std::shared_ptr<void> object;
        std::shared_ptr<const Value> value;  // of an object: a value that is kept
    };

    std::optional<Outcome> run(worker::Incoming& call) override;
    void cancel(std::uint64_t id) override;
    bool start_thread() override;
    std::vector<std::string> services() override;

    Outcome answer(worker::Incoming& call, const std::shared_ptr<roundhouse::CurrentCall::State>& state);
    Outcome call_user(worker::Incoming& call);
    PublicResult<Value> invoke(const Living& living, const worker::Incoming& call, const roundhouse::detail::Arguments& arguments, Encoding encoding, std::string_view accept);
    PublicResult<Value> call_every(const Living& living, const std::string& service, const std::string& method, const roundhouse::detail::Arguments& arguments) const;
    PublicResult<Value> call_overloads(const std::vector<roundhouse::detail::Callable>& overloads, void* self, const std::string& called, const worker::Incoming& call,
                                       const roundhouse::detail::Arguments& arguments, Encoding encoding, std::string_view accept);
    PublicResult<Value> resolve(const std::string& key);

    Outcome control(worker::Incoming& call);
    Outcome load(const Json& request, const Body& body);
    Outcome create(const Json& request, worker::Incoming& call);
    Outcome rename(const std::string& name, const std::string& to);
    PublicResult<std::shared_ptr<void>> construct(const roundhouse::detail::Class& made, const roundhouse::detail::Arguments& arguments) const;

    PublicResult<Living> find(const std::string& name);
    void keep(const std::string& name, Living living, std::size_t concurrency, std::size_t queue);

    std::unique_ptr<worker::Host> host_;
    std::string worker_id_;

    std::shared_mutex living_mutex_;
    std::map<std::string, Living> living_;
    std::map<std::string, std::string> renamed_;  // for calls that were on their way

    std::mutex calls_mutex_;
    std::map<std::uint64_t, std::shared_ptr<roundhouse::CurrentCall::State>> calls_;  // running now

    std::mutex node_mutex_;
    std::optional<roundhouse::Cluster> node_;  // connected when a reference has to be fetched
};

}  // namespace rh
