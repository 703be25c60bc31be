#pragma once

// Where a name leads: to a local cluster, or to one elsewhere that the environment tells of. The one place that resolves
// names, so that every command takes the same ones.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "launch/local.h"
#include "registry/registry.h"

namespace rh::cli {

struct Place {
    std::string name;
    bool local = true;
    launch::LocalCluster cluster;  // where it is local
    std::string url;               // where it is not
    std::string token;
    std::string pin;

    // As the client takes it.
    std::string endpoint() const;
};

// ROUNDHOUSE_CLUSTER_BOX for "box".
std::string variable_of(std::string_view name);
// $ROUNDHOUSE_CLUSTER_NAME wins over a local cluster of that name, and that over one elsewhere that a program saved: the
// registry is opened only where nothing else has the name. Without a name: the cluster whose worker this is;
// Code::bad_arguments elsewhere.
Result<Place> find_place(const std::string& name);
// For clusters that this machine is to bring up or end: Code::unsupported for one elsewhere.
Result<Place> find_local_place(const std::string& name);
// Where a saved cluster answers, if that is a host and a port.
std::optional<Place> saved_place(const registry::SavedCluster& saved);
// The clusters that environment variables tell of, by the names there: "BOX".
std::vector<Place> places_elsewhere();
// Names that a user may have meant.
std::vector<std::string> known_names();
// True where this process belongs to a worker.
bool inside_worker();
// What to say of a cluster that does not answer.
Error not_up(const Place& place);

}  // namespace rh::cli
