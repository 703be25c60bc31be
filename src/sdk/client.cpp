// The public C++ API (roundhouse/client.h) over client.h and launch/local.h.

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/limits.h"
#include "client/client.h"
#include "launch/local.h"
#include "roundhouse/client.h"
#include "sdk/msgpack.h"

namespace roundhouse {

namespace {

using Json = nlohmann::json;

Error error_of(const rh::Error& error) {
    return {std::string(rh::code_name(error.code)), error.message, {error.context.begin(), error.context.end()}};
}

Result<Value> result_of(rh::Outcome outcome) {
    if (outcome.kind == rh::Outcome::Kind::failed) return error_of(outcome.error);
    if (outcome.kind == rh::Outcome::Kind::raised)
        return Error{"raised", outcome.raised.type + ": " + outcome.raised.message, {{"type", outcome.raised.type}, {"traceback", outcome.raised.traceback}}};
    rh::Result<Value> value = rh::decode_value(outcome.body);
    if (!value) return error_of(value.error());
    return std::move(*value);
}

class Printer final : public rh::client::Waiter {
public:
    explicit Printer(OnOutput on_output) : on_output_(std::move(on_output)) {}
    void on_output(rh::Channel channel, std::string_view text) override {
        if (on_output_) {
            on_output_(channel == rh::Channel::err, text);
        } else {
            std::FILE* to = channel == rh::Channel::err ? stderr : stdout;
            std::fwrite(text.data(), 1, text.size(), to);
            std::fflush(to);
        }
    }

private:
    const OnOutput on_output_;
};

}  // namespace

struct Cluster::Impl {
    std::string name;
    std::shared_ptr<rh::client::Client> client;
    std::mutex mutex;
    OnOutput on_output;  // guarded by mutex

    OnOutput output() {
        const std::scoped_lock lock(mutex);
        return on_output;
    }
    rh::Outcome control(std::string_view method, const Json& request, const rh::Body* attachments = nullptr) {
        const std::string text = request.dump();
        std::vector<rh::ByteView> parts{rh::as_byte_view(text)};
        if (attachments != nullptr) {
            for (const rh::ByteView part : attachments->parts()) parts.push_back(part);
        }
        Printer printer(output());
        return rh::client::call(*client, {"_node", method, rh::Encoding::json, parts}, printer);
    }
};

struct Service::Impl {
    std::string name;
    std::shared_ptr<Cluster::Impl> cluster;
};

struct Pending::Impl {
    std::shared_ptr<rh::client::Call> call;
    std::shared_ptr<Cluster::Impl> cluster;
};

// --- Pending -------------------------------------------------------------------------------------------------------

bool Pending::done() const { return impl_->call->done(); }

Result<Value> Pending::get(std::optional<std::chrono::milliseconds> timeout) {
    rh::client::Deadline deadline;
    if (timeout) deadline = std::chrono::steady_clock::now() + *timeout;
    Printer printer(impl_->cluster->output());
    const rh::client::WaitEnd end = impl_->call->wait(deadline, printer);
    if (end == rh::client::WaitEnd::deadline) return Error{"timeout", "the call is not done yet; it goes on", {}};
    return result_of(impl_->call->take_outcome());
}

void Pending::cancel() { impl_->call->cancel(false); }

// --- Service -------------------------------------------------------------------------------------------------------

const std::string& Service::name() const { return impl_->name; }

Result<Pending> Service::submit_values(std::string_view method, List positional, Map named) const {
    const rh::Body body = rh::encode_arguments(std::move(positional), std::move(named));
    const std::vector<rh::ByteView> parts = body.parts();
    auto call = impl_->cluster->client->start({impl_->name, method, body.encoding, parts}, nullptr);
    if (!call) return error_of(call.error());
    return Pending(std::make_shared<Pending::Impl>(Pending::Impl{std::move(*call), impl_->cluster}));
}

Result<Service> Service::create_values(const std::string& instance_name, List positional, Map named) const {
    const rh::Body body = rh::encode_arguments(std::move(positional), std::move(named));
    const Json request{{"class", impl_->name}, {"name", instance_name}, {"encoding", static_cast<int>(body.encoding)}};
    Result<Value> made = result_of(impl_->cluster->control("create", request, &body));
    if (!made) return made.error();
    return Service(std::make_shared<Impl>(Impl{made->get<Map>().at("name").get<std::string>(), impl_->cluster}));
}

// --- Cluster -------------------------------------------------------------------------------------------------------

namespace {

Result<std::shared_ptr<Cluster::Impl>> open(const std::string& name, bool start) {
    const rh::Result<rh::launch::LocalCluster> local = rh::launch::locate_local(name);
    if (!local) return error_of(local.error());
    if (start) {
        const char* daemon = std::getenv("ROUNDHOUSE_DAEMON");
        const auto started = rh::launch::up_local(*local, daemon != nullptr ? daemon : "roundhoused", rh::limits::k_start_timeout);
        if (!started) {
            Error error = error_of(started.error());
            if (daemon == nullptr) error.message += " (the daemon is roundhoused in PATH, or what ROUNDHOUSE_DAEMON names)";
            return error;
        }
    }
    auto client = rh::client::Client::connect({local->socket_path, "roundhouse " ROUNDHOUSE_VERSION " c++"}, {});
    if (!client) return error_of(client.error());
    auto impl = std::make_shared<Cluster::Impl>();
    impl->name = name;
    impl->client = std::move(*client);
    return impl;
}

}  // namespace

Result<Cluster> Cluster::up(const std::string& name) {
    auto impl = open(name, true);
    if (!impl) return impl.error();
    return Cluster(std::move(*impl));
}

Result<Cluster> Cluster::connect(const std::string& name) {
    auto impl = open(name, false);
    if (!impl) return impl.error();
    return Cluster(std::move(*impl));
}

Result<Service> Cluster::deploy(const std::string& name, const std::vector<std::string>& command, bool is_class) {
    Json env = Json::object();
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view line(*entry);
        if (const std::size_t equals = line.find('='); equals != std::string_view::npos) env[std::string(line.substr(0, equals))] = std::string(line.substr(equals + 1));
    }
    std::unique_ptr<char, decltype(&std::free)> cwd(::getcwd(nullptr, 0), &std::free);
    Result<Value> started = result_of(impl_->control("start", {{"command", command}, {"env", std::move(env)}, {"cwd", cwd != nullptr ? cwd.get() : "/"}}));
    if (!started) return started.error();
    const std::string worker = started->get<Map>().at("workers").get<List>().at(0).get<std::string>();
    const Json request{{"name", name}, {"kind", is_class ? "class" : "function"}, {"workers", Json::array({worker})}};
    Result<Value> made = result_of(impl_->control("deploy", request));
    if (!made) return made.error();
    return Service(std::make_shared<Service::Impl>(Service::Impl{name, impl_}));
}

Result<Service> Cluster::get(const std::string& name) const {
    Result<Value> found = result_of(impl_->control("describe", {{"name", name}}));
    if (!found) return found.error();
    return Service(std::make_shared<Service::Impl>(Service::Impl{name, impl_}));
}

Result<std::chrono::microseconds> Cluster::ping() const {
    const auto took = impl_->client->ping(std::chrono::steady_clock::now() + rh::limits::k_handshake_timeout);
    if (!took) return error_of(took.error());
    return *took;
}

void Cluster::on_output(OnOutput on_output) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->on_output = std::move(on_output);
}

Result<Nothing> Cluster::down() {
    impl_->client->close();
    const auto ended = rh::launch::locate_local(impl_->name).and_then([](const rh::launch::LocalCluster& local) {
        return rh::launch::down_local(local, rh::limits::k_start_timeout);
    });
    if (!ended) return error_of(ended.error());
    return Nothing{};
}

}  // namespace roundhouse
