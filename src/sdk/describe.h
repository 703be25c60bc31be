#pragma once

// What a worker says of its services (protocol/node.md, description), from the types of their C++ functions.

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "roundhouse/worker.h"

namespace rh {

nlohmann::json describe(const roundhouse::detail::Function& function);
// Of the class itself its constructor too.
nlohmann::json describe(const roundhouse::detail::Class& made, bool is_instance);

// "(a: numpy.ndarray, factor: float = 2.0) -> float", as Python writes it.
std::string signature_of(const std::vector<roundhouse::detail::Parameter>& parameters, const std::string& returns);

}  // namespace rh
