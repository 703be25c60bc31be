#pragma once

// roundhouse._engine.Host: the worker's side. serve() and serve_more() run on threads of Python's own without the GIL,
// take it for each call, and hand the call to a Python object:
//
//   runner.run(id, service, method, encoding, parts, session, deadline_ms)
//       -> (kind, encoding, parts, (type, message, traceback) | None, (code, message, {fact: value}) | None)
//   runner.cancel(id) -> bool     True: it has seen to it; False: raise runner.cancelled_type in the call's thread
//   runner.forget(id)             of a call that was cancelled and never got to run, or not as far as its end
//   runner.start_thread()         starts a thread that calls host.serve_more()
//   runner.services() -> [name]
//   runner.cancelled_type

#include <nanobind/nanobind.h>

namespace rh::binding {

void bind_host(nanobind::module_& module);

}  // namespace rh::binding
