// What a daemon that takes a dead one's place finds (node.h): the workers live on under the keeper, which tells how they were
// started, and live.h has what they are for. What they run is theirs to tell (router_resume.cpp).

#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

void Node::note(const Worker& worker) {
    const auto process = worker.process.empty() ? processes_.end() : processes_.find(worker.process);
    live_.put(worker, process == processes_.end() ? nullptr : &process->second->vars);
}

std::vector<std::shared_ptr<Worker>> Node::restore(const std::vector<Workers::Left>& left) {
    const auto known = live_.workers();
    std::vector<std::shared_ptr<Worker>> restored;
    for (const Workers::Left& each : left) {
        const auto about = known.find(each.start.id);
        std::shared_ptr<Worker> worker = about == known.end() ? nullptr : restore_worker(each, about->second);
        // Nobody knows what it was for.
        if (worker == nullptr) workers_.end_left(each.start.id);
        if (worker != nullptr) restored.push_back(std::move(worker));
    }
    for (const auto& [id, about] : known) {
        if (workers_.find(id) == nullptr) live_.erase_worker(id);
    }
    process_vars_ = live_.vars();
    for (const Live::Record& record : live_.services()) {
        try {
            restore_service(record);
        } catch (const Json::exception& error) {
            spdlog::warn("a service of the daemon before this one cannot be taken over: {}", error.what());
        }
    }
    // Somebody was about to deploy to it, or the service in it is gone: its caller, if there is one, was told so or will be.
    std::erase_if(restored, [&](const std::shared_ptr<Worker>& worker) {
        const bool is_used = services_.uses(*worker) || !worker->process.empty() || worker->retired;
        if (!is_used) workers_.stop(*worker);
        return !is_used;
    });
    return restored;
}

std::shared_ptr<Worker> Node::restore_worker(const Workers::Left& left, const Json& about) {
    try {
        auto launch = std::make_shared<Launch>(Launch{left.start.argv, left.start.env, left.start.cwd, {}});
        if (const auto amounts = about.find("amounts"); amounts != about.end()) {
            launch->amounts.cpus = amounts->at("cpus");
            launch->amounts.gpus = amounts->at("gpus");
            launch->amounts.memory_bytes = amounts->at("memory");
        }
        if (const auto path = about.find("import_path"); path != about.end()) launch->import_path = path->get<std::vector<std::string>>();
        const Json& promised = about.at("allocation");
        Allocation allocation;
        allocation.cpus = promised.at("cpus").get<std::vector<std::int32_t>>();
        allocation.gpus = promised.at("gpus").get<std::vector<std::int32_t>>();
        allocation.memory_bytes = promised.at("memory");
        std::shared_ptr<Worker> worker = workers_.adopt(left);
        if (worker == nullptr) return nullptr;
        resources_.take_again(worker->id, allocation);
        worker->allocation = std::move(allocation);
        worker->launch = std::move(launch);
        worker->retired = about.at("retired");
        if (const auto snapshots = about.find("snapshots"); snapshots != about.end()) worker->snapshots = snapshots->get<std::set<std::string, std::less<>>>();
        worker->process = about.at("process").get<std::string>();
        if (!worker->process.empty()) {
            const auto process = std::make_shared<Process>();
            process->name = worker->process;
            process->worker = worker;
            if (const auto vars = about.find("vars"); vars != about.end()) process->vars = vars->get<std::map<std::string, std::string>>();
            processes_[process->name] = process;
        }
        return worker;
    } catch (const Json::exception& error) {
        spdlog::warn("worker {} of the daemon before this one cannot be taken over: {}", left.start.id, error.what());
        return nullptr;
    }
}

void Node::restore_service(const Live::Record& record) {
    const Json& about = record.about;
    const auto service = std::make_shared<Service>();
    service->name = about.at("name");
    const int kind = about.at("kind");
    if (kind < 0 || kind > static_cast<int>(Service::Kind::object)) return;
    service->kind = static_cast<Service::Kind>(kind);
    service->language = about.at("language");
    service->class_name = about.at("class");
    service->process = about.at("process");
    service->described = about.at("described");
    service->code_digest = about.value("code_digest", std::string());
    if (const auto code = about.find("code"); code != about.end()) {
        auto loadable = std::make_shared<Loadable>();
        loadable->request = code->at("request");
        loadable->attachments = copy_of(record.attachments);
        loadable->snapshot = code->value("snapshot", std::string());
        service->code = std::move(loadable);
    }
    for (const Json& id : about.at("workers")) {
        if (auto worker = workers_.find(id.get_ref<const std::string&>())) service->workers.push_back(std::move(worker));
    }
    for (const Json& id : about.at("copies")) {
        if (const auto worker = workers_.find(id.get_ref<const std::string&>())) service->copies.emplace_back(worker);
    }
    if (const auto dead = about.find("dead"); dead != about.end()) {
        Error why(code_from_number(dead->at("code")), dead->at("message"));
        for (const Json& fact : dead->at("facts")) why.context.emplace_back(fact.at(0).get<std::string>(), fact.at(1).get<std::string>());
        service->dead = std::move(why);
    }
    if (service->workers.empty()) {
        // Services are told by their worker; this one's is no more than a name.
        service->workers.push_back(std::make_shared<Worker>(executor_, "gone"));
        if (!service->dead) service->dead = Error(Code::worker_died, "its worker ended while the node's daemon was away");
    }
    services_.restore(service, about.at("old_names").get<std::vector<std::string>>());
}

}  // namespace rh::daemon
