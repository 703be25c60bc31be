#include <cstdlib>

#include "launch/reach.h"
#include "launch/state_base.h"
#include "registry/registry.h"

namespace rh::launch {

Result<Reach> reach_saved(std::string_view cluster_name) {
    const char* const text = std::getenv(variable_for(cluster_name).c_str());
    if (text == nullptr || *text == '\0') {
        RH_TRY(const std::string folder, state_base());
        RH_TRY(const auto saved, registry::Registry(folder + "/registry.db").find_cluster(cluster_name));
        if (saved) {
            RH_TRY(auto found, reach_of(saved->config, "what is saved of cluster " + saved->name));
            if (found) {
                found->token = saved->token;
                return std::move(*found);
            }
        }
    }
    return reach(cluster_name);
}

}  // namespace rh::launch
