#pragma once

// What of a snapshot is not there yet: the side that lacks it asks for that and nothing else.

#include <cstddef>
#include <functional>
#include <vector>

#include "sync/digest.h"
#include "sync/manifest.h"

namespace rh::sync {

// The entries whose content is not there, in their order; of those with the same content only the first.
std::vector<std::size_t> missing(const Manifest& manifest, const std::function<bool(const Digest&)>& is_there);

}  // namespace rh::sync
