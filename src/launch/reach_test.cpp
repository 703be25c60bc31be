#include "launch/reach.h"

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>

#include "base/ids.h"
#include "registry/registry.h"

namespace rh::launch {
namespace {

namespace fs = std::filesystem;

class ReachTest : public ::testing::Test {
protected:
    ReachTest() {
        fs::create_directory(folder_);
        ::setenv("ROUNDHOUSE_STATE", folder_.c_str(), 1);
    }
    ~ReachTest() override {
        ::unsetenv("ROUNDHOUSE_STATE");
        ::unsetenv("ROUNDHOUSE_CLUSTER_MY_BOX");
        fs::remove_all(folder_);
    }
    const std::string folder_ = fs::canonical("/tmp").string() + "/rh-test-" + random_hex(8);
};

TEST_F(ReachTest, ANameIsALocalCluster) {
    for (const auto& found : {reach("my-box"), reach_saved("my-box")}) {
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_TRUE(found->local);
        EXPECT_TRUE(found->endpoint.starts_with("unix:/")) << found->endpoint;
    }
    EXPECT_EQ(reach("not/a/name").error().code, Code::invalid_name);
}

TEST_F(ReachTest, TheEnvironmentComesFirst) {
    const registry::Registry registry(folder_ + "/registry.db");
    const std::string config = R"({"host": "::1", "server_port": 5, "server_connection_type": "tls", "pin": "sha256/x"})";
    ASSERT_TRUE(registry.save(registry::SavedCluster{"my-box", "", config, "", "rh_saved"}, true));
    const auto saved = reach_saved("my-box");
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_EQ(saved->endpoint, "tls://[::1]:5");
    EXPECT_EQ(saved->token, "rh_saved");
    EXPECT_EQ(saved->pin, "sha256/x");
    EXPECT_FALSE(saved->local);
    EXPECT_TRUE(reach("my-box")->local);
    ::setenv("ROUNDHOUSE_CLUSTER_MY_BOX", R"({"url": "http://127.0.0.1:7", "pin": null, "token": "rh_env"})", 1);
    for (const auto& found : {reach("my-box"), reach_saved("my-box")}) {
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_EQ(found->endpoint, "tcp://127.0.0.1:7");
        EXPECT_EQ(found->token, "rh_env");
        EXPECT_EQ(found->pin, "");
    }
}

TEST_F(ReachTest, ASavedLocalClusterIsOne) {
    const registry::Registry registry(folder_ + "/registry.db");
    ASSERT_TRUE(registry.save(registry::SavedCluster{"my-box", "local", R"({"num_cpus": 1})", "my-box"}, true));
    EXPECT_TRUE(reach_saved("my-box")->local);
}

TEST_F(ReachTest, WhatCannotBeUsedIsNotShown) {
    for (const char* text : {"{", "[]", R"({"token": "rh_secret"})", R"({"url": "ftp://x:1", "token": "rh_secret"})", R"({"url": "https://rh_secret@x:1"})"}) {
        ::setenv("ROUNDHOUSE_CLUSTER_MY_BOX", text, 1);
        const auto found = reach("my-box");
        ASSERT_FALSE(found) << text;
        EXPECT_EQ(found.error().code, Code::bad_arguments);
        EXPECT_NE(found.error().message.find("ROUNDHOUSE_CLUSTER_MY_BOX"), std::string::npos) << found.error().message;
        EXPECT_EQ(found.error().message.find("rh_secret"), std::string::npos) << found.error().message;
    }
}

}  // namespace
}  // namespace rh::launch
