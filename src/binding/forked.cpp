#include "binding/forked.h"

#include <nanobind/stl/vector.h>
#include <signal.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace rh::binding {

namespace {

// Where the kernel put arguments and environment when this program began, and looks for /proc/PID/cmdline and environ.
struct Area {
    char* begin = nullptr;
    char* end = nullptr;
};

char* address(const std::string& field) {
    return reinterpret_cast<char*>(static_cast<std::uintptr_t>(std::stoull(field)));  // NOLINT(performance-no-int-to-ptr)
}

// Fields 48 to 51 of /proc/self/stat; those behind the name count from its end, which is field 2.
std::optional<std::array<Area, 2>> own_areas() {
    constexpr std::size_t k_first = 48 - 3;
    std::ifstream file("/proc/self/stat");
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::vector<std::string> fields(1);
    for (const char each : text.substr(std::min(text.size(), text.rfind(')') + 2))) {
        if (each == ' ' || each == '\n') {
            fields.emplace_back();
        } else {
            fields.back() += each;
        }
    }
    if (fields.size() < k_first + 4) return std::nullopt;
    std::array<Area, 2> areas{Area{address(fields[k_first]), address(fields[k_first + 1])}, Area{address(fields[k_first + 2]), address(fields[k_first + 3])}};
    for (const Area& area : areas) {
        if (area.begin == nullptr || area.begin >= area.end) return std::nullopt;
    }
    return areas;
}

// The texts as far as they fit whole, and nothing of what was there.
void fill(const Area& area, const std::vector<nb::bytes>& texts) {
    char* at = area.begin;
    for (const nb::bytes& text : texts) {
        if (text.size() >= static_cast<std::size_t>(area.end - at)) continue;
        std::memcpy(at, text.c_str(), text.size() + 1);
        at += text.size() + 1;
    }
    std::memset(at, 0, static_cast<std::size_t>(area.end - at));
}

// False where the kernel does not say where it looks. No pointer into the old environment may be of use to anybody any more.
bool show_process(const std::vector<nb::bytes>& arguments, const std::vector<nb::bytes>& environment) {
    const auto areas = own_areas();
    if (!areas) return false;
    fill((*areas)[0], arguments);
    fill((*areas)[1], environment);
    return true;
}

// The kernel ends this process with its parent, from now on; false where that is another by now.
bool end_with_parent([[maybe_unused]] int parent) {
#ifdef __linux__
    return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
#else
    return false;
#endif
}

}  // namespace

void bind_forked(nb::module_& module) {
    module.def("show_process", &show_process, nb::arg("arguments"), nb::arg("environment"));
    module.def("end_with_parent", &end_with_parent, nb::arg("parent"));
}

}  // namespace rh::binding
