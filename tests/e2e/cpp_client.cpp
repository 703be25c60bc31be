// What test_cpp_client.py runs: the client's side of the public API against cpp_subjects. Says what is not as it should be.

#include <algorithm>
#include <cstdio>

#include "roundhouse/client.h"

namespace {

using namespace std::chrono_literals;
using roundhouse::Cluster;
using roundhouse::named;
using roundhouse::Result;
using roundhouse::Service;

int g_wrong = 0;

void check(bool right, const char* what) {
    if (right) return;
    ++g_wrong;
    std::printf("wrong: %s\n", what);
}
#define CHECK(condition) check(static_cast<bool>(condition), #condition)

void calls(Cluster& box, const std::vector<std::string>& program) {
    const Service scale = box.deploy("double", program, {.callable = "scale", .workers = 2}).value();
    CHECK(scale.name() == "double" && scale.kind() == "function");
    CHECK(scale.description()["language"].as<std::string>().value() == "c++");
    const std::vector<double> values{1, 2};
    CHECK(scale.call<std::vector<double>>("call", values).value() == (std::vector<double>{2, 4}));
    CHECK(scale.call<std::vector<double>>("call", values, named("factor", 3)).value() == (std::vector<double>{3, 6}));
    CHECK(scale.call<double>("call", values).error().is("bad_arguments"));
    CHECK(scale.call("call").error().message == "double() takes 2 arguments, got 0: the argument \"values\" is missing");
    CHECK(scale.call("nothing").error().is("not_found"));

    const Service wait = box.deploy("wait_for_cancel", program).value();
    const auto pending = wait.submit<roundhouse::Nothing>("call");
    CHECK(pending.get(20ms).error().is("timeout") && !pending.done());
    pending.cancel();
    CHECK(pending.get().error().is("cancelled") && pending.wait(0ms));
    CHECK(pending.get().error().is("cancelled"));  // It may be asked again.
    CHECK(wait.with({.timeout = 50ms}).call("call").error().is("timeout"));

    const Service crash = box.deploy("crash", program).value();
    const Result<roundhouse::Value> died = crash.call("call", "segv");
    CHECK(died.error().is("worker_died") && died.error().fact("signal") == "11");
    CHECK(died.error().fact("backtrace").find("read_from") != std::string::npos);
    const auto thrown = box.deploy("throw_something", program).value().call("call", "far");
    CHECK(thrown.error().is("raised") && thrown.error().fact("type") == "std::out_of_range");

    std::string said;
    const Service say = box.deploy("say", program).value().with({.on_output = [&](bool is_error, std::string_view text) { said += (is_error ? "2" : "1") + std::string(text); }});
    say.call("call", "hello").value();
    CHECK(said.find("1hello by print\n") != std::string::npos && said.find("2hello by print_error\n") != std::string::npos);
}

void streams(Cluster& box, const std::vector<std::string>& program) {
    const Service count = box.deploy("count", program, {.process = "streams"}).value();
    const Service alive = box.deploy("alive", program, {.process = "streams"}).value();
    std::int64_t sum = 0;
    for (const int i : count.stream<int>("call", 100'000)) sum += i;
    CHECK(sum == 4'999'950'000);
    {
        auto stream = count.with({.prefetch = 0}).stream<int>("call", 1'000'000'000);
        CHECK(stream.next().value() == 0 && stream.next().value() == 1);
        CHECK(alive.call<int>("call").value() == 1);
    }
    // Dropped, it ends where it stands.
    for (int i = 0; i < 2000 && alive.call<int>("call").value() != 0; ++i) static_cast<void>(box.ping());
    CHECK(alive.call<int>("call").value() == 0);
    auto failing = count.stream<int>("call", 3);
    for (int i = 0; i < 3; ++i) CHECK(failing.next().value() == i);
    CHECK(failing.next().error().fact("type") == "std::length_error");
    bool threw = false;
    try {
        for ([[maybe_unused]] const int i : count.stream<int>("call", 3)) {
        }
    } catch (const roundhouse::Failure& failure) {
        threw = failure.error().is("raised");
    }
    CHECK(threw);
    CHECK(count.stream<int>("call", "many").next().error().is("bad_arguments"));
}

void objects(Cluster& box, const std::vector<std::string>& program) {
    const Service counter_class = box.deploy_class("Counter", program, {.process = "objects"}).value();
    const Service counter = counter_class.create("mine", named("start", 5)).value();
    CHECK(counter.kind() == "instance" && counter.call<int>("add", 2).value() == 7);
    CHECK(counter.set("rate", 2.5) && counter.property<double>("rate").value() == 2.5);
    CHECK(counter_class.call<std::string>("version").value() == "1.0");
    const auto add = box.get("mine").value().as<int(int)>("add");
    CHECK(add(1) == 8);
    CHECK(counter_class.create("", 1).value().name() != "mine");

    const std::vector<double> large(100'000, 0.5);
    CHECK(box.put("large", large, "objects"));
    CHECK(box.fetch<std::vector<double>>("large").value() == large);
    CHECK(box.put("nested", roundhouse::Map{{"list", roundhouse::List{1, "two"}}}, "objects"));
    CHECK(box.fetch("nested").value()["list"].get<roundhouse::List>().size() == 2);
    const std::vector<std::string> names = box.services().value();
    CHECK(std::count(names.begin(), names.end(), "mine") == 1);
    CHECK(box.remove("mine") && box.get("mine").error().is("not_found"));
    CHECK(box.put("elsewhere", 1, "no-such-process").error().is("not_found"));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const std::vector<std::string> program{argv[1]};
    CHECK(Cluster::here().error().is("not_found"));
    CHECK(!Cluster::connect("no-such-cluster-is-up"));
    CHECK(Cluster::connect("carrier-pigeon:somewhere").error().is("bad_arguments"));
    Cluster box = Cluster::up("cpp-client").value();
    try {
        calls(box, program);
        streams(box, program);
        objects(box, program);
        CHECK(box.deploy("f", {"/no/such/program"}).error().is("setup_failed"));
    } catch (const roundhouse::Failure& failure) {
        check(false, failure.what());
    }
    CHECK(box.down());
    if (g_wrong == 0) std::printf("all is well\n");
    return g_wrong == 0 ? 0 : 1;
}
