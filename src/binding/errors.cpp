#include "binding/errors.h"

#include <cstdint>

#include "binding/gil.h"

namespace rh::binding {

namespace {

// Lives as long as the process, like every type of an extension module.
PyObject* engine_error_type = nullptr;

nb::str text_of(std::string_view text) {
    // The words of the operating system or of a peer need not be UTF-8.
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

}  // namespace

void bind_errors(nb::module_& module) {
    engine_error_type = PyErr_NewExceptionWithDoc("roundhouse._engine.EngineError",
                                                  "What the engine reports: code, message, facts.", nullptr, nullptr);
    if (engine_error_type == nullptr) throw nb::python_error();
    module.attr("EngineError") = nb::borrow(engine_error_type);

    nb::dict codes;
    nb::dict types;
    // The number after the last known one reads as `unknown` again, which ends the table.
    for (std::uint32_t number = 0; number == 0 || code_from_number(number) != Code::unknown; ++number) {
        const std::string_view name = code_name(code_from_number(number));
        codes[nb::str(name.data(), name.size())] = number;
        const std::string_view type = code_type(code_from_number(number));
        types[nb::int_(number)] = nb::str(type.data(), type.size());
    }
    module.attr("codes") = codes;
    module.attr("code_types") = types;
}

void raise(const Error& error) {
    // It would only hear of the exit, and print a traceback in the middle of it.
    if (is_left_behind()) const WithoutGil for_ever;
    nb::dict facts;
    for (const auto& [key, value] : error.context) facts[text_of(key)] = text_of(value);
    const nb::object code = nb::int_(static_cast<int>(error.code));
    const nb::object message = text_of(error.message);
    const nb::object exception = nb::borrow(engine_error_type)(code, message, facts);
    exception.attr("code") = code;
    exception.attr("message") = message;
    exception.attr("facts") = facts;
    PyErr_SetObject(engine_error_type, exception.ptr());
    throw nb::python_error();
}

}  // namespace rh::binding
