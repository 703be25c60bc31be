#pragma once

#include <string>

#include "base/result.h"

namespace rh::store {

// The names in that folder are on the disk: a file that was made or renamed is found there whatever happens to the power.
Result<void> sync_folder(const std::string& folder);
// Makes it, for its user alone, where it is not there; that is on the disk as well.
Result<void> make_folder(const std::string& folder);

}  // namespace rh::store
