#pragma once

// What a daemon writes down of its tables, so that the next, which takes its place when it dies, knows what its workers are
// for: services with their code, and what workers were promised. One file each, in a folder that goes with the node. Nothing is
// synced: it outlives the daemon, not the machine. What cannot be written (a full disk) is missed only then. Owned by the
// Daemon, on its executor.

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/service.h"

namespace rh::daemon {

class Live {
public:
    using Json = nlohmann::json;

    struct Record {
        Json about;
        Body attachments;  // of a service: what its code was sent with
    };

    explicit Live(std::string folder);

    void put(const Service& service, const std::vector<std::string>& old_names);
    void erase_service(std::string_view name);
    void put(const Worker& worker, const std::map<std::string, std::string>* process_vars);
    void erase_worker(std::string_view id);
    void put_vars(const std::map<std::string, std::string>& vars);

    // What a daemon before this one has written; what is damaged is left out.
    std::vector<Record> services() const;
    std::map<std::string, Json> workers() const;
    std::map<std::string, std::string> vars() const;

private:
    void write(const std::string& path, std::string_view text, ByteView attachments = {}) const;

    const std::string folder_;
};

}  // namespace rh::daemon
