#pragma once

// How a cluster is reached by its name: as the environment says ($ROUNDHOUSE_CLUSTER_NAME, which Cluster.export makes), as it was saved
// on this machine, or as a local cluster. Nothing is asked over any network.

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rh::launch {

struct Reach {
    std::string endpoint;  // "unix:/path", "tcp://127.0.0.1:PORT", "tls://HOST:PORT" (net/endpoint.h)
    std::string token;     // for the last two
    std::string pin;       // for the last; empty: the certificate must be trusted on this machine
    bool local = false;    // it can be launched here
};

// "ROUNDHOUSE_CLUSTER_MY_BOX" for "my-box".
std::string variable_for(std::string_view cluster_name);

// The environment's word, else the local cluster of that name. For programs that save no names.
Result<Reach> reach(std::string_view cluster_name);
// The same, with what the registry of this machine has between the two (reach_saved.cpp, which needs SQLite).
Result<Reach> reach_saved(std::string_view cluster_name);

// What {"url", "pin", "token"} says, or {"host", "server_port", "server_connection_type", "pin"} of a saved cluster; nothing where it is
// neither. Code::bad_arguments where it is one and cannot be used; the message never shows the text, which may have a token.
Result<std::optional<Reach>> reach_of(std::string_view json, std::string_view where);

}  // namespace rh::launch
