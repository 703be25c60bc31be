#pragma once

// The request `run_import` of "_node" (protocol/node.md): what another cluster tells of a run, as the journal takes it.

#include <nlohmann/json_fwd.hpp>

#include "base/body.h"
#include "daemon/principal.h"
#include "store/journal.h"

namespace rh::daemon {

// The bodies stay in `body`, which the journal gets as well.
Result<store::Journal::Imported> imported_in(const nlohmann::json& request, Body body, const Principal& principal);

}  // namespace rh::daemon
