#include "binding/launch.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "binding/errors.h"
#include "binding/gil.h"
#include "launch/local.h"
#include "launch/local_names.h"

namespace rh::binding {

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
    return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds < 0 ? 0 : seconds));
}

nb::tuple locate(const std::string& name) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    return nb::make_tuple(cluster.state_folder, cluster.socket_path);
}

void up(const std::string& name, const std::string& binary, double timeout, std::optional<std::uint64_t> cpus, std::optional<std::uint64_t> gpus,
        std::optional<std::uint64_t> memory) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    unwrap(without_gil([&] { return launch::up_local(cluster, binary, milliseconds(timeout), {cpus, gpus, memory}); }));
}

void down(const std::string& name, double timeout) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    unwrap(without_gil([&] { return launch::down_local(cluster, milliseconds(timeout)); }));
}

bool is_up(const std::string& name) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    return without_gil([&] { return launch::is_up_local(cluster); });
}

nb::list all() {
    nb::list found;
    for (const launch::LocalCluster& cluster : unwrap(without_gil([] { return launch::list_local(); })))
        found.append(nb::make_tuple(cluster.name, cluster.state_folder, cluster.socket_path));
    return found;
}

bool is_up_at(const std::string& socket_path) {
    return without_gil([&] { return launch::is_up_local({"", "", socket_path}); });
}

void rename(const std::string& name, const std::string& to) {
    unwrap(without_gil([&] { return launch::rename_local(name, to); }));
}

void remove(const std::string& name, double timeout) {
    const launch::LocalCluster cluster = unwrap(launch::locate_local(name));
    unwrap(without_gil([&] { return launch::delete_local(cluster, milliseconds(timeout)); }));
}

}  // namespace

void bind_launch(nb::module_& module) {
    module.def("locate_local", &locate, nb::arg("name"));
    module.def("up_local", &up, nb::arg("name"), nb::arg("binary"), nb::arg("timeout"), nb::arg("cpus") = nb::none(), nb::arg("gpus") = nb::none(),
               nb::arg("memory") = nb::none());
    module.def("down_local", &down, nb::arg("name"), nb::arg("timeout"));
    module.def("is_up_local", &is_up, nb::arg("name"));
    module.def("is_up_at", &is_up_at, nb::arg("socket_path"));
    module.def("list_local", &all);
    module.def("name_local", &launch::local_name, nb::arg("state_folder"));
    module.def("rename_local", &rename, nb::arg("name"), nb::arg("to"));
    module.def("delete_local", &remove, nb::arg("name"), nb::arg("timeout"));
}

}  // namespace rh::binding
