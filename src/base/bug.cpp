#include "base/bug.h"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace rh {

namespace {

std::string describe(std::string_view what, const char* file, int line) {
    return fmt::format("roundhouse: internal error: expected `{}` at {}:{}; please report this", what, file, line);
}

}  // namespace

void bug(std::string_view what, const char* file, int line) {
    const std::string text = describe(what, file, line) + "\n";
    // stderr may be the very thing that is broken; write() needs nothing.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    std::abort();
}

Error bug_error(std::string_view what, const char* file, int line) { return Error(Code::internal, describe(what, file, line)); }

}  // namespace rh
