#pragma once

// What a process that was forked from a warm interpreter needs to be one of its own, where Python cannot do it (_worker/fork_server.py).

#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace rh::binding {

void bind_forked(nb::module_& module);

}  // namespace rh::binding
