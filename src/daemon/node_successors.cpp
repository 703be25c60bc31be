// Workers that take a dead one's place (node.h): for functions, whose code the node keeps. Calls wait for them meanwhile.

#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// Without a call that ended in between.
constexpr int k_deaths_max = 3;

}  // namespace

// The function that gets another worker when this one ends; null where something lived there that cannot be made again, or
// where nobody wants it any more.
std::shared_ptr<Service> Node::will_be_replaced(const Worker& worker) const {
    if (worker.stopping || worker.retired || !worker.process.empty() || worker.launch == nullptr) return nullptr;
    std::shared_ptr<Service> only;
    for (const auto& service : services_.all()) {
        if (!service->lives_in(worker)) continue;
        if (only != nullptr || service->kind != Service::Kind::function || service->dead || service->code == nullptr) return nullptr;
        only = service;
    }
    return only;
}

void Node::on_worker_lost(Worker& worker) {
    if (will_be_replaced(worker) != nullptr) router_.park(worker);
}

void Node::on_worker_end(Worker& worker) {
    resources_.give_back(worker.id);
    live_.erase_worker(worker.id);
    fork_servers_.forget(worker);
    if (const std::shared_ptr<Service> service = will_be_replaced(worker)) return replace(service, worker);
    for (const auto& service : services_.all()) {
        if (service->lives_in(worker)) give_up(*service, worker, *worker.end);
    }
}

void Node::replace(const std::shared_ptr<Service>& service, Worker& worker) {
    // One that was ended for the sake of a call has not failed by itself.
    if (worker.killed_for == 0) ++service->deaths;
    if (service->deaths >= k_deaths_max) {
        Error why = *worker.end;
        why.message = fmt::format("its workers died {} times without a call that ended in between, at last so: {}", service->deaths, why.message);
        return give_up(*service, worker, std::move(why));
    }
    const auto launch = std::make_shared<Launch>(*worker.launch);
    // What was set for all since that one was started.
    add_vars(*launch, process_vars_);
    Result<std::shared_ptr<Worker>> successor = start_worker(launch);
    if (!successor) return give_up(*service, worker, std::move(successor.error()));
    spdlog::info("worker {} takes the place of {}, for \"{}\"", (*successor)->id, worker.id, service->name);
    for (auto& each : service->workers) {
        if (each.get() == &worker) each = *successor;
    }
    services_.note(*service);
    router_.park(**successor);
    router_.hand_over(worker, **successor);
    tasks_.spawn(bring_up(service, *successor));
}

void Node::give_up(Service& service, const Worker& worker, Error why) {
    if (service.workers.size() > 1) {
        std::erase_if(service.workers, [&](const auto& each) { return each.get() == &worker; });
    } else if (!service.dead) {
        // Nothing that happens to the worker later is the reason.
        service.dead = std::move(why);
    }
    services_.note(service);
}

awaitable<void> Node::bring_up(std::shared_ptr<Service> service, std::shared_ptr<Worker> worker) {
    const std::string whose = '"' + service->name + '"';
    const Result<void> ready = co_await wait_ready(worker, whose);
    // Whatever ends it is a death like another.
    if (!ready && !worker->end) workers_.kill(*worker);
    if (!ready) co_return;
    Json load = Json::parse(service->code->request);
    load["name"] = service->name;
    note_code(*worker, *service->code);
    const Outcome loaded = co_await router_.call(worker, "load", control_body(load, service->code->attachments), Asker());
    if (worker->end) co_return;
    if (loaded.kind == Outcome::Kind::returned) {
        router_.unpark(*worker);
        co_return;
    }
    const std::string words = loaded.kind == Outcome::Kind::raised ? loaded.raised.type + ": " + loaded.raised.message : loaded.error.message;
    const Error why(Code::worker_died, fmt::format("its worker died, and the one that took its place could not load it: {}", words));
    give_up(*service, *worker, why);
    router_.fail_parked(*worker, why);
    workers_.stop(*worker);
}

}  // namespace rh::daemon
