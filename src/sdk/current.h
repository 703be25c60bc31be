#pragma once

// The call that a thread runs: what print() and cancelled() are about, and what a call made from within it is made from.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "roundhouse/worker.h"
#include "worker/host.h"

namespace roundhouse {

struct CurrentCall::State {
    rh::worker::Host* host = nullptr;
    std::uint64_t id = 0;
    std::atomic<bool> cancelled{false};
    std::atomic<bool> heard{false};  // the call has asked, and was told so: what it returns is not what was wanted
    std::vector<std::string> parents;  // this call, and those that wait for it
    std::string label;                 // "trainer.fit", for a crash
};

// Null outside a call.
const std::shared_ptr<CurrentCall::State>& current_state();

// From here on std::cout, std::cerr and std::clog belong to the call of the thread that writes to them.
void capture_streams();

}  // namespace roundhouse
