#pragma once

// What happens when our own code is wrong. A process of ours (daemon, keeper, CLI) logs and aborts, and its parent
// restarts it. A process of the user's (client, worker) must live: there RH_CHECK_OR returns Code::internal to whoever
// asked, and the connection is given up.

#include <string_view>

#include "base/result.h"

namespace rh {

// Prints the broken expectation with its place and aborts. Only for processes of ours.
[[noreturn]] void bug(std::string_view what, const char* file, int line);
// The same broken expectation as an Error, for processes of the user's.
Error bug_error(std::string_view what, const char* file, int line);

}  // namespace rh

#define RH_CHECK(condition)                                         \
    do {                                                            \
        if (!(condition)) ::rh::bug(#condition, __FILE__, __LINE__); \
    } while (0)
