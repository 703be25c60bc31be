#include "worker/stacks.h"

#include <algorithm>
#include <csignal>
#include <future>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/syscall.h>
#include <unistd.h>

namespace rh::worker {
namespace {

// A thread that waits until it is told.
class Waiting {
public:
    Waiting(std::uint64_t call, bool deaf) : thread_([this, call, deaf] {
        mark_running(call);
        if (deaf) {
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        }
        begun_.set_value(static_cast<std::uint64_t>(::syscall(SYS_gettid)));
        told_.get_future().wait();
    }) {}
    ~Waiting() {
        told_.set_value();
        thread_.join();
    }

    NativeStack stack() {
        if (id_ == 0) id_ = begun_.get_future().get();
        for (NativeStack& found : native_stacks()) {
            if (found.thread == id_) return std::move(found);
        }
        return {};
    }

private:
    std::promise<std::uint64_t> begun_;
    std::promise<void> told_;
    std::uint64_t id_ = 0;
    std::thread thread_;
};

TEST(Stacks, OfAThreadThatRunsACall) {
    Waiting waiting(7, false);
    // Twice: its first answer has changed nothing.
    for (int i = 0; i < 2; ++i) {
        const NativeStack stack = waiting.stack();
        EXPECT_EQ(stack.call, 7u);
        EXPECT_NE(stack.frames.find("Waiting::Waiting"), std::string::npos) << stack.frames;
        EXPECT_EQ(stack.frames.find("on_question"), std::string::npos) << stack.frames;
    }
}

TEST(Stacks, AThreadThatTakesNoSignalsHoldsUpNobody) {
    Waiting deaf(8, true), other(9, false);
    for (int i = 0; i < 2; ++i) {
        const NativeStack stack = deaf.stack();
        EXPECT_NE(stack.thread, 0u);
        EXPECT_EQ(stack.frames, "");
        EXPECT_EQ(other.stack().call, 9u);
    }
}

TEST(StackTeller, TellsWhatTheLanguageSaysBesides) {
    std::promise<std::pair<std::uint64_t, Outcome>> answered;
    StackTeller teller([] { return R"({"tasks": []})"; }, [&](std::uint64_t id, Outcome outcome) { answered.set_value({id, std::move(outcome)}); });
    Waiting waiting(3, false);
    waiting.stack();
    teller.ask(5);
    const auto [id, outcome] = answered.get_future().get();
    EXPECT_EQ(id, 5u);
    const auto told = nlohmann::json::parse(as_text(outcome.body.parts().front()));
    EXPECT_TRUE(told["tasks"].empty());
    EXPECT_TRUE(std::any_of(told["native"].begin(), told["native"].end(), [](const auto& stack) { return stack["call"] == 3; }));
}

}  // namespace
}  // namespace rh::worker
