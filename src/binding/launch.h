#pragma once

// roundhouse._engine's functions for local clusters.

#include <nanobind/nanobind.h>

namespace rh::binding {

void bind_launch(nanobind::module_& module);

}  // namespace rh::binding
