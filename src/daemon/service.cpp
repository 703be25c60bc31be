#include "daemon/service.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"

#include "daemon/requests.h"
#include "daemon/worker.h"

namespace rh::daemon {

namespace {

// Levenshtein's distance, for "did you mean"; names are short.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
        }
    }
    return row.back();
}

}  // namespace

std::string_view kind_name(Service::Kind kind) {
    switch (kind) {
        case Service::Kind::function: return "function";
        case Service::Kind::klass: return "class";
        case Service::Kind::instance: return "instance";
        case Service::Kind::object: return "object";
    }
    return "function";
}

Result<Service::Kind> kind_of(std::string_view word) {
    if (word == "function") return Service::Kind::function;
    if (word == "class") return Service::Kind::klass;
    if (word == "object") return Service::Kind::object;
    return fail(Code::bad_arguments, fmt::format("a service's kind is \"function\", \"class\" or \"object\", not \"{}\"", word));
}

bool Service::lives_in(const Worker& worker) const {
    return std::any_of(workers.begin(), workers.end(), [&](const auto& each) { return each.get() == &worker; });
}

const Service::Methods& Service::methods() const {
    if (known_methods) return *known_methods;
    Methods& known = known_methods.emplace();
    const Json description = Json::parse(described, nullptr, false);
    const auto methods = description.find("methods");
    if (!description.is_object() || methods == description.end() || !methods->is_object()) return known;
    for (const auto& [each, method] : methods->items()) {
        if (!method.is_object()) continue;
        const auto says = method.find("kind");
        const auto mark = method.find("readonly");
        const bool generator = says != method.end() && says->is_string() && says->get_ref<const std::string&>().ends_with("generator");
        known[each] = Method{generator, mark != method.end() && *mark == true};
    }
    return known;
}

Worker* Service::pick() const {
    Worker* best = nullptr;
    for (const auto& worker : workers) {
        // Calls wait at a worker that is only on its way; better one that runs them now.
        const auto is_better = [&] {
            if ((worker->parking == nullptr) != (best->parking == nullptr)) return worker->parking == nullptr;
            return worker->routes.size() < best->routes.size();
        };
        if (!worker->takes_calls()) continue;
        if (best == nullptr || is_better()) best = worker.get();
    }
    return best;
}

std::shared_ptr<Service> Services::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<Service>> Services::get(std::string_view name) const {
    if (std::shared_ptr<Service> service = find(name)) return service;
    std::string there;
    std::string nearest;
    std::size_t least = 3;
    std::size_t listed = 0;
    for (const auto& [known, service] : by_name_) {
        if (listed++ < 20) there += (there.empty() ? "" : ", ") + known;
        if (const std::size_t far = distance(name.substr(0, 128), known); far < least) {
            least = far;
            nearest = known;
        }
    }
    std::string message = fmt::format("there is no service \"{:.128}\" here", name);
    if (!nearest.empty()) message += fmt::format("; did you mean \"{}\"?", nearest);
    message += there.empty() ? " (nothing is deployed yet: send a function or class with .to())" : fmt::format(" (there are: {}{})", there, listed > 20 ? ", ..." : "");
    return fail(Error(Code::not_found, std::move(message)).with("name", std::string(name.substr(0, 128))).with("started", "no"));
}

Result<std::shared_ptr<Service>> Services::get_called(std::string_view name) const {
    if (std::shared_ptr<Service> service = find(name)) return service;
    if (const auto before = renamed_.find(name); before != renamed_.end()) {
        std::shared_ptr<Service> service = before->second.lock();
        if (service != nullptr && find(service->name) == service) return service;
    }
    return get(name);
}

void Services::put(std::shared_ptr<Service> service) {
    renamed_.erase(service->name);
    std::shared_ptr<Service>& place = by_name_[service->name];
    place = std::move(service);
    note(*place);
}

void Services::note(const Service& service) const {
    if (!on_change_ || find(service.name).get() != &service) return;
    std::vector<std::string> old_names;
    for (const auto& [name, renamed] : renamed_) {
        if (renamed.lock().get() == &service) old_names.push_back(name);
    }
    on_change_(service, old_names);
}

void Services::restore(std::shared_ptr<Service> service, const std::vector<std::string>& old_names) {
    for (const std::string& name : old_names) renamed_[name] = service;
    by_name_[service->name] = std::move(service);
}

void Services::rename(const std::shared_ptr<Service>& service, std::string to) {
    std::erase_if(renamed_, [](const auto& entry) { return entry.second.expired(); });
    erase(service->name);
    if (renamed_.size() < limits::k_services_max) renamed_[service->name] = service;
    service->name = std::move(to);
    put(service);
}

void Services::erase(std::string_view name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return;
    if (on_erase_) on_erase_(name);
    by_name_.erase(found);
}

std::string Services::free_name(std::string_view stem, const std::multiset<std::string, std::less<>>& promised) const {
    std::string name(stem);
    for (int number = 2; by_name_.count(name) + promised.count(name) != 0; ++number) name = fmt::format("{}-{}", stem, number);
    return name;
}

std::vector<std::shared_ptr<Service>> Services::all() const {
    std::vector<std::shared_ptr<Service>> list;
    for (const auto& [name, service] : by_name_) list.push_back(service);
    return list;
}

bool Services::uses(const Worker& worker) const {
    return std::any_of(by_name_.begin(), by_name_.end(),
                       [&](const auto& entry) { return entry.second->lives_in(worker) && !entry.second->dead; });
}

}  // namespace rh::daemon
