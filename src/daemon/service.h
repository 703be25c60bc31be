#pragma once

// The names that can be called on this node. A Service is shared by the table and by the calls on their way to it, so
// that replacing a name never touches them. On the daemon's executor.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace rh::daemon {

class Worker;

struct Service {
    enum class Kind { function, klass, instance };

    std::string name;
    Kind kind = Kind::function;
    std::string language;
    std::string class_name;   // of an instance
    std::string description;  // JSON, as protocol/node.md gives it
    std::shared_ptr<Worker> worker;
    std::size_t calls = 0;      // in flight
    std::optional<Error> dead;  // why every call is refused since its worker died
};

std::string_view kind_name(Service::Kind kind);

class Services {
public:
    std::shared_ptr<Service> find(std::string_view name) const;
    // The same, or Code::not_found that names what is there and the nearest of it.
    Result<std::shared_ptr<Service>> get(std::string_view name) const;
    void put(std::shared_ptr<Service> service) { by_name_[service->name] = std::move(service); }
    void erase(std::string_view name);
    // `stem`, or `stem-2`, `stem-3`, ...: the first that is free.
    std::string free_name(std::string_view stem) const;
    std::vector<std::shared_ptr<Service>> all() const;
    std::size_t count() const { return by_name_.size(); }
    // Whether any living service is in that worker.
    bool uses(const Worker& worker) const;

private:
    std::map<std::string, std::shared_ptr<Service>, std::less<>> by_name_;
};

}  // namespace rh::daemon
