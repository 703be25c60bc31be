// Services and their calls (roundhouse/client.h).

#include <deque>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "sdk/connection.h"
#include "sdk/current.h"

namespace roundhouse {

namespace {

using Json = nlohmann::json;
using rh::client::WaitEnd;

rh::client::Deadline deadline_of(Timeout timeout) {
    if (!timeout) return std::nullopt;
    return std::chrono::steady_clock::now() + *timeout;
}

Error late() { return {"timeout", "the call has not ended yet, and goes on"}; }

}  // namespace

// Whoever asks first takes the outcome out of the call; others find it here.
struct detail::Started::Impl {
    std::shared_ptr<rh::client::Call> call;  // null: it could not be started
    std::shared_ptr<Cluster::Impl> cluster;
    OnOutput on_output;
    bool asks = false;  // prefetch 0: each item is asked for

    std::mutex mutex;  // of what follows
    std::optional<Result<Value>> result;
    std::deque<rh::Body> items;

    Printer printer() const { return Printer(on_output ? on_output : cluster->output()); }
    Result<Value> take() {
        const std::scoped_lock lock(mutex);
        if (!result) result = result_of(call->take_outcome());
        return *result;
    }
    std::optional<rh::Body> pop() {
        const std::scoped_lock lock(mutex);
        if (items.empty()) return std::nullopt;
        rh::Body item = std::move(items.front());
        items.pop_front();
        return item;
    }
    void keep(rh::client::Items came) {
        const std::scoped_lock lock(mutex);
        if (!came.batch) {
            items.push_back(std::move(came.body));
            return;
        }
        for (const rh::ByteView part : came.body.parts()) items.push_back(rh::Body::one(came.body.encoding, part));
    }
};

namespace detail {

bool Started::done() const { return impl_->call == nullptr || impl_->call->done(); }

bool Started::wait(Timeout timeout) const {
    if (impl_->call == nullptr) return true;
    Printer printer = impl_->printer();
    return impl_->call->wait(deadline_of(timeout), printer) == WaitEnd::done;
}

Result<Value> Started::result(Timeout timeout) const {
    if (!wait(timeout)) return late();
    return impl_->take();
}

Result<std::optional<Value>> Started::next(Timeout timeout) const {
    const rh::client::Deadline deadline = deadline_of(timeout);
    Printer printer = impl_->printer();
    bool asked = false;
    for (;;) {
        if (std::optional<rh::Body> item = impl_->pop()) {
            Result<Value> value = rh::decode_value(std::move(*item));
            if (!value) return value.error();
            return std::optional<Value>(std::move(*value));
        }
        if (impl_->call == nullptr) break;
        if (impl_->asks && !std::exchange(asked, true)) impl_->call->ask();
        // Looked at before the items are taken: what came before the end is not lost.
        const WaitEnd end = impl_->call->wait_items(deadline, printer);
        const bool over = impl_->call->done();
        std::vector<rh::client::Items> came = impl_->call->take_items();
        for (rh::client::Items& items : came) impl_->keep(std::move(items));
        if (!came.empty()) continue;
        if (over) break;
        if (end == WaitEnd::deadline) return Error{"timeout", "no item has come in time; the generator goes on"};
    }
    Result<Value> result = impl_->take();
    if (!result) return result.error();
    return std::optional<Value>();
}

void Started::cancel(bool kill) const {
    if (impl_->call != nullptr) impl_->call->cancel(kill);
}

void Started::abandon() const {
    if (impl_->call != nullptr && !impl_->call->done()) impl_->call->abandon(rh::Error(rh::Code::cancelled, "the stream was dropped"));
}

}  // namespace detail

const std::string& Service::name() const { return impl_->name; }

std::string Service::kind() const { return impl_->description["kind"].as<std::string>().value_or(""); }

const Value& Service::description() const { return impl_->description; }

Service Service::with(CallOptions options) const {
    auto made = std::make_shared<Impl>(*impl_);
    made->options = std::move(options);
    return Service(std::move(made));
}

detail::Started Service::start_values(std::string_view method, bool stream, const List& positional, const Map& named) const {
    const CallOptions& options = impl_->options;
    auto started = std::make_shared<detail::Started::Impl>();
    started->cluster = impl_->cluster;
    started->on_output = options.on_output;
    const auto encoded = rh::encode_arguments(positional, named);
    if (!encoded) {
        started->result = encoded.error();
        return detail::Started(std::move(started));
    }
    const std::vector<rh::ByteView> parts = encoded->parts();
    rh::client::Request request{impl_->name, method, encoded->encoding, parts};
    if (options.timeout) request.deadline_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(options.timeout->count(), 1));
    request.kill = options.kill;
    if (stream) request.prefetch = options.prefetch.value_or(rh::limits::k_prefetch_default);
    started->asks = request.prefetch == std::optional<std::uint32_t>(0);
    std::vector<std::string_view> parents;
    if (const auto& state = current_state()) parents.assign(state->parents.begin(), state->parents.end());
    if (parents.size() > rh::limits::k_parents_max) parents.resize(rh::limits::k_parents_max);
    request.parents = parents;
    auto call = impl_->cluster->client->start(request, nullptr);
    if (call) {
        started->call = std::move(*call);
    } else {
        started->result = rh::public_error(call.error());
    }
    return detail::Started(std::move(started));
}

Result<Service> Service::create_values(const std::string& instance_name, const List& positional, const Map& named) const {
    const auto encoded = rh::encode_arguments(positional, named);
    if (!encoded) return encoded.error();
    const Json request{{"class", impl_->name}, {"name", instance_name.empty() ? Json() : Json(instance_name)}, {"encoding", static_cast<int>(encoded->encoding)}};
    return service_of(impl_->cluster, impl_->cluster->control("create", request, &*encoded));
}

}  // namespace roundhouse
