// How calls end when they do not end by themselves (router.h): deadlines, cancels, and peers that are gone.

#include <algorithm>
#include <fmt/format.h>

#include "base/deadline.h"
#include "base/limits.h"
#include "daemon/router.h"
#include "shm/begun.h"
#include "wire/convert.h"

namespace rh::daemon {

using Clock = Deadlines::Clock;

namespace {

bool has_surely_begun(const Route& route) { return route.has_begun || route.result_begun; }

// Of a call whose worker is gone and left these marks.
std::string_view had_started(const Route& route, shm::Begun marked) {
    if (has_surely_begun(route)) return "yes";
    // The worker was not told of it, or not of all of it.
    if (route.parked || (route.call_bytes_left != 0 && !route.sends_items)) return "no";
    return marked == shm::Begun::yes ? "yes" : marked == shm::Begun::no ? "no" : "unknown";
}

}  // namespace

void Router::tell_worker(Worker& worker, std::uint64_t stream, wire::Kind kind, bool kill) {
    if (worker.connection == nullptr) return;
    rpc::Message message;
    message.set_kind(kind);
    message.set_stream(stream);
    message.set_kill(kill);
    worker.connection->link().send(message);
}

void Router::close(Worker& worker, std::uint64_t stream) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return;
    Route& route = found->second;
    if (route.siblings != nullptr) {
        auto& others = route.siblings->routes;
        std::erase(others, std::pair(&worker, stream));
        // Those that go on are what the client's stream leads to.
        if (route.client != nullptr && !others.empty()) route.client->targets[route.client_stream] = {others.front().first, others.front().second};
    }
    const bool others_go_on = route.siblings != nullptr && !route.siblings->routes.empty();
    if (route.client != nullptr && !others_go_on) route.client->targets.erase(route.client_stream);
    if (route.service != nullptr) --route.service->calls;
    deadlines_.clear(worker, stream, route);
    if (route.parked && worker.parking != nullptr) {
        --worker.parking->calls;
        worker.parking->bytes.erase(stream);
        std::erase_if(worker.parking->messages, [&](const Parking::Parked& parked) { return parked.message.stream() == stream; });
    }
    worker.routes.erase(found);
    if (worker.retired && is_idle(worker)) on_idle_(worker);
}

// Whether somebody waits for its end, or it was given a while to end by itself.
bool Router::matters(const Route& route) {
    return route.client != nullptr || (route.reply != nullptr && !route.reply->released) || route.due != Clock::time_point();
}

bool Router::is_idle(const Worker& worker) {
    return std::none_of(worker.routes.begin(), worker.routes.end(), [](const auto& entry) { return matters(entry.second); });
}

void Router::answer(Route& route, Error error) {
    Caller* const client = std::exchange(route.client, nullptr);
    if (client == nullptr) return;
    client->targets.erase(route.client_stream);
    if (route.siblings != nullptr) {
        for (const auto& [worker, stream] : route.siblings->routes) {
            if (Route* const sibling = route_of(*worker, stream)) sibling->client = nullptr;
        }
    }
    if (route.reply != nullptr) {
        if (client->asking.erase(route.client_stream) != 0) client->answer(route.client_stream, Outcome::failed(std::move(error)));
    } else if (route.result_begun || route.result_bytes_left != 0) {
        // A body is on its way, of the result or of an item: its stream ends with the body.
        rpc::Message abort;
        abort.set_kind(wire::ABORT);
        abort.set_stream(route.client_stream);
        wire::set_error(abort, error);
        client->send(abort);
    } else {
        client->answer(route.client_stream, Outcome::failed(std::move(error)));
    }
}

void Router::fail_route(Worker& worker, std::uint64_t stream, Error error) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return;
    if (found->second.reply != nullptr) return on_own_result(worker, stream, Outcome::failed(std::move(error)));
    answer(found->second, std::move(error));
    close(worker, stream);
}

// --- deadlines and cancels ------------------------------------------------------------------------------------------

void Router::set_deadline(Worker& worker, std::uint64_t stream, Route& route, std::uint64_t deadline_ms) {
    deadlines_.set(worker, stream, route, due_in(deadline_ms));
}

void Router::on_due(Worker& worker, std::uint64_t stream) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return;
    Route& route = found->second;
    if (!route.cancelled) {
        if (route.result_begun) return;  // it ended in time: what is left is its result's way
        // A restored one is due when its client has not come back in time.
        route.expired = !route.restored || route.deadline != Clock::time_point();
        route.restored = false;
        return cancel(worker, stream, route);
    }
    // It was asked to stop, and the grace is over.
    if (!route.result_begun && (route.kill || is_alone(worker, route))) return kill(worker, stream, route);
    release(worker, stream, route);
}

void Router::cancel(Worker& worker, std::uint64_t stream, Route& route) {
    if (route.parked) return fail_route(worker, stream, why_over(route, false).with("started", "no"));
    if (route.call_bytes_left != 0 && !route.sends_items) {
        // The worker never sees a call that is not whole.
        tell_worker(worker, stream, wire::ABORT);
        return fail_route(worker, stream, why_over(route, false).with("started", "no"));
    }
    tell_worker(worker, stream, wire::CANCEL, route.kill);
    if (std::exchange(route.cancelled, true)) return;
    deadlines_.set(worker, stream, route, Clock::now() + limits::k_cancel_grace);
}

// Where nobody else would suffer: nobody waits for another call in the worker, and nothing lives there that would not be
// made again.
bool Router::is_alone(const Worker& worker, const Route& route) const {
    if (!worker.process.empty()) return false;
    if (std::any_of(worker.routes.begin(), worker.routes.end(), [&](const auto& entry) { return &entry.second != &route && matters(entry.second); })) return false;
    const auto all = services_.all();
    return std::none_of(all.begin(), all.end(), [&](const std::shared_ptr<Service>& service) {
        return !service->dead && service->lives_in(worker) && (service != route.service || service->kind != Service::Kind::function);
    });
}

void Router::note_begun(Worker& worker) {
    worker.next_look = worker.next_stream + shm::BegunMarks::k_slots / 2;
    if (worker.routes.empty()) return;
    const shm::BegunCopy marks = shm::BegunCopy::read(worker.begun_path);
    for (auto& [stream, route] : worker.routes) route.has_begun = route.has_begun || marks.of(stream) == shm::Begun::yes;
}

void Router::release(Worker& worker, std::uint64_t stream, Route& route) {
    if (route.reply != nullptr) route.reply->released = true;
    const bool running = !route.result_begun;
    // One that has not begun yet may still do so, before the worker gets to its cancel.
    const bool begun = has_surely_begun(route) || shm::BegunCopy::read(worker.begun_path).of(stream) == shm::Begun::yes;
    answer(route, why_over(route, running).with("started", begun ? "yes" : "unknown"));
    if (worker.retired && is_idle(worker)) on_idle_(worker);
}

void Router::kill(Worker& worker, std::uint64_t stream, Route& route) {
    if (worker.stopping || worker.killed_for != 0) return;
    worker.killed_for = stream;
    const std::string whose = route.service != nullptr ? fmt::format("a call of \"{}\"", route.service->name) : std::string("a call of the node's own");
    const std::string_view what = route.expired ? "passed its deadline" : route.client != nullptr ? "was cancelled" : "lost its caller";
    worker.killed_because = fmt::format("{} {} and had not ended {} s later", whose, what, std::chrono::duration<double>(limits::k_cancel_grace).count());
    on_kill_(worker);
}

Error Router::why_over(const Route& route, bool still_running) {
    const std::string whose = route.service != nullptr ? fmt::format("the call of \"{}\"", route.service->name) : std::string("the call");
    const std::string_view what = route.expired ? "did not end within its timeout and was cancelled" : "was cancelled";
    const std::string_view how = still_running ? ", but could not be stopped: it still runs there, and its result will be thrown away" : "";
    return Error(route.expired ? Code::timeout : Code::cancelled, fmt::format("{} {}{}", whose, what, how)).with("still_running", still_running ? "True" : "False");
}

// --- peers that are gone --------------------------------------------------------------------------------------------

// Nobody waits for it any more, nor for those that go with it.
void Router::give_up(Worker& worker, std::uint64_t stream, Route& route) {
    if (route.siblings != nullptr) {
        for (const auto& [each, its_stream] : with_siblings(worker, stream, route)) {
            Route* const sibling = route_of(*each, its_stream);
            if (sibling == nullptr) continue;
            sibling->client = nullptr;
            cancel(*each, its_stream, *sibling);
        }
        return;
    }
    route.client = nullptr;
    if (std::exchange(route.call_bytes_left, 0) != 0) {
        tell_worker(worker, stream, wire::ABORT);
        // The call will never be whole, so the worker never sees it: it is over.
        if (!route.sends_items) return close(worker, stream);
    }
    cancel(worker, stream, route);
}

void Router::drop_client(Caller& client) {
    drop_resuming(&client, nullptr);
    for (const auto& [client_stream, target] : std::exchange(client.targets, {})) {
        if (Route* const route = route_of(*target.worker, target.stream)) give_up(*target.worker, target.stream, *route);
    }
}

void Router::fail_parked(Worker& worker, const Error& why) {
    std::vector<std::uint64_t> streams;
    for (const auto& [stream, route] : worker.routes) {
        if (route.parked) streams.push_back(stream);
    }
    for (const std::uint64_t stream : streams) {
        const auto found = worker.routes.find(stream);
        if (found == worker.routes.end()) continue;
        Error error = why;
        error.message = fmt::format("\"{}\": {}", found->second.service->name, error.message);
        fail_route(worker, stream, std::move(error).with("started", "no"));
    }
    worker.parking = nullptr;
}

void Router::drop_worker(Worker& worker, const Error& why) {
    note_death();
    drop_resuming(nullptr, &worker);
    follower_->catch_up();
    const shm::BegunCopy marks = worker.routes.empty() ? shm::BegunCopy() : shm::BegunCopy::read(worker.begun_path);
    while (!worker.routes.empty()) {
        const auto first = worker.routes.begin();
        const Route& route = first->second;
        const std::string_view started = had_started(route, marks.of(first->first));
        if (first->first == worker.killed_for) {
            fail_route(worker, first->first, why_over(route, false).with("started", std::string(started)));
            continue;
        }
        Error error = why;
        if (!worker.killed_because.empty()) error.message += ": the node ended it, because " + worker.killed_because;
        if (route.service != nullptr) {
            error.message = fmt::format("\"{}\": {}", route.service->name, error.message);
            error.context.emplace_back("service", route.service->name);
        }
        error.context.emplace_back("started", started);
        fail_route(worker, first->first, std::move(error));
    }
}

}  // namespace rh::daemon
