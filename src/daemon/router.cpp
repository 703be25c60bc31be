#include "daemon/router.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/deadline.h"
#include "base/limits.h"
#include "wire/convert.h"

namespace rh::daemon {

namespace {

constexpr std::string_view k_node_service = "_node";
constexpr std::string_view k_worker_service = "_worker";
// What a well-behaved client can send before anything is granted to it.
constexpr std::size_t k_parked_bytes_max = limits::k_body_window_bytes + limits::k_items_window_bytes;
constexpr std::size_t k_parked_message_bytes = 256;  // that each counts at least, so that empty ones are bounded as well

// Whether whoever it is may make that call.
Result<void> may_send(const Principal& principal, const rpc::Message& message) {
    RH_TRY_VOID(principal.may_call(message.service()));
    if (message.encoding() == wire::PICKLE) RH_TRY_VOID(principal.may_pickle());
    if (message.kill()) RH_TRY_VOID(principal.may(Scope::deploy, "to end a worker with its call"));
    return {};
}

}  // namespace

// --- from clients --------------------------------------------------------------------------------------------------

bool Router::from_client(Caller& client, rpc::Message& message, ByteView body) {
    if (message.kind() == wire::CALL) {
        if (message.acknowledged() != 0) client.acknowledge(message.acknowledged());
        if (message.service() == k_node_service) return false;
        open(client, message, body);
        return true;
    }
    if (message.kind() == wire::RESUME) {
        resume(client, message);
        return true;
    }
    if (message.kind() == wire::TAKEN) {
        message.set_session(client.session);
        message.set_stream(0);
        for (const auto& worker : workers_()) {
            if (worker->connection != nullptr) worker->connection->link().send(message);
        }
        return true;
    }
    if (message.stream() == 0) return false;
    const auto target = client.targets.find(message.stream());
    if (target == client.targets.end()) {
        if (!resuming_.empty()) keep_behind(client, message);
        return false;
    }
    Worker& worker = *target->second.worker;
    const std::uint64_t stream = target->second.stream;
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return true;
    if (note_from_client(worker, stream, found->second, message, body)) pass(worker, stream, found->second, message, body);
    return true;
}

bool Router::note_from_client(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body) {
    // The body of a call to the node itself was whole before there was a route for it.
    const bool own = route.reply != nullptr;
    switch (message.kind()) {
        case wire::CHUNK:
            if (own) return false;
            if (body.size() > route.call_bytes_left) {
                break_off(worker, stream, route, Error(Code::protocol, "a body of the call is longer than it announced"));
                return false;
            }
            route.call_bytes_left -= body.size();
            return true;
        case wire::ITEM: {
            if (own) return false;
            if (message.encoding() == wire::PICKLE && !route.client->principal().may_run_code()) {
                break_off(worker, stream, route, route.client->principal().may_pickle().error());
                return false;
            }
            const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
            if (!whole || body.size() > *whole || route.call_bytes_left != 0) {
                break_off(worker, stream, route, whole ? Error(Code::protocol, "an item does not fit what it announces, or what came before it") : whole.error());
                return false;
            }
            route.sends_items = true;
            route.call_bytes_left = *whole - body.size();
            return true;
        }
        case wire::ABORT:
            if (route.call_bytes_left == 0) return false;
            if (route.sends_items) {
                route.call_bytes_left = 0;
                return true;
            }
            // The worker never sees a call that is not whole, so its end is told from here.
            tell_worker(worker, stream, wire::ABORT);
            fail_route(worker, stream, Error(Code::cancelled, "the call was cancelled before all of it was sent").with("started", "no"));
            return false;
        case wire::CREDIT:
            if (message.channel() == wire::BODY || message.channel() == wire::ITEMS) return !own;
            if (route.siblings != nullptr) {
                share_credit(*route.siblings, message.number());
                return false;
            }
            if (route.followed_bytes > 0) {
                // Part of this was for text that never came from the worker's side of the connection.
                const std::uint64_t taken = std::min<std::uint64_t>(route.followed_bytes, message.number());
                route.followed_bytes -= taken;
                message.set_number(message.number() - taken);
                follower_->resume(worker);
            }
            return true;
        case wire::CANCEL: {
            if (message.source() != 0) return false;
            const bool kill = message.kill() && route.client->principal().may_run_code();
            for (const auto& [each, its_stream] : with_siblings(worker, stream, route)) {
                Route* const found = route_of(*each, its_stream);
                if (found == nullptr) continue;
                found->kill = found->kill || kill;
                cancel(*each, its_stream, *found);
            }
            return false;
        }
        case wire::PING: return true;
        default: return false;
    }
}

void Router::open(Caller& client, rpc::Message& message, ByteView body) {
    if (message.service() == k_worker_service)
        return refuse(client, message, Error(Code::not_allowed, "the service \"_worker\" is the node's own; deploy through \"_node\""));
    if (const auto may = may_send(client.principal(), message); !may) return refuse(client, message, may.error());
    Result<std::shared_ptr<Service>> found = services_.get_called(message.service());
    if (!found) return refuse(client, message, std::move(found.error()));
    Service& service = **found;
    if (service.dead) {
        Error error = *service.dead;
        error.message = fmt::format("the service \"{}\" is gone: {}; deploy it again", service.name, error.message);
        return refuse(client, message, std::move(error).with("gone", "True"));
    }
    Worker* const chosen = service.workers.size() == 1 ? service.workers.front().get() : service.pick();
    if (chosen == nullptr || !chosen->takes_calls())
        return refuse(client, message, Error(Code::worker_died, fmt::format("the worker of \"{}\" is going away; deploy it again", service.name)).with("started", "no"));
    Worker& worker = *chosen;
    const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
    if (!whole || body.size() > *whole) return refuse(client, message, whole ? Error(Code::protocol, "a call brings more body than it announces") : whole.error());
    if (worker.routes.size() >= limits::k_calls_per_worker_max || client.targets.size() >= limits::k_calls_per_connection_max)
        return refuse(client, message, Error(Code::limit_exceeded, fmt::format("\"{}\" has {} calls in flight, the most that are allowed: wait for some of them",
                                                                               service.name, worker.routes.size())).with("started", "no"));
    if (worker.parking != nullptr && worker.parking->calls >= limits::k_parked_calls_max)
        return refuse(client, message, Error(Code::limit_exceeded, fmt::format("{} calls wait for a new worker of \"{}\", the most that may: its last one died, try again soon",
                                                                               worker.parking->calls, service.name)).with("started", "no"));
    if (client.targets.count(message.stream()) != 0) return refuse(client, message, Error(Code::protocol, "that stream is open already"));
    const std::uint64_t stream = worker.next_stream++;
    if (stream >= worker.next_look) note_begun(worker);
    Route& route = worker.routes[stream];
    route.client = &client;
    route.client_stream = message.stream();
    route.service = *found;
    route.call_bytes_left = *whole - body.size();
    route.kill = message.kill();
    client.targets[message.stream()] = {&worker, stream};
    ++service.calls;
    ++calls_total_;
    if (worker.parking != nullptr) {
        route.parked = true;
        ++worker.parking->calls;
    }
    if (worker.memory != nullptr) take_untold(worker, route);
    if (message.deadline_ms() != 0) set_deadline(worker, stream, route, message.deadline_ms());
    message.set_principal(client.principal().name);
    message.set_session(client.session);
    if (message.service() != service.name) message.set_service(service.name);  // it was renamed
    pass(worker, stream, route, message, body);
}

void Router::refuse(Caller& client, const rpc::Message& message, Error error) {
    if (error.fact("started").empty()) error.context.emplace_back("started", "no");
    client.answer(message.stream(), Outcome::failed(std::move(error)));
}

void Router::pass(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body) {
    message.set_stream(stream);
    if (route.parked) return keep(worker, stream, message, body);
    if (worker.connection != nullptr) worker.connection->link().send(message, body);
}

void Router::break_off(Worker& worker, std::uint64_t stream, Route& route, Error error) {
    const bool seen = route.call_bytes_left == 0 || route.sends_items;
    if (route.call_bytes_left != 0) tell_worker(worker, stream, wire::ABORT);
    route.call_bytes_left = 0;
    if (route.parked || !seen || worker.connection == nullptr) return fail_route(worker, stream, std::move(error));
    // It runs there: the route stays until the worker has ended it.
    answer(route, std::move(error));
    cancel(worker, stream, route);
}

// --- calls that wait for a worker -------------------------------------------------------------------------------------

void Router::park(Worker& worker) {
    if (worker.parking == nullptr) worker.parking = std::make_unique<Parking>();
}

void Router::keep(Worker& worker, std::uint64_t stream, const rpc::Message& message, ByteView body) {
    std::size_t& kept = worker.parking->bytes[stream];
    kept += body.size() + k_parked_message_bytes;
    if (kept > k_parked_bytes_max) {
        const auto found = worker.routes.find(stream);
        return break_off(worker, stream, found->second, Error(Code::protocol, "more came for the call than its windows allow"));
    }
    worker.parking->messages.push_back({message, Bytes(body)});
}

void Router::unpark(Worker& worker) {
    const std::unique_ptr<Parking> parking = std::move(worker.parking);
    if (parking == nullptr) return;
    for (auto& [stream, route] : worker.routes) route.parked = false;
    for (Parking::Parked& parked : parking->messages) {
        const auto found = worker.routes.find(parked.message.stream());
        if (found == worker.routes.end() || worker.connection == nullptr) continue;
        const Route& route = found->second;
        if (parked.message.kind() == wire::CALL) {
            // It may have been renamed meanwhile, and less of its time is left.
            parked.message.set_service(route.service->name);
            if (route.due != Deadlines::Clock::time_point()) parked.message.set_deadline_ms(left_ms(route.due));
        }
        worker.connection->link().send(parked.message, parked.body.view());
    }
}

void Router::hand_over(Worker& from, Worker& to) {
    const std::unique_ptr<Parking> parking = std::move(from.parking);
    if (parking == nullptr) return;
    park(to);
    std::unordered_map<std::uint64_t, std::uint64_t> streams;
    for (auto at = from.routes.begin(); at != from.routes.end();) {
        const auto next = std::next(at);
        if (at->second.parked) {
            const std::uint64_t stream = to.next_stream++;
            streams[at->first] = stream;
            Route& route = at->second;
            const auto due = route.due;
            deadlines_.clear(from, at->first, route);
            auto moved = from.routes.extract(at);
            moved.key() = stream;
            to.routes.insert(std::move(moved));
            if (due != Deadlines::Clock::time_point()) deadlines_.set(to, stream, route, due);
            if (route.client != nullptr) route.client->targets[route.client_stream] = {&to, stream};
            to.parking->bytes[stream] = parking->bytes[at->first];
        }
        at = next;
    }
    to.parking->calls += streams.size();
    for (Parking::Parked& parked : parking->messages) {
        const auto found = streams.find(parked.message.stream());
        if (found == streams.end()) continue;
        parked.message.set_stream(found->second);
        to.parking->messages.push_back(std::move(parked));
    }
}

// --- from workers --------------------------------------------------------------------------------------------------

bool Router::from_worker(Connection& connection, rpc::Message& message, ByteView body) {
    if (message.kind() == wire::RESUMED) {
        on_resumed(*connection.worker, message);
        return true;
    }
    if (message.kind() == wire::RUNNING) {
        restore(*connection.worker, message);
        return true;
    }
    if (message.stream() == 0) return false;
    Worker& worker = *connection.worker;
    const std::uint64_t stream = message.stream();
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return message.kind() != wire::RESULT;
    Route& route = found->second;
    // Bodies of the daemon's own calls, both ways, are its own business.
    if (route.reply != nullptr) {
        switch (message.kind()) {
            case wire::RESULT:
            case wire::CHUNK:
            case wire::ABORT: return false;
            case wire::CREDIT:
                if (message.channel() == wire::BODY) return false;
                return true;
            case wire::OUTPUT:
            case wire::PONG: break;
            default: return true;
        }
    }
    const wire::Kind kind = message.kind();
    if (!note_from_worker(worker, stream, route, message, body)) return true;
    // What comes before the worker has heard of the client's return will be said again.
    if (route.client != nullptr && !route.resuming) {
        message.set_stream(route.client_stream);
        route.client->send(message, body);
    }
    const bool ends = kind == wire::RESULT || kind == wire::CHUNK || kind == wire::ABORT;
    if (ends && route.result_begun && route.result_bytes_left == 0) finish(worker, stream, route);
    return true;
}

bool Router::note_from_worker(Worker& worker, std::uint64_t stream, Route& route, rpc::Message& message, ByteView body) {
    switch (message.kind()) {
        case wire::RESULT:
        case wire::ITEM: {
            const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
            if (!whole || body.size() > *whole || route.result_bytes_left != 0) {
                fail_route(worker, stream, Error(Code::protocol, "the worker's result or item does not fit what it announces, or what came before it"));
                return false;
            }
            route.result_bytes_left = *whole - body.size();
            if (message.kind() == wire::ITEM) {
                route.has_begun = true;
                return true;
            }
            if (worker.memory != nullptr) tell_of_memory(worker, route, message);
            route.result_begun = true;
            if (route.expired && route.client != nullptr) {
                // However the worker ended it: it was too late.
                const Error theirs = wire::error_of(message);
                const std::string started(theirs.fact("started"));
                route.result_begun = false;  // for the client
                answer(route, why_over(route, false).with("started", started.empty() ? "yes" : started));
                route.result_begun = true;
            }
            // A body that nobody takes would wait for credit for ever. Whoever may come back has it said again.
            if (route.client == nullptr && !route.restored && route.result_bytes_left != 0) tell_worker(worker, stream, wire::CANCEL);
            return true;
        }
        case wire::CHUNK:
            if (body.size() > route.result_bytes_left) {
                fail_route(worker, stream, Error(Code::protocol, "the worker's result or item is longer than it announced"));
                return false;
            }
            route.result_bytes_left -= body.size();
            return true;
        case wire::ABORT:
            route.result_bytes_left = 0;
            return true;
        case wire::OUTPUT:
            route.has_begun = true;
            if (route.siblings != nullptr) route.printed_bytes += body.size();
            if (message.channel() == wire::STDERR) worker.remember_errors(as_text(body));
            return true;
        case wire::CANCEL: return message.source() != 0;  // nobody takes that generator argument's items any more
        case wire::CREDIT:
        case wire::PONG: return true;
        default: return false;
    }
}

// The worker has said its last about the call.
void Router::finish(Worker& worker, std::uint64_t stream, Route& route) {
    // A call that ended is what a service's workers are to be replaced for.
    if (route.service != nullptr) route.service->deaths = 0;
    // What is sent into a generator may end in the middle of an item: its body is forgotten there.
    if (route.call_bytes_left != 0) tell_worker(worker, stream, wire::ABORT);
    close(worker, stream);
}

std::size_t Router::deliver(Worker& worker, Channel channel, std::string_view text, std::uint64_t offset) {
    if (worker.routes.size() != 1) return text.size();
    Route& route = worker.routes.begin()->second;
    // Whoever may come back finds it where it is.
    if (route.restored || route.resuming || (route.client != nullptr && route.client->is_detached())) return 0;
    if (route.client == nullptr || route.parked) return text.size();
    if (route.followed_bytes + text.size() > limits::k_output_window_bytes) return 0;
    route.followed_bytes += text.size();
    rpc::Message message;
    message.set_kind(wire::OUTPUT);
    message.set_stream(route.client_stream);
    message.set_channel(static_cast<wire::Channel>(channel));
    if (channel == Channel::err) {
        message.set_stderr_offset(offset + text.size());
    } else {
        message.set_stdout_offset(offset + text.size());
    }
    route.client->send(message, as_byte_view(text));
    return text.size();
}

// --- the daemon's own calls ----------------------------------------------------------------------------------------

void Router::on_own_result(Worker& worker, std::uint64_t stream, Outcome outcome) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end() || found->second.reply == nullptr) return;
    const std::shared_ptr<Reply> reply = found->second.reply;
    if (worker.memory != nullptr && outcome.kind == Outcome::Kind::raised) {
        watch_->before_result(worker, true);
        if (found->second.out_of_memory != nullptr)
            outcome = Outcome::failed(failed_for_memory(worker, found->second, outcome.raised.type, outcome.raised.message, outcome.raised.traceback));
    }
    close(worker, stream);
    reply->outcome = std::move(outcome);
    reply->arrived.set();
    if (reply->bell != nullptr) reply->bell->set();
}

Route* Router::route_of(Worker& worker, std::uint64_t stream) {
    const auto found = worker.routes.find(stream);
    return found == worker.routes.end() ? nullptr : &found->second;
}

std::vector<std::pair<Worker*, std::uint64_t>> Router::with_siblings(Worker& worker, std::uint64_t stream, const Route& route) {
    if (route.siblings != nullptr) return route.siblings->routes;
    return {{&worker, stream}};
}

void Router::share_credit(Siblings& siblings, std::uint64_t bytes) {
    for (const auto& [worker, stream] : siblings.routes) {
        Route* const route = route_of(*worker, stream);
        if (route == nullptr) continue;
        const std::uint64_t followed = std::min(route->followed_bytes, bytes);
        route->followed_bytes -= followed;
        bytes -= followed;
        if (followed > 0) follower_->resume(*worker);
        const std::uint64_t printed = std::min(route->printed_bytes, bytes);
        route->printed_bytes -= printed;
        bytes -= printed;
        if (printed == 0 || worker->connection == nullptr) continue;
        rpc::Message credit;
        credit.set_kind(wire::CREDIT);
        credit.set_stream(stream);
        credit.set_channel(wire::STDOUT);
        credit.set_number(printed);
        worker->connection->link().send(credit);
    }
}

std::shared_ptr<Reply> Router::begin(Worker& worker, std::string method, Body body, const Asker& asker) {
    const auto reply = std::make_shared<Reply>(executor_);
    if (worker.connection == nullptr) {
        reply->outcome = Outcome::failed(worker.end.value_or(Error(Code::worker_died, "the worker is not connected")));
        reply->arrived.set();
        return reply;
    }
    const std::uint64_t stream = worker.next_stream++;
    Route& route = worker.routes[stream];
    route.reply = reply;
    route.client = asker.get();
    route.client_stream = asker.stream;
    route.kill = asker.kill;
    if (route.client != nullptr) {
        const auto [target, is_first] = route.client->targets.try_emplace(asker.stream, Caller::Target{&worker, stream});
        if (Route* const first = is_first ? nullptr : route_of(*target->second.worker, target->second.stream)) {
            if (first->siblings == nullptr) {
                first->siblings = std::make_shared<Siblings>();
                first->siblings->routes.emplace_back(target->second.worker, target->second.stream);
            }
            route.siblings = first->siblings;
            route.siblings->routes.emplace_back(&worker, stream);
        }
    }
    if (asker.deadline_ms != 0) set_deadline(worker, stream, route, asker.deadline_ms);
    rpc::Message message;
    message.set_kind(wire::CALL);
    message.set_stream(stream);
    message.set_service(std::string(k_worker_service));
    message.set_method(method);
    message.set_deadline_ms(asker.deadline_ms);
    message.set_kill(asker.kill);
    for (const std::string& parent : asker.parents) message.add_parents(parent);
    worker.connection->link().send_whole(message, std::move(body));
    return reply;
}

net::asio::awaitable<Outcome> Router::call(std::shared_ptr<Worker> worker, std::string method, Body body, Asker asker) {
    const std::shared_ptr<Reply> reply = begin(*worker, std::move(method), std::move(body), asker);
    co_await reply->arrived.wait();
    if (reply->released && reply->outcome.kind == Outcome::Kind::returned)
        co_return Outcome::failed(Error(Code::cancelled, "it came too late for whoever asked").with("came_late", "True"));
    co_return std::move(reply->outcome);
}

}  // namespace rh::daemon
