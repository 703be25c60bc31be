// Clients that come back for their calls on another connection, to the same daemon or to one that takes a dead one's place
// (router.h; protocol/wire.md, Resuming). The workers have the calls and what was sent of them; here is only which stream is which.

#include <algorithm>
#include <fmt/format.h>

#include "base/deadline.h"
#include "base/limits.h"
#include "daemon/router.h"
#include "wire/convert.h"

namespace rh::daemon {

using Clock = Deadlines::Clock;

namespace {

// A client says little before it knows where its call is: one cancel, and room for what it had taken.
constexpr std::size_t k_behind_max = 8;

}  // namespace

bool Router::detach(Caller& client) {
    drop_resuming(&client, nullptr);
    for (auto at = client.targets.begin(); at != client.targets.end();) {
        const auto [worker, stream] = at->second;
        Route* const route = route_of(*worker, stream);
        // What the node does for it, it does not come back for; and a call that is not whole yet will never be.
        const bool stays = route != nullptr && route->reply == nullptr && (route->call_bytes_left == 0 || (route->sends_items && !route->parked));
        if (!stays) {
            at = client.targets.erase(at);
            if (route != nullptr) give_up(*worker, stream, *route);
            continue;
        }
        route->resuming = false;
        // Nor an item that was on its way into one.
        if (std::exchange(route->call_bytes_left, 0) != 0) tell_worker(*worker, stream, wire::ABORT);
        ++at;
    }
    client.detach();
    return !client.targets.empty() || client.has_answers();
}

void Router::reattach(Caller& client) {
    for (const auto& [client_stream, target] : client.targets) {
        Route* const route = route_of(*target.worker, target.stream);
        if (route != nullptr && !route->parked) route->resuming = true;
    }
}

void Router::resume(Caller& client, rpc::Message& message) {
    const std::uint64_t client_stream = message.stream();
    if (client_stream == 0) return end_resume(client);
    resumed_[&client].insert(client_stream);
    if (const Outcome* const told = client.answer_to(client_stream)) return client.answer(client_stream, Outcome::failed(told->error));
    Resuming asking;
    asking.client = &client;
    asking.stream = client_stream;
    asking.gone = client.has_forgotten(client_stream);
    asking.offsets[0] = message.stdout_offset();
    asking.offsets[1] = message.stderr_offset();
    asking.followed_pending = message.followed_pending();
    const auto target = client.targets.find(client_stream);
    if (target != client.targets.end()) {
        Route* const route = route_of(*target->second.worker, target->second.stream);
        if (route != nullptr && route->parked) return;  // it waits for its worker as before
        asking.asked.push_back(target->second.worker);
    } else {
        for (const auto& worker : workers_()) {
            if (worker->connection != nullptr) asking.asked.push_back(worker.get());
            // It has not come back yet, and may have the call.
            asking.late = asking.late || worker->announces;
        }
    }
    const std::uint64_t number = next_resume_++;
    message.set_number(number);
    message.set_session(client.session);
    std::erase_if(asking.asked, [](const Worker* worker) { return worker->connection == nullptr; });
    for (Worker* const worker : asking.asked) worker->connection->link().send(message);
    if (asking.asked.empty()) return end_resuming(std::move(asking));
    resuming_.emplace(number, std::move(asking));
}

// A cancel, or room that was made, of a call that nobody has said yet where it is.
void Router::keep_behind(const Caller& client, const rpc::Message& message) {
    if (message.kind() != wire::CANCEL && message.kind() != wire::CREDIT) return;
    for (auto& [number, asking] : resuming_) {
        if (asking.client == &client && asking.stream == message.stream() && asking.behind.size() < k_behind_max) asking.behind.push_back(message);
    }
}

void Router::on_resumed(Worker& worker, const rpc::Message& message) {
    const auto found = resuming_.find(message.number());
    if (found == resuming_.end()) return;
    Resuming& asking = found->second;
    std::erase(asking.asked, &worker);
    if (message.stream() == 0) {
        asking.gone = asking.gone || message.gone();
        if (!asking.asked.empty()) return;
        const Resuming asked = std::move(asking);
        resuming_.erase(found);
        return end_resuming(asked);
    }
    Resuming asked = std::move(asking);
    resuming_.erase(found);
    const std::uint64_t stream = message.stream();
    const auto [place, is_new] = worker.routes.try_emplace(stream);
    Route& route = place->second;
    if (route.restored) {
        deadlines_.clear(worker, stream, route);
        if (route.deadline != Clock::time_point()) deadlines_.set(worker, stream, route, route.deadline);
    }
    route.client = asked.client;
    route.client_stream = asked.stream;
    route.resuming = route.restored = false;
    // It is said from its beginning.
    route.result_begun = false;
    route.result_bytes_left = 0;
    route.followed_bytes = asked.followed_pending;
    asked.client->targets[asked.stream] = {&worker, stream};
    follower_->rewind(worker, Channel::out, asked.offsets[0]);
    follower_->rewind(worker, Channel::err, asked.offsets[1]);
    follower_->resume(worker);
    for (rpc::Message& said : asked.behind) from_client(*asked.client, said, {});
}

// Nobody has it, or will say so.
void Router::end_resuming(Resuming asked) {
    const auto target = asked.client->targets.find(asked.stream);
    if (target != asked.client->targets.end()) close(*target->second.worker, target->second.stream);
    const bool may_have_died = last_death_ != Clock::time_point() && Clock::now() - last_death_ < 2 * limits::k_resume_grace;
    if (asked.gone || asked.late || may_have_died) {
        const std::string_view why = asked.gone ? "its worker no longer has its result" : asked.late ? "a worker has not come back" : "a worker has ended meanwhile";
        return asked.client->answer(asked.stream, Outcome::failed(Error(Code::node_lost, fmt::format("the connection to the node was lost, and what became of the call is not known: {}", why))
                                                                      .with("started", "unknown")));
    }
    // Every worker was asked: it never began, and may be sent again.
    asked.client->answer(asked.stream, Outcome::failed(Error(Code::node_lost, "the connection to the node was lost before the call had reached its worker").with("started", "no").with("never_began", "True")));
}

// The client has named all that it waits for. Nobody waits for its other calls.
void Router::end_resume(Caller& client) {
    const std::set<std::uint64_t> named = std::exchange(resumed_[&client], {});
    resumed_.erase(&client);
    std::vector<Caller::Target> unwanted;
    for (const auto& [client_stream, target] : client.targets) {
        if (named.count(client_stream) == 0) unwanted.push_back(target);
    }
    for (const Caller::Target& target : unwanted) {
        Route* const route = route_of(*target.worker, target.stream);
        if (route == nullptr || route->reply != nullptr) continue;
        client.targets.erase(route->client_stream);
        give_up(*target.worker, target.stream, *route);
    }
}

void Router::drop_resuming(const Caller* client, const Worker* worker) {
    std::vector<Resuming> ended;
    for (auto at = resuming_.begin(); at != resuming_.end();) {
        Resuming& asking = at->second;
        if (asking.client == client) {
            at = resuming_.erase(at);
            continue;
        }
        if (worker != nullptr && std::erase(asking.asked, worker) != 0) {
            asking.gone = true;
            if (asking.asked.empty()) {
                ended.push_back(std::move(asking));
                at = resuming_.erase(at);
                continue;
            }
        }
        ++at;
    }
    if (client != nullptr) resumed_.erase(client);
    for (Resuming& asking : ended) {
        // Where it has a route, whoever ends that tells its client why.
        if (asking.client->targets.count(asking.stream) == 0) end_resuming(std::move(asking));
    }
}

void Router::restore(Worker& worker, const rpc::Message& running) {
    const std::uint64_t stream = running.stream();
    if (stream == 0) {
        worker.next_stream = std::max(worker.next_stream, running.number() + 1);
        if (std::exchange(worker.announces, false)) on_announced_(worker);
        return;
    }
    if (!worker.announces || worker.routes.size() >= limits::k_calls_per_worker_max || worker.routes.count(stream) != 0) return;
    Route& route = worker.routes[stream];
    worker.next_stream = std::max(worker.next_stream, stream + 1);
    // Whoever made it inside the daemon before this one went with that; nobody else needs wait for it.
    if (running.session().empty()) return cancel(worker, stream, route);
    if (const auto service = services_.get_called(running.service())) {
        route.service = *service;
        ++route.service->calls;
    }
    Clock::time_point due = Clock::now() + limits::k_resume_grace;
    if (running.deadline_ms() != 0) {
        route.deadline = due_in(running.deadline_ms());
        due = std::min(due, route.deadline);
    }
    route.restored = true;
    deadlines_.set(worker, stream, route, due);
}

}  // namespace rh::daemon
