#include "binding/registry.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <map>
#include <optional>
#include <string>

#include "binding/errors.h"
#include "binding/gil.h"
#include "launch/state_base.h"
#include "registry/registry.h"

namespace rh::binding {

namespace {

using registry::Registry;
using registry::SavedCluster;
using registry::SavedService;

// The file may be busy for a while, in which no other Python thread should wait.
template <class Work>
auto freely(Work work) {
    return unwrap(without_gil(std::move(work)));
}

nb::tuple row_of(const SavedCluster& saved) {
    return nb::make_tuple(saved.name, saved.launcher, saved.config, saved.state_key, saved.saved_at_s, saved.token);
}
nb::tuple row_of(const SavedService& saved) { return nb::make_tuple(saved.name, saved.cluster, saved.service, saved.kind, saved.saved_at_s); }

template <class Saved>
nb::list rows_of(const std::vector<Saved>& all) {
    nb::list rows;
    for (const Saved& saved : all) rows.append(row_of(saved));
    return rows;
}

template <class Saved>
nb::object row_or_none(const std::optional<Saved>& saved) {
    return saved ? nb::object(row_of(*saved)) : nb::none();
}

}  // namespace

void bind_registry(nb::module_& module) {
    using Text = const std::string&;
    nb::class_<Registry>(module, "Registry")
        .def("__init__", [](Registry* place) { new (place) Registry(unwrap(launch::state_base()) + "/registry.db"); })
        .def_prop_ro("path", [](const Registry& self) { return self.path(); })
        .def("save_cluster",
             [](const Registry& self, Text name, Text launcher, Text config, Text state_key, bool overwrite, Text token) {
                 freely([&] { return self.save(SavedCluster{name, launcher, config, state_key, token}, overwrite); });
             },
             nb::arg("name"), nb::arg("launcher"), nb::arg("config"), nb::arg("state_key"), nb::arg("overwrite"), nb::arg("token") = "")
        .def("find_cluster", [](const Registry& self, Text name) { return row_or_none(freely([&] { return self.find_cluster(name); })); })
        .def("clusters", [](const Registry& self) { return rows_of(freely([&] { return self.clusters(); })); })
        .def("forget_cluster", [](const Registry& self, Text name) { return freely([&] { return self.forget_cluster(name); }); })
        .def("rename_cluster", [](const Registry& self, Text name, Text to) { return freely([&] { return self.rename_cluster(name, to); }); })
        .def("save_service",
             [](const Registry& self, Text name, Text cluster, Text service, Text kind, bool overwrite) {
                 freely([&] { return self.save(SavedService{name, cluster, service, kind}, overwrite); });
             })
        .def("find_service", [](const Registry& self, Text name) { return row_or_none(freely([&] { return self.find_service(name); })); })
        .def("services", [](const Registry& self) { return rows_of(freely([&] { return self.services(); })); })
        .def("forget_service", [](const Registry& self, Text name) { return freely([&] { return self.forget_service(name); }); })
        .def("settings", [](const Registry& self) { return freely([&] { return self.settings(); }); })
        .def("change_settings", [](const Registry& self, const std::map<std::string, std::optional<std::string>>& changes) {
            freely([&] { return self.change_settings(changes); });
        });
}

}  // namespace rh::binding
