#pragma once

// The keeper's lines, in the daemon's log, which is its standard error. A write is all there is to it: a logging library
// would bring threads or memory that the keeper is not to have.

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <string>
#include <utility>

namespace rh::keeper {

template <class... Arguments>
void log(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    const std::string line = fmt::format("[{:%Y-%m-%d %H:%M:%S}Z] keeper: {}\n", fmt::gmtime(std::time(nullptr)),
                                         fmt::format(format, std::forward<Arguments>(arguments)...));
    // A full disk silences the log; it must not stop the keeper.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace rh::keeper
