// Starts dot_service on a local cluster and calls it.
//
//     dot_client          calls everything, and ends the cluster
//     dot_client --keep   leaves it up, for call_from_python.py

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "roundhouse/client.h"

namespace {

using roundhouse::Array;
using roundhouse::Cluster;
using roundhouse::named;
using roundhouse::Pending;
using roundhouse::Result;
using roundhouse::Service;

void call_function(Cluster& box, const std::string& program) {
    const Service dot = box.deploy("dot", {program}).value();
    const std::vector<double> a{1, 2, 3};
    const std::vector<double> b{4, 5, 6};
    std::printf("dot = %g\n", dot.call<double>("call", a, b).value());

    // Numbers travel as raw memory; and a function object reads like a function, where exceptions are wanted.
    const std::vector<double> ones(1'000'000, 1.0);
    const auto product = dot.as<double(std::vector<double>, std::vector<double>)>();
    std::printf("dot of a million = %g\n", product(ones, ones));

    // A failure is a value. What the service threw comes with its type.
    const Result<double> failed = dot.call<double>("call", a, std::vector<double>{1});
    if (!failed) std::printf("%s: %s\n", failed.error().code.c_str(), failed.error().message.c_str());
}

void call_object(Cluster& box, const std::string& program) {
    const Service neighbours = box.deploy_class("Neighbours", {program}).value();
    // From now on any program finds the instance by its name.
    const Service index = neighbours.create("points", 2).value();

    const Array corners = Array::of<double>({0, 0, 0, 1, 9, 9, 9, 8}, {4, 2});
    const auto count = index.call<std::int64_t>("add", corners, std::vector<std::int64_t>{1, 1, 2, 2}).value();

    // One object, called several times at once: by threads, or as here by one that waits for all of them in the end.
    const Array asked = Array::of<double>({1, 1, 8, 8}, {2, 2});
    std::vector<Pending<std::vector<std::int64_t>>> calls;
    for (int i = 0; i < 4; ++i) calls.push_back(index.submit<std::vector<std::int64_t>>("classify", asked, named("k", 1)));
    for (const std::vector<std::int64_t>& answer : when_all(calls).value())
        std::printf("among %d points the two are of class %d and %d\n", static_cast<int>(count), static_cast<int>(answer.at(0)), static_cast<int>(answer.at(1)));
}

}  // namespace

int main(int argc, char** argv) {
    const bool keep = argc == 2 && std::string_view(argv[1]) == "--keep";
    if (argc > 1 && !keep) {
        std::fprintf(stderr, "usage: dot_client [--keep]\n");
        return 2;
    }
    const std::string program = std::filesystem::canonical("/proc/self/exe").replace_filename("dot_service");
    Result<Cluster> box = Cluster::up("cpp");
    if (!box) {
        std::fprintf(stderr, "%s\n", box.error().message.c_str());
        return 1;
    }
    int code = 0;
    try {
        call_function(*box, program);
        call_object(*box, program);
    } catch (const roundhouse::Failure& failure) {  // What value() throws.
        std::fprintf(stderr, "%s\n", failure.what());
        code = 1;
    }
    if (keep && code == 0) {
        std::printf("the services stay up: python examples/cpp/call_from_python.py\n");
        return 0;
    }
    if (const auto down = box->down(); !down) {
        std::fprintf(stderr, "%s\n", down.error().message.c_str());
        return 1;
    }
    return code;
}
