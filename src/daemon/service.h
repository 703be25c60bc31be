#pragma once

// The names that can be called on this node. A Service is shared by the table and by the calls on their way to it, so
// that replacing a name never touches them. On the daemon's executor.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/body.h"
#include "base/result.h"

namespace rh::daemon {

class Worker;

// What a function or class was deployed with, kept so that another worker can load it.
struct Loadable {
    std::string request;  // JSON, as the worker's `load` takes it
    Body attachments;     // from part 1 on
    std::string snapshot; // of the code that it imports (code_control.h); empty: none
};

struct Service {
    enum class Kind { function, klass, instance, object };
    // What is known of a method without asking its worker.
    struct Method {
        bool generator = false;
        bool readonly = false;
    };
    using Methods = std::map<std::string, Method, std::less<>>;

    std::string name;
    Kind kind = Kind::function;
    std::string language;
    std::string class_name;  // of an instance
    std::string process;     // that it lives in; empty when its workers are its own, or its class's
    std::string described;   // JSON: what the worker said of it
    // All where it lives: several for some functions, else one; none once a function's last worker is lost for good.
    std::vector<std::shared_ptr<Worker>> workers;
    std::string code_digest;                         // of its code, as its deployer says, or its class's; empty: not known
    std::shared_ptr<const Loadable> code;            // shared with whoever loads it just now; null for instances and objects
    std::vector<std::weak_ptr<Worker>> copies;   // workers of processes where a class was loaded as well
    std::size_t calls = 0;                       // in flight
    int deaths = 0;                              // of its workers, without a call that ended in between
    std::optional<Error> dead;                   // why every call is refused since its worker died
    mutable std::optional<Methods> known_methods;  // kept by methods()

    bool lives_in(const Worker& worker) const;
    // Read off `described`, once.
    const Methods& methods() const;
    // The worker for its next call: of those that are there, the one with the fewest calls; null when none is.
    Worker* pick() const;
};

std::string_view kind_name(Service::Kind kind);
// Of what can be deployed.
Result<Service::Kind> kind_of(std::string_view word);
// Instances and objects hold something that cannot be made again.
inline bool is_live_object(Service::Kind kind) { return kind == Service::Kind::instance || kind == Service::Kind::object; }

class Services {
public:
    // Told of each that is new or has changed, with the names that it had before, and of names that are gone.
    using OnChange = std::function<void(const Service& service, const std::vector<std::string>& old_names)>;
    using OnErase = std::function<void(std::string_view name)>;
    void watch(OnChange changed, OnErase erased) {
        on_change_ = std::move(changed);
        on_erase_ = std::move(erased);
    }
    // To be called when something of it that outlives a daemon has changed.
    void note(const Service& service) const;

    std::shared_ptr<Service> find(std::string_view name) const;
    // The same, or Code::not_found that names what is there and the nearest of it.
    Result<std::shared_ptr<Service>> get(std::string_view name) const;
    // For a call: also what had that name before it was renamed.
    Result<std::shared_ptr<Service>> get_called(std::string_view name) const;
    void put(std::shared_ptr<Service> service);
    void erase(std::string_view name);
    // One that a daemon before this one knew, with the names that it had before.
    void restore(std::shared_ptr<Service> service, const std::vector<std::string>& old_names);
    // Who knows it by its old name goes on, until another takes that.
    void rename(const std::shared_ptr<Service>& service, std::string to);
    // `stem`, or `stem-2`, `stem-3`, ...: the first that is free, and is not `promised` to one that is being made.
    std::string free_name(std::string_view stem, const std::multiset<std::string, std::less<>>& promised = {}) const;
    std::vector<std::shared_ptr<Service>> all() const;
    std::size_t count() const { return by_name_.size(); }
    // Whether any living service is in that worker.
    bool uses(const Worker& worker) const;

private:
    std::map<std::string, std::shared_ptr<Service>, std::less<>> by_name_;
    std::map<std::string, std::weak_ptr<Service>, std::less<>> renamed_;  // by the name before
    OnChange on_change_;
    OnErase on_erase_;
};

}  // namespace rh::daemon
