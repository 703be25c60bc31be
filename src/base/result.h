#pragma once

// Expected failures as values. A function that may fail for a reason the caller can act on returns Result<T>; the
// user's own exception is a result, not an Error, and a bug goes to base/bug.h. Codes are sent over the wire, so they are never
// renumbered; what Python, HTTP and the command line make of each is one table (result.cpp).

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace rh {

enum class Code : std::uint16_t {  // never renumber
    unknown = 0,                   // also: a code that only a newer peer knows
    not_found = 1,                 // no service, method, cluster or call of that name
    invalid_name = 2,
    name_taken = 3,
    bad_arguments = 4,
    not_serializable = 5,
    limit_exceeded = 6,
    not_allowed = 7,
    worker_died = 8,
    node_lost = 9,
    cancelled = 10,
    timeout = 11,
    launch_failed = 12,
    setup_failed = 13,
    protocol = 14,  // the peer sent what the protocol does not allow
    internal = 15,
    io = 16,  // the operating system refused; the message has its words
    out_of_memory = 17,
    unsupported = 18,
    run_conflict = 19,  // a run of that name has other arguments or other code
    damaged = 20,       // what was stored is not what was written
    code_sync = 21,     // a project's code cannot be sent as it is
};

// The stable lower-case word for a code, as JSON and log lines show it.
std::string_view code_name(Code code);
// What an error of that code is called where errors have types: Python's exception, and the "type" of HTTP and the command line.
std::string_view code_type(Code code);
// What HTTP answers and how the command line ends, unless something else about the error says otherwise.
int code_http_status(Code code);
int code_exit(Code code);
// The inverse for numbers off the wire: anything this build does not know is Code::unknown.
Code code_from_number(std::uint32_t number);

struct Error {
    Code code = Code::unknown;
    std::string message;  // what failed, on which name, and what to try
    std::vector<std::pair<std::string, std::string>> context;

    Error() = default;
    Error(Code code_in, std::string message_in) : code(code_in), message(std::move(message_in)) {}

    // Adds one fact (signal, exit_code, stderr_tail, started, ...) and returns *this, so that it reads as one expression.
    Error&& with(std::string key, std::string value) && {
        context.emplace_back(std::move(key), std::move(value));
        return std::move(*this);
    }
    // The fact's value, or "" where it is not there.
    std::string_view fact(std::string_view key) const;
};

// An Error for a failed system call: `what` names the action and its object, errno's words follow.
Error os_error(std::string_view what, int error_number);

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Code code, std::string message) { return tl::unexpected<Error>(Error(code, std::move(message))); }
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace rh

#define RH_CONCAT_(a, b) a##b
#define RH_CONCAT(a, b) RH_CONCAT_(a, b)

// RH_TRY(auto x, f()); passes f's Error on, or binds its value. RH_TRY_VOID(f()); is for Result<void>.
#define RH_TRY(declaration, expression)                                             \
    auto RH_CONCAT(rh_try_, __LINE__) = (expression);                               \
    if (!RH_CONCAT(rh_try_, __LINE__)) return ::rh::fail(std::move(RH_CONCAT(rh_try_, __LINE__).error())); \
    declaration = std::move(*RH_CONCAT(rh_try_, __LINE__))
#define RH_TRY_VOID(expression)                                                     \
    do {                                                                            \
        auto rh_try_result_ = (expression);                                         \
        if (!rh_try_result_) return ::rh::fail(std::move(rh_try_result_.error()));  \
    } while (0)
