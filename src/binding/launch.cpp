#include "binding/launch.h"

#include <nanobind/stl/string.h>
#include <chrono>
#include <string>

#include "binding/errors.h"
#include "launch/local.h"

namespace rh::binding {

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
    return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds < 0 ? 0 : seconds));
}

template <class Work>
auto without_gil(Work work) {
    const nb::gil_scoped_release release;
    return work();
}

nb::tuple locate(const std::string& name) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    return nb::make_tuple(cluster.state_folder, cluster.socket_path);
}

void up(const std::string& name, const std::string& binary, double timeout) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    unwrap(without_gil([&] { return launch::up_local(cluster, binary, milliseconds(timeout)); }));
}

void down(const std::string& name, double timeout) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    unwrap(without_gil([&] { return launch::down_local(cluster, milliseconds(timeout)); }));
}

bool is_up(const std::string& name) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    return without_gil([&] { return launch::is_up_local(cluster); });
}

}  // namespace

void bind_launch(nb::module_& module) {
    module.def("locate_local", &locate, nb::arg("name"));
    module.def("up_local", &up, nb::arg("name"), nb::arg("binary"), nb::arg("timeout"));
    module.def("down_local", &down, nb::arg("name"), nb::arg("timeout"));
    module.def("is_up_local", &is_up, nb::arg("name"));
}

}  // namespace rh::binding
