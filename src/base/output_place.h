#pragma once

#include <cstdint>

namespace rh {

// How far what a call has printed has come, for a caller that comes back for the rest: the number of the last line that its worker
// sent, and up to where its worker's stdout and stderr files were read for it. 0: nothing of that.
struct OutputPlace {
    std::uint64_t number = 0;
    std::uint64_t file_offsets[2] = {};
};

}  // namespace rh
