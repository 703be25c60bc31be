// roundhouse._engine: the compiled module that the Python package stands on. Each bind_ function adds one part.

#include <nanobind/nanobind.h>

#include "binding/buffers.h"
#include "binding/client.h"
#include "binding/errors.h"
#include "binding/forked.h"
#include "binding/gil.h"
#include "binding/host.h"
#include "binding/launch.h"
#include "binding/registry.h"

NB_MODULE(_engine, module) {
    // Clusters live until the process ends, on purpose; that is no leak.
    nanobind::set_leak_warnings(false);
    module.attr("version") = ROUNDHOUSE_VERSION;
    rh::binding::bind_gil();
    rh::binding::bind_errors(module);
    rh::binding::bind_buffers(module);
    rh::binding::bind_client(module);
    rh::binding::bind_forked(module);
    rh::binding::bind_host(module);
    rh::binding::bind_launch(module);
    rh::binding::bind_registry(module);
}
