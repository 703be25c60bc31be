#include "daemon/router.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "wire/convert.h"

namespace rh::daemon {

namespace {

constexpr std::string_view k_node_service = "_node";
constexpr std::string_view k_worker_service = "_worker";

void remember_errors(Worker& worker, std::string_view text) {
    worker.recent_errors += text;
    // Cut seldom, so that a worker that prints a lot is not slowed by it.
    constexpr std::size_t k_kept = limits::k_stderr_tail_bytes / 4;
    if (worker.recent_errors.size() > 2 * k_kept) worker.recent_errors.erase(0, worker.recent_errors.size() - k_kept);
}

}  // namespace

// --- from clients --------------------------------------------------------------------------------------------------

bool Router::from_client(Connection& client, rpc::Message& message, ByteView body) {
    if (message.kind() == wire::CALL) {
        if (message.service() == k_node_service) return false;
        open(client, message, body);
        return true;
    }
    if (message.stream() == 0) return false;
    const auto target = client.targets.find(message.stream());
    if (target == client.targets.end()) return false;
    Worker& worker = *target->second.worker;
    const auto found = worker.routes.find(target->second.stream);
    if (found == worker.routes.end() || worker.connection == nullptr) return true;
    Route& route = found->second;
    switch (message.kind()) {
        case wire::CHUNK:
            if (body.size() > route.call_bytes_left) {
                fail_route(worker, found->first, Error(Code::protocol, "the call's body is longer than it announced"));
                return true;
            }
            route.call_bytes_left -= body.size();
            break;
        case wire::ABORT:
            // The worker never sees a call that is not whole, so its end is told from here.
            if (route.call_bytes_left == 0) return true;
            message.set_stream(target->second.stream);
            worker.connection->link().send(message);
            fail_route(worker, found->first, Error(Code::cancelled, "the call was cancelled before all of it was sent").with("started", "no"));
            return true;
        case wire::CREDIT:
            if (message.channel() != wire::BODY && route.followed_bytes > 0) {
                // Part of this was for text that never came from the worker's side of the connection.
                const std::uint64_t own = std::min<std::uint64_t>(route.followed_bytes, message.number());
                route.followed_bytes -= own;
                message.set_number(message.number() - own);
                follower_->resume(worker);
            }
            break;
        case wire::CANCEL:
        case wire::PING: break;
        default: return true;
    }
    message.set_stream(target->second.stream);
    worker.connection->link().send(message, body);
    return true;
}

void Router::open(Connection& client, rpc::Message& message, ByteView body) {
    if (message.service() == k_worker_service)
        return refuse(client, message, Error(Code::not_allowed, "the service \"_worker\" is the node's own; deploy through \"_node\""));
    Result<std::shared_ptr<Service>> found = services_.get(message.service());
    if (!found) return refuse(client, message, std::move(found.error()));
    Service& service = **found;
    if (service.dead) {
        Error error = *service.dead;
        error.message = fmt::format("the service \"{}\" is gone: {}; deploy it again", service.name, error.message);
        return refuse(client, message, std::move(error).with("started", "no"));
    }
    Worker& worker = *service.worker;
    if (worker.connection == nullptr)
        return refuse(client, message, Error(Code::worker_died, fmt::format("the worker of \"{}\" is going away; deploy it again", service.name)).with("started", "no"));
    const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
    if (!whole || body.size() > *whole) return refuse(client, message, whole ? Error(Code::protocol, "a call brings more body than it announces") : whole.error());
    if (worker.routes.size() >= limits::k_calls_per_worker_max || client.targets.size() >= limits::k_calls_per_connection_max)
        return refuse(client, message, Error(Code::limit_exceeded, fmt::format("\"{}\" has {} calls in flight, the most that are allowed: wait for some of them",
                                                                               service.name, worker.routes.size())).with("started", "no"));
    if (client.targets.count(message.stream()) != 0) return refuse(client, message, Error(Code::protocol, "that stream is open already"));
    const std::uint64_t stream = worker.next_stream++;
    Route& route = worker.routes[stream];
    route.client = &client;
    route.client_stream = message.stream();
    route.service = *found;
    route.call_bytes_left = *whole - body.size();
    client.targets[message.stream()] = {&worker, stream};
    ++service.calls;
    ++calls_total_;
    message.set_stream(stream);
    message.set_principal(client.principal());
    worker.connection->link().send(message, body);
}

void Router::refuse(Connection& client, const rpc::Message& message, Error error) { client.answer(message.stream(), Outcome::failed(std::move(error))); }

void Router::drop_client(Connection& client) {
    for (const auto& [client_stream, target] : client.targets) {
        Worker& worker = *target.worker;
        const auto found = worker.routes.find(target.stream);
        if (found == worker.routes.end()) continue;
        Route& route = found->second;
        route.client = nullptr;
        if (worker.connection == nullptr) continue;
        rpc::Message message;
        message.set_stream(target.stream);
        if (std::exchange(route.call_bytes_left, 0) != 0) {
            // The call will never be whole, so the worker never sees it: it is over.
            message.set_kind(wire::ABORT);
            worker.connection->link().send(message);
            if (route.reply == nullptr) close(worker, target.stream);
            continue;
        }
        message.set_kind(wire::CANCEL);
        worker.connection->link().send(message);
    }
    client.targets.clear();
}

// --- from workers --------------------------------------------------------------------------------------------------

bool Router::from_worker(Connection& connection, rpc::Message& message, ByteView body) {
    if (message.stream() == 0) return false;
    Worker& worker = *connection.worker;
    const auto found = worker.routes.find(message.stream());
    if (found == worker.routes.end()) return message.kind() != wire::RESULT;
    Route& route = found->second;
    const std::uint64_t stream = message.stream();
    const bool own = route.reply != nullptr;
    switch (message.kind()) {
        case wire::RESULT: {
            if (own) return false;
            const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
            if (!whole || body.size() > *whole) {
                fail_route(worker, stream, Error(Code::protocol, "the worker's result does not fit what it announces"));
                return true;
            }
            route.result_begun = true;
            route.result_bytes_left = *whole - body.size();
            break;
        }
        case wire::CHUNK:
            if (own) return false;
            if (body.size() > route.result_bytes_left) {
                fail_route(worker, stream, Error(Code::protocol, "the worker's result is longer than it announced"));
                return true;
            }
            route.result_bytes_left -= body.size();
            break;
        case wire::ABORT:
            if (own) return false;
            route.result_bytes_left = 0;
            break;
        case wire::OUTPUT:
            route.has_printed = true;
            if (message.channel() == wire::STDERR) remember_errors(worker, as_text(body));
            break;
        case wire::CREDIT:
            // Room for a body that this daemon itself sends.
            if (own) return false;
            break;
        case wire::PONG: break;
        default: return true;
    }
    if (route.client != nullptr) {
        message.set_stream(route.client_stream);
        route.client->link().send(message, body);
    }
    const bool over = (message.kind() == wire::RESULT || message.kind() == wire::CHUNK || message.kind() == wire::ABORT) && route.result_bytes_left == 0;
    if (over && (message.kind() != wire::ABORT || route.result_begun)) close(worker, stream);
    return true;
}

std::size_t Router::deliver(Worker& worker, Channel channel, std::string_view text) {
    if (worker.routes.size() != 1) return text.size();
    Route& route = worker.routes.begin()->second;
    if (route.client == nullptr) return text.size();
    if (route.followed_bytes + text.size() > limits::k_output_window_bytes) return 0;
    route.followed_bytes += text.size();
    route.has_printed = true;
    rpc::Message message;
    message.set_kind(wire::OUTPUT);
    message.set_stream(route.client_stream);
    message.set_channel(static_cast<wire::Channel>(channel));
    route.client->link().send(message, as_byte_view(text));
    return text.size();
}

void Router::on_own_result(Worker& worker, std::uint64_t stream, Outcome outcome) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end() || found->second.reply == nullptr) return;
    const std::shared_ptr<Reply> reply = found->second.reply;
    close(worker, stream);
    reply->outcome = std::move(outcome);
    reply->arrived.set();
}

net::asio::awaitable<Outcome> Router::call(std::shared_ptr<Worker> worker, std::string method, Body body, Connection* client, std::uint64_t client_stream) {
    if (worker->connection == nullptr) co_return Outcome::failed(worker->end.value_or(Error(Code::worker_died, "the worker is not connected")));
    const std::uint64_t stream = worker->next_stream++;
    const auto reply = std::make_shared<Reply>(executor_);
    Route& route = worker->routes[stream];
    route.reply = reply;
    route.client = client;
    route.client_stream = client_stream;
    if (client != nullptr) client->targets[client_stream] = {worker.get(), stream};
    rpc::Message message;
    message.set_kind(wire::CALL);
    message.set_stream(stream);
    message.set_service(std::string(k_worker_service));
    message.set_method(method);
    worker->connection->link().send_whole(message, std::move(body));
    co_await reply->arrived.wait();
    co_return std::move(reply->outcome);
}

void Router::close(Worker& worker, std::uint64_t stream) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return;
    Route& route = found->second;
    if (route.client != nullptr) route.client->targets.erase(route.client_stream);
    if (route.service != nullptr) --route.service->calls;
    worker.routes.erase(found);
    if (worker.retired && worker.routes.empty()) on_idle_(worker);
}

void Router::fail_route(Worker& worker, std::uint64_t stream, Error error) {
    const auto found = worker.routes.find(stream);
    if (found == worker.routes.end()) return;
    Route& route = found->second;
    if (route.reply != nullptr) return on_own_result(worker, stream, Outcome::failed(std::move(error)));
    if (route.client != nullptr && route.result_begun) {
        rpc::Message abort;
        abort.set_kind(wire::ABORT);
        abort.set_stream(route.client_stream);
        wire::set_error(abort, error);
        route.client->link().send(abort);
    } else if (route.client != nullptr) {
        route.client->answer(route.client_stream, Outcome::failed(std::move(error)));
    }
    close(worker, stream);
}

void Router::drop_worker(Worker& worker, const Error& why) {
    follower_->catch_up();
    while (!worker.routes.empty()) {
        const auto first = worker.routes.begin();
        Error error = why;
        if (first->second.service != nullptr) {
            error.message = fmt::format("\"{}\": {}", first->second.service->name, error.message);
            error.context.emplace_back("service", first->second.service->name);
        }
        // What printed had begun; of the others only the worker knew.
        error.context.emplace_back("started", first->second.has_printed || first->second.result_begun ? "yes" : "unknown");
        fail_route(worker, first->first, std::move(error));
    }
}

}  // namespace rh::daemon
