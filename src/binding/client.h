#pragma once

// roundhouse._engine.Client and Call. A thread that waits for an answer does so without the GIL and reads the socket
// itself; it takes the GIL back only to show output, to look at signals, and at the end.

#include <nanobind/nanobind.h>

namespace rh::binding {

void bind_client(nanobind::module_& module);

}  // namespace rh::binding
