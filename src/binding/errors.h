#pragma once

// Engine errors on their way into Python: every rh::Error becomes one exception type, EngineError(code, message,
// facts), which the Python package maps to its own tree. All of these need the GIL.

#include <nanobind/nanobind.h>

#include "base/result.h"

namespace rh::binding {

namespace nb = nanobind;

void bind_errors(nb::module_& module);

[[noreturn]] void raise(const Error& error);

template <class T>
T unwrap(Result<T> result) {
    if (!result) raise(result.error());
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace rh::binding
