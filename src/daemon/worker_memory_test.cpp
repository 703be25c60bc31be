#include "daemon/worker_memory.h"

#include <boost/asio/io_context.hpp>
#include <csignal>
#include <gtest/gtest.h>

#include "daemon/worker.h"

namespace rh::daemon {
namespace {

using process::Enforcer;
using process::Exited;
using process::MemoryFacts;

constexpr std::uint64_t k_mib = 1024 * 1024;
constexpr MemoryFacts k_facts{Enforcer::cgroup2, false, 256 * k_mib, 256 * k_mib, 200 * k_mib, 1500, 1};

class WorkerMemoryTest : public ::testing::Test {
protected:
    WorkerMemoryTest() { worker_.stderr_path = "/no/such/file"; }

    Error end(int exit_code, int signal_number, const MemoryFacts& facts = {}) const {
        return describe_end(worker_, Exited{"w1", 12, exit_code, signal_number, 40 * 1024, facts});
    }

    boost::asio::io_context context_;
    Worker worker_{context_.get_executor(), "w1"};
};

TEST_F(WorkerMemoryTest, AKillForMemoryIsSaidToBeOne) {
    const Error error = end(-1, SIGKILL, k_facts);
    EXPECT_EQ(error.code, Code::out_of_memory);
    EXPECT_EQ(error.message, "the worker (pid 12) was killed for its memory: it may have 256 MiB, and it had grown by 200 MiB within 1.5 s; give it 512 MiB or more");
    EXPECT_EQ(error.fact("signal"), "9");
    EXPECT_EQ(error.fact("limit"), std::to_string(256 * k_mib));
    EXPECT_EQ(error.fact("limit_of"), "worker");
    EXPECT_EQ(error.fact("peak"), std::to_string(256 * k_mib));
    EXPECT_EQ(error.fact("growth"), std::to_string(200 * k_mib));
    EXPECT_EQ(error.fact("growth_s"), "1.500");
    EXPECT_EQ(error.fact("suggested_memory"), std::to_string(512 * k_mib));
    EXPECT_EQ(error.fact("enforced_by"), "cgroup2");
    EXPECT_NE(error.fact("uptime_s"), "");
    EXPECT_EQ(error.context.back().first, "stderr_tail") << "the longest comes last, so that no other is cut for it";
}

TEST_F(WorkerMemoryTest, SoIsAnExitAfterAChildsKill) {
    const Error error = end(0, 0, k_facts);
    EXPECT_EQ(error.code, Code::out_of_memory);
    EXPECT_TRUE(error.message.starts_with("a process that came from the worker (pid 12) was killed for its memory, and the worker exited with code 0: ")) << error.message;
    EXPECT_EQ(error.fact("exit_code"), "0");
}

TEST_F(WorkerMemoryTest, WhatACallerHasHeardOfIsNoLongerTheReason) {
    worker_.memory = std::make_unique<WorkerMemory>(WorkerMemory{k_facts, std::nullopt, isolate::Growth(worker_.started_at), {}, false, 1, 1, nullptr});
    EXPECT_EQ(end(1, 0, k_facts).code, Code::worker_died);
    MemoryFacts again = k_facts;
    again.kills = 2;
    EXPECT_EQ(end(1, 0, again).code, Code::out_of_memory);
}

TEST_F(WorkerMemoryTest, AnyOtherEndIsADeath) {
    const Error error = end(3, 0);
    EXPECT_EQ(error.code, Code::worker_died);
    EXPECT_EQ(error.message, "the worker (pid 12) exited with code 3");
    EXPECT_EQ(error.fact("peak"), std::to_string(40 * k_mib));
    EXPECT_EQ(error.fact("limit"), "");
    MemoryFacts watched = k_facts;
    watched.kills = 0;
    EXPECT_EQ(end(-1, SIGKILL, watched).code, Code::worker_died);
}

TEST_F(WorkerMemoryTest, SaysWhoseMemoryWasOver) {
    MemoryFacts facts = k_facts;
    facts.growth_bytes = 0;
    facts.is_node_limit = true;
    EXPECT_EQ(memory_words(facts), "the workers of this node may have 256 MiB together; give it 384 MiB or more");
    facts.enforced_by = Enforcer::kernel;
    EXPECT_EQ(memory_words(facts), "what is around this node may have 256 MiB; give it 384 MiB or more");
    facts.limit_bytes = 0;
    EXPECT_EQ(memory_words(facts), "the machine had no memory left; give it 384 MiB or more");
}

TEST(SizeText, IsForPeople) {
    EXPECT_EQ(size_text(0), "0 bytes");
    EXPECT_EQ(size_text(1536), "1.5 KiB");
    EXPECT_EQ(size_text(256 * k_mib), "256 MiB");
    EXPECT_EQ(size_text(std::uint64_t{3} << 40), "3 TiB");
    EXPECT_EQ(size_text(std::uint64_t{3} << 50), "3072 TiB");
}

}  // namespace
}  // namespace rh::daemon
