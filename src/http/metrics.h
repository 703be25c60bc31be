#pragma once

// The node's figures as Prometheus reads them (text exposition, version 0.0.4).

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "http/connection.h"

namespace rh::http {

// `status` is what the node says of itself.
std::string metrics_text(const nlohmann::json& status, std::size_t framed_connections, const Shared& shared);

}  // namespace rh::http
