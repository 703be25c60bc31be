#pragma once

// roundhouse._engine.Registry: what is saved on this machine.

#include <nanobind/nanobind.h>

namespace rh::binding {

void bind_registry(nanobind::module_& module);

}  // namespace rh::binding
