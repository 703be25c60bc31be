#pragma once

// Names that a user saved on this machine, in one SQLite file: clusters with what they were asked for, services, and
// settings. It is a cache: what runs is found by asking the launchers, and a lost registry ends nothing. Any number of
// processes and threads may use one file; each method opens it, does one transaction and closes it, so that nothing is
// held across fork(). Blocking, bounded by limits::k_registry_wait.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace rh::registry {

struct SavedCluster {
    std::string name;
    std::string launcher;   // "local"
    std::string config;     // a JSON object, as the language that saved it understands it
    std::string state_key;  // the name of its state folder, where it has one on this machine
    std::string token{};    // with which it is called over TCP; stands in no configuration, so that nothing shows it
    std::int64_t saved_at_s = 0;  // seconds since 1970, set by save
};

struct SavedService {
    std::string name;
    std::string cluster;
    std::string service;  // its name on the cluster
    std::string kind;     // "function", "class", "instance", "object"
    std::int64_t saved_at_s = 0;
};

class Registry {
public:
    // Looks at nothing yet: the file and its folder (mode 0700) are made by the first save.
    explicit Registry(std::string path) : path_(std::move(path)) {}

    const std::string& path() const { return path_; }

    // Code::name_taken when it is there and not to be overwritten.
    Result<void> save(const SavedCluster& cluster, bool overwrite) const;
    Result<std::optional<SavedCluster>> find_cluster(std::string_view name) const;
    // By name.
    Result<std::vector<SavedCluster>> clusters() const;
    // True when it was there. Its saved services go with it.
    Result<bool> forget_cluster(std::string_view name) const;
    // Takes its saved services along, and the place of one that has the new name. True when it was there.
    Result<bool> rename_cluster(std::string_view name, std::string_view to) const;

    Result<void> save(const SavedService& service, bool overwrite) const;
    Result<std::optional<SavedService>> find_service(std::string_view name) const;
    Result<std::vector<SavedService>> services() const;
    Result<bool> forget_service(std::string_view name) const;

    // Values are JSON texts.
    Result<std::map<std::string, std::string>> settings() const;
    // All of it or nothing; a value that is absent deletes its key.
    Result<void> change_settings(const std::map<std::string, std::optional<std::string>>& changes) const;

private:
    std::string path_;
};

}  // namespace rh::registry
