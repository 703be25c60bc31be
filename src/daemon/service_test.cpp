#include "daemon/service.h"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "daemon/worker.h"

namespace rh::daemon {
namespace {

std::shared_ptr<Service> named(std::string name) {
    auto service = std::make_shared<Service>();
    service->name = std::move(name);
    return service;
}

std::string refusal(const Services& services, std::string_view name) {
    const auto got = services.get(name);
    EXPECT_FALSE(got);
    if (got) return "";
    EXPECT_EQ(got.error().code, Code::not_found);
    EXPECT_EQ(got.error().fact("started"), "no");
    return got.error().message;
}

TEST(Services, FindsWhatWasPut) {
    Services services;
    services.put(named("fit"));
    EXPECT_EQ(services.get("fit").value()->name, "fit");
    EXPECT_EQ(services.find("fit"), services.all().front());
    EXPECT_EQ(services.find("Fit"), nullptr);
    services.erase("fit");
    services.erase("fit");
    EXPECT_EQ(services.count(), 0u);
}

TEST(Services, KindsAreKnownByTheirWords) {
    for (const auto kind : {Service::Kind::function, Service::Kind::klass, Service::Kind::object}) EXPECT_EQ(kind_of(kind_name(kind)).value(), kind);
    // An instance is made, never deployed.
    for (const auto* word : {"instance", "Function", ""}) {
        const auto kind = kind_of(word);
        ASSERT_FALSE(kind) << word;
        EXPECT_EQ(kind.error().code, Code::bad_arguments);
    }
}

TEST(Services, PuttingANameAgainReplacesIt) {
    Services services;
    const auto old = named("fit");
    services.put(old);
    services.put(named("fit"));
    EXPECT_EQ(services.count(), 1u);
    EXPECT_NE(services.find("fit"), old);
}

TEST(Services, ATypoIsToldTheNearestName) {
    Services services;
    for (const char* name : {"digits", "trainer", "train"}) services.put(named(name));
    EXPECT_NE(refusal(services, "trainr").find("did you mean \"train\"?"), std::string::npos);
    EXPECT_NE(refusal(services, "digit").find("did you mean \"digits\"?"), std::string::npos);
    EXPECT_NE(refusal(services, "dgitis").find("did you mean \"digits\"?"), std::string::npos);
    const std::string far = refusal(services, "something_else");
    EXPECT_EQ(far.find("did you mean"), std::string::npos);
    EXPECT_NE(far.find("there is no service \"something_else\" here"), std::string::npos);
    EXPECT_NE(far.find("(there are: digits, train, trainer)"), std::string::npos) << far;
}

TEST(Services, NothingDeployedSaysWhatToDo) { EXPECT_NE(refusal(Services(), "fit").find("nothing is deployed yet"), std::string::npos); }

TEST(Services, ALongListAndALongNameAreCut) {
    Services services;
    for (int i = 0; i < 1000; ++i) services.put(named("service_number_" + std::to_string(i)));
    const std::string message = refusal(services, std::string(100'000, 'n'));
    EXPECT_LT(message.size(), 1000u);
    EXPECT_NE(message.find(", ...)"), std::string::npos);
}

TEST(Services, FreeNamesCountUp) {
    Services services;
    EXPECT_EQ(services.free_name("trainer"), "trainer");
    services.put(named("trainer"));
    EXPECT_EQ(services.free_name("trainer"), "trainer-2");
    services.put(named("trainer-2"));
    EXPECT_EQ(services.free_name("trainer"), "trainer-3");
    EXPECT_EQ(services.free_name("trainer", {"trainer-3"}), "trainer-4");
}

TEST(Services, KnowWhichWorkerIsUsed) {
    boost::asio::io_context context;
    const auto worker = std::make_shared<Worker>(context.get_executor(), "w1");
    const auto service = named("fit");
    service->workers = {worker};
    Services services;
    EXPECT_FALSE(services.uses(*worker));
    services.put(service);
    EXPECT_TRUE(services.uses(*worker));
    service->dead = Error(Code::worker_died, "it died");
    EXPECT_FALSE(services.uses(*worker));
}

TEST(Service, ACallGoesWhereTheFewestAre) {
    boost::asio::io_context context;
    const auto busy = std::make_shared<Worker>(context.get_executor(), "busy");
    const auto idle = std::make_shared<Worker>(context.get_executor(), "idle");
    const auto lost = std::make_shared<Worker>(context.get_executor(), "lost");
    const auto service = named("fit");
    service->workers = {lost, busy, idle};
    EXPECT_EQ(service->pick(), nullptr);
    // Calls may wait at both; nobody has connected in this test.
    busy->parking = std::make_unique<Parking>();
    EXPECT_EQ(service->pick(), busy.get());
    busy->routes[1];
    idle->parking = std::make_unique<Parking>();
    EXPECT_EQ(service->pick(), idle.get());
    idle->routes[1];
    idle->routes[2];
    EXPECT_EQ(service->pick(), busy.get());
}

TEST(Service, KindsHaveWords) {
    EXPECT_EQ(kind_name(Service::Kind::function), "function");
    EXPECT_EQ(kind_name(Service::Kind::klass), "class");
    EXPECT_EQ(kind_name(Service::Kind::instance), "instance");
    EXPECT_EQ(kind_name(Service::Kind::object), "object");
}

}  // namespace
}  // namespace rh::daemon
