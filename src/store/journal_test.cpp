#include "store/journal.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include "base/ids.h"

namespace rh::store {
namespace {

namespace fs = std::filesystem;
using How = Journal::Begun::How;
using namespace std::chrono_literals;

// What the journal tells, for a test that asks and waits.
class Told {
public:
    Journal::Post post() {
        return [this](std::function<void()> task) {
            const std::lock_guard lock(mutex_);
            tasks_.push_back(std::move(task));
            ++posts_;
            more_.notify_one();
        };
    }
    // Runs what was told until `done`.
    void run_until(const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + 30s;
        while (!done()) {
            std::function<void()> task;
            {
                std::unique_lock lock(mutex_);
                ASSERT_TRUE(more_.wait_until(lock, deadline, [&] { return !tasks_.empty(); })) << "the journal did not answer";
                task = std::move(tasks_.front());
                tasks_.pop_front();
            }
            task();
        }
    }
    int posts() {
        const std::lock_guard lock(mutex_);
        return posts_;
    }

private:
    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<std::function<void()>> tasks_;
    int posts_ = 0;
};

class JournalTest : public ::testing::Test {
protected:
    JournalTest() { fs::create_directory(folder_); }
    ~JournalTest() override {
        journal_.reset();
        fs::remove_all(folder_);
    }

    void reopen() {
        journal_.reset();
        journal_.emplace(folder_, told_.post());
    }

    template <class T, class Ask>
    Result<T> ask(Ask question) {
        std::optional<Result<T>> answer;
        question(Journal::Done<T>([&](Result<T> result) { answer.emplace(std::move(result)); }));
        told_.run_until([&] { return answer.has_value(); });
        return answer ? std::move(*answer) : fail(Code::internal, "no answer");
    }

    static Journal::Wanted wanted(const std::string& name, const std::string& arguments = "x") {
        Journal::Wanted run;
        run.name = name;
        run.service = "fit";
        run.method = "call";
        run.principal = "uid:1";
        run.code = "py1-3.11:aa";
        run.digest = "py1:" + arguments;
        run.shown = arguments;
        run.arguments = Body::one(Encoding::json, as_byte_view(arguments));
        return run;
    }
    Result<Journal::Begun> begin(Journal::Wanted run) {
        return ask<Journal::Begun>([&](auto done) { journal_->begin(std::move(run), std::move(done)); });
    }
    Result<Journal::Ended> end(const std::string& name, std::int64_t number, RunState state, Outcome outcome, std::uint64_t log_bytes = 0) {
        const auto kept = std::make_shared<const Outcome>(std::move(outcome));
        return ask<Journal::Ended>([&](auto done) { journal_->end(name, number, state, kept, log_bytes, std::move(done)); });
    }
    std::vector<Journal::Unfinished> take_over(bool node_is_new) {
        return ask<std::vector<Journal::Unfinished>>([&](auto done) { journal_->take_over(node_is_new, std::move(done)); }).value_or(std::vector<Journal::Unfinished>());
    }
    Result<RunHistory> look_up(const std::string& name) {
        return ask<RunHistory>([&](auto done) { journal_->look_up(name, std::move(done)); });
    }
    Result<Outcome> result_of(const std::string& name) {
        const Result<RunHistory> history = look_up(name);
        if (!history) return fail(history.error());
        return ask<Outcome>([&](auto done) { journal_->read_result(history->run.id, history->attempts.back(), std::move(done)); });
    }
    static Outcome value(std::string_view text) { return Outcome::returned(Body::one(Encoding::pickle, as_byte_view(text))); }

    // Another program with the file open.
    class Other {
    public:
        explicit Other(const std::string& path) {
            EXPECT_EQ(sqlite3_open(path.c_str(), &database_), SQLITE_OK);
            sqlite3_busy_timeout(database_, 10'000);
        }
        Other(const Other&) = delete;
        Other& operator=(const Other&) = delete;
        ~Other() { sqlite3_close_v2(database_); }
        void run(const std::string& sql) {
            char* why = nullptr;
            EXPECT_EQ(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, &why), SQLITE_OK) << (why != nullptr ? why : "");
            sqlite3_free(why);
        }

    private:
        sqlite3* database_ = nullptr;
    };

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    Told told_;
    std::optional<Journal> journal_{std::in_place, folder_, told_.post()};
};

TEST_F(JournalTest, NothingIsMadeUntilSomethingIsAsked) {
    EXPECT_FALSE(journal_->take_over(false, [](const auto&) { FAIL() << "there is nothing to take over"; }));
    reopen();
    EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(JournalTest, ARunIsWhatItsLastAttemptIs) {
    const auto first = begin(wanted("nightly"));
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->how, How::made);
    EXPECT_EQ(first->attempt.number, 1);
    EXPECT_EQ(begin(wanted("nightly"))->how, How::attached);
    ASSERT_TRUE(end("nightly", 1, RunState::failed, Outcome::failed(Error(Code::worker_died, "it died").with("signal", "9"))));
    const Outcome failed = result_of("nightly").value();
    EXPECT_EQ(failed.error.code, Code::worker_died);
    EXPECT_EQ(failed.error.fact("signal"), "9");
    const auto second = begin(wanted("nightly"));
    EXPECT_EQ(second->how, How::made);
    EXPECT_EQ(second->attempt.number, 2);
    ASSERT_TRUE(end("nightly", 2, RunState::succeeded, value("42")));
    EXPECT_EQ(begin(wanted("nightly"))->how, How::stored);
    const Outcome succeeded = result_of("nightly").value();
    EXPECT_EQ(as_text(succeeded.body.bytes.view()), "42");
    EXPECT_EQ(succeeded.body.encoding, Encoding::pickle);
    ASSERT_EQ(look_up("nightly")->attempts.size(), 2U);
    EXPECT_EQ(look_up("none").error().code, Code::not_found);
}

TEST_F(JournalTest, AUsersExceptionIsKeptWhole) {
    ASSERT_TRUE(begin(wanted("raises")));
    Outcome raised = value("pickled");
    raised.kind = Outcome::Kind::raised;
    raised.raised = {"builtins.ValueError", "no \xff", "Traceback"};
    ASSERT_TRUE(end("raises", 1, RunState::failed, std::move(raised)));
    const Outcome kept = result_of("raises").value();
    EXPECT_EQ(kept.kind, Outcome::Kind::raised);
    EXPECT_EQ(kept.raised.type, "builtins.ValueError");
    EXPECT_EQ(as_text(kept.body.bytes.view()), "pickled");
}

TEST_F(JournalTest, WhatDiffersIsNamed) {
    ASSERT_TRUE(begin(wanted("run", "old")));
    const auto arguments = begin(wanted("run", "new"));
    ASSERT_FALSE(arguments);
    EXPECT_EQ(arguments.error().code, Code::run_conflict);
    EXPECT_EQ(arguments.error().fact("old"), "(old)");
    EXPECT_EQ(arguments.error().fact("new"), "(new)");
    Journal::Wanted code = wanted("run", "old");
    code.code = "py1-3.11:bb";
    EXPECT_EQ(begin(std::move(code)).error().fact("differs"), "other code");
    Journal::Wanted accepted = wanted("run", "old");
    accepted.code = "py1-3.11:bb";
    accepted.accept_old_code = true;
    EXPECT_EQ(begin(std::move(accepted))->how, How::attached);
    // What was computed in another way tells nothing.
    Journal::Wanted elsewhere = wanted("run", "old");
    elsewhere.code = "py1-3.12:cc";
    elsewhere.digest = "json:dd";
    EXPECT_EQ(begin(std::move(elsewhere))->how, How::attached);
    Journal::Wanted anew = wanted("run", "new");
    anew.replace = true;
    EXPECT_EQ(begin(std::move(anew))->how, How::busy);
    Journal::Wanted other = wanted("run", "old");
    other.method = "score";
    EXPECT_EQ(begin(std::move(other)).error().fact("differs"), "another callable");
}

TEST_F(JournalTest, WhatRanWithADaemonBeforeIsFoundAndWithANodeBeforeIsLost) {
    ASSERT_TRUE(begin(wanted("quiet")));
    const auto talks = begin(wanted("talks"));
    journal_->append_log(talks->run.id, 1, Channel::out, 0, Bytes(as_byte_view("hello\n")), {7, {0, 40}}, [](const Result<bool>&) {});
    ASSERT_TRUE(begin(wanted("done")));
    ASSERT_TRUE(end("done", 1, RunState::succeeded, value("kept")));
    reopen();
    // Another daemon of the same node finds them.
    const auto unfinished = take_over(false);
    ASSERT_EQ(unfinished.size(), 2U);
    for (const Journal::Unfinished& each : unfinished) {
        const bool printed = each.run.name == "talks";
        EXPECT_EQ(each.attempt.number, 1);
        EXPECT_EQ(each.log.offset, printed ? 6U : 0U);
        EXPECT_EQ(each.log.place.number, printed ? 7U : 0U);
        EXPECT_EQ(each.log.place.file_offsets[1], printed ? 40U : 0U);
    }
    EXPECT_EQ(begin(wanted("quiet"))->how, How::attached);
    reopen();
    EXPECT_TRUE(take_over(true).empty());
    EXPECT_EQ(look_up("quiet")->attempts.back().state, RunState::lost);
    EXPECT_EQ(result_of("quiet")->error.code, Code::node_lost);
    EXPECT_EQ(result_of("quiet")->error.fact("started"), "unknown");
    EXPECT_EQ(result_of("talks")->error.fact("started"), "yes");
    EXPECT_EQ(as_text(result_of("done")->body.bytes.view()), "kept");
    EXPECT_EQ(begin(wanted("quiet"))->attempt.number, 2);
}

TEST_F(JournalTest, AnEndAndTheRunThatTellsItsWebhookAreStoredTogether) {
    Journal::Wanted told = wanted("nightly");
    told.webhook = "https://example.com/done";
    ASSERT_TRUE(begin(std::move(told)));
    const auto ended = end("nightly", 1, RunState::failed, Outcome::failed(Error(Code::out_of_memory, "it was too large")));
    ASSERT_TRUE(ended);
    ASSERT_TRUE(ended->delivery);
    EXPECT_EQ(ended->delivery->begun.run.name, "nightly.webhook-1");
    EXPECT_EQ(ended->delivery->begun.run.service, k_webhook_service);
    const auto arguments = nlohmann::json::parse(as_text(ended->delivery->arguments.bytes.view()));
    EXPECT_EQ(arguments["kwargs"]["url"], "https://example.com/done");
    EXPECT_EQ(arguments["kwargs"]["payload"]["state"], "failed");
    EXPECT_EQ(arguments["kwargs"]["payload"]["error"]["type"], "OutOfMemory");
    // Should the daemon die now, the next one finds it.
    reopen();
    const auto unfinished = take_over(false);
    ASSERT_EQ(unfinished.size(), 1U);
    EXPECT_EQ(unfinished[0].run.name, "nightly.webhook-1");
    EXPECT_TRUE(unfinished[0].run.webhook.empty());
}

TEST_F(JournalTest, WhatWaitsIsCommittedTogether) {
    ASSERT_TRUE(begin(wanted("first")));
    Other other(folder_ + "/runs.db");
    other.run("BEGIN IMMEDIATE");
    const int before = told_.posts();
    constexpr int k_runs = 200;
    int made = 0;
    for (int i = 0; i < k_runs; ++i) journal_->begin(wanted("run-" + std::to_string(i)), [&](Result<Journal::Begun> begun) { made += begun && begun->how == How::made ? 1 : 0; });
    EXPECT_EQ(told_.posts(), before);
    other.run("ROLLBACK");
    told_.run_until([&] { return made == k_runs; });
    // Whatever the thread had taken before the others came, and the others.
    EXPECT_LE(told_.posts() - before, 3);
}

TEST_F(JournalTest, BeyondItsQueueItRefuses) {
    ASSERT_TRUE(begin(wanted("first")));
    journal_.reset();
    journal_.emplace(folder_, told_.post(), 4);
    ASSERT_TRUE(look_up("first"));
    Other other(folder_ + "/runs.db");
    other.run("BEGIN IMMEDIATE");
    int refused = 0;
    int made = 0;
    for (int i = 0; i < 20; ++i) {
        journal_->begin(wanted("run-" + std::to_string(i)), [&](Result<Journal::Begun> begun) {
            ++(begun ? made : refused);
            if (!begun) {
                EXPECT_EQ(begun.error().code, Code::limit_exceeded);
            }
        });
    }
    told_.run_until([&] { return refused >= 11; });
    other.run("ROLLBACK");
    told_.run_until([&] { return made + refused == 20; });
    EXPECT_GE(made, 4);
}

TEST_F(JournalTest, OneThatIsRefusedLeavesTheOthers) {
    ASSERT_TRUE(begin(wanted("first")));
    // Where a folder for large bodies should be there is a file.
    std::ofstream(folder_ + "/runs") << "in the way";
    Other other(folder_ + "/runs.db");
    other.run("BEGIN IMMEDIATE");
    std::vector<bool> made;
    for (const std::string& name : {std::string("before"), std::string("large"), std::string("after")}) {
        const std::string arguments(name == "large" ? limits::k_run_body_bytes_inline + 1 : 10, 'a');
        journal_->begin(wanted(name, arguments), [&](const Result<Journal::Begun>& begun) { made.push_back(begun.has_value()); });
    }
    other.run("ROLLBACK");
    told_.run_until([&] { return made.size() == 3; });
    EXPECT_EQ(made, (std::vector<bool>{true, false, true}));
    EXPECT_EQ(look_up("large").error().code, Code::not_found);
    EXPECT_TRUE(look_up("after"));
}

TEST_F(JournalTest, AFlippedBitIsFoundAndTheRestIsReadable) {
    for (const char* name : {"run", "attempt", "result", "file", "sound"}) {
        ASSERT_TRUE(begin(wanted(name)));
        ASSERT_TRUE(end(name, 1, RunState::succeeded, value(name == std::string("file") ? std::string(limits::k_run_body_bytes_inline + 1, 'f') : std::string(name))));
    }
    {
        Other other(folder_ + "/runs.db");
        other.run("UPDATE runs SET keep_s = keep_s + 1 WHERE name = 'run'");
        other.run("UPDATE attempts SET state = 4 WHERE run = (SELECT id FROM runs WHERE name = 'attempt')");
        other.run("UPDATE bodies SET bytes = CAST('resulu' AS BLOB) WHERE kind = 2 AND run = (SELECT id FROM runs WHERE name = 'result')");
    }
    const std::string id = look_up("file")->run.id;
    std::fstream file(folder_ + "/runs/" + id + "-1.result", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000);
    file.put('g');
    file.close();
    for (const char* name : {"run", "attempt", "result", "file"}) {
        const Result<Outcome> damaged = result_of(name);
        ASSERT_FALSE(damaged) << name;
        EXPECT_EQ(damaged.error().code, Code::damaged) << name;
    }
    EXPECT_EQ(begin(wanted("attempt")).error().code, Code::damaged);
    EXPECT_EQ(as_text(result_of("sound")->body.bytes.view()), "sound");
    const auto listed = ask<std::vector<Journal::Listed>>([&](auto done) { journal_->list(10, std::move(done)); });
    ASSERT_EQ(listed->size(), 5U);
    EXPECT_EQ(std::count_if(listed->begin(), listed->end(), [](const auto& each) { return each.history.has_value(); }), 3);
    EXPECT_TRUE(ask<bool>([&](auto done) { journal_->forget("run", std::move(done)); }));
    EXPECT_EQ(begin(wanted("run"))->how, How::made);
}

TEST_F(JournalTest, ARunWithAStoreIsKeptByAnother) {
    Journal::Wanted stored = wanted("kept");
    stored.store = "/shared/runs";
    const auto begun = begin(std::move(stored));
    ASSERT_TRUE(begun && begun->keeping);
    EXPECT_EQ(begun->keeping->begun.run.name, "kept.store-1");
    EXPECT_EQ(begun->keeping->begun.how, How::made);
    EXPECT_EQ(as_text(begun->keeping->arguments.bytes.view()), R"({"kwargs":{"attempt":1,"name":"kept","step":"keep","store":"/shared/runs"}})");
    ASSERT_TRUE(end("kept", 1, RunState::succeeded, value("v")));
    // Where that has failed, whoever asks again has it done again.
    ASSERT_TRUE(end("kept.store-1", 1, RunState::failed, Outcome::failed(Error(Code::io, "no room"))));
    stored = wanted("kept");
    stored.store = "/shared/runs";
    const auto again = begin(std::move(stored));
    ASSERT_TRUE(again && again->keeping);
    EXPECT_EQ(again->how, How::stored);
    EXPECT_EQ(again->keeping->begun.how, How::made);
    EXPECT_EQ(again->keeping->begun.attempt.number, 2);
    // One attempt is kept in one place.
    stored = wanted("kept");
    stored.store = "/elsewhere";
    EXPECT_EQ(begin(std::move(stored)).error().code, Code::run_conflict);
    // Nobody who asks without a store changes that, and what never was asked to be kept is not.
    EXPECT_FALSE(begin(wanted("kept"))->keeping);
    EXPECT_EQ(look_up("kept")->run.store, "/shared/runs");
}

TEST_F(JournalTest, WhatAnotherClusterTellsIsTakenOver) {
    const auto told = [&](std::int64_t number, RunState state, const std::string& origin, std::string_view result = {}) {
        Journal::Imported imported;
        imported.run.name = "away";
        imported.run.service = "fit";
        imported.run.method = "call";
        AttemptRecord attempt;
        attempt.number = number;
        attempt.state = state;
        attempt.origin = origin;
        imported.attempts.push_back(attempt);
        imported.from = Body::one(Encoding::pickle, as_byte_view(result));
        if (!result.empty()) {
            imported.bodies.emplace_back(BodyKind::result, BodyView{Encoding::pickle, imported.from.part_bytes, imported.from.bytes.view()});
            imported.output.push_back({7, Channel::err, "printed"});
        }
        return ask<AttemptRecord>([&](auto done) { journal_->import(std::move(imported), std::move(done)); });
    };
    ASSERT_TRUE(told(1, RunState::running, "A"));
    // While it runs there it is nobody else's: not to run here, not to be claimed, and not lost with this node.
    EXPECT_EQ(begin(wanted("away")).error().code, Code::run_conflict);
    EXPECT_EQ(told(1, RunState::running, "B").error().code, Code::run_conflict);
    EXPECT_EQ(told(2, RunState::running, "B").error().code, Code::run_conflict);
    reopen();
    EXPECT_TRUE(take_over(true).empty());
    EXPECT_TRUE(look_up("away")->attempts.back().is_away());
    EXPECT_EQ(told(1, RunState::succeeded, "A", "the value")->state, RunState::succeeded);
    EXPECT_EQ(as_text(result_of("away")->body.bytes.view()), "the value");
    const auto history = look_up("away");
    const auto log = ask<LogRead>([&](auto done) { journal_->read_log(history->run.id, 1, {}, 100, std::move(done)); });
    ASSERT_TRUE(log && log->pieces.size() == 1);
    EXPECT_EQ(log->pieces.front().text, "printed");
    EXPECT_EQ(log->next.offset, 14U);
    // It has one end, whoever tells of another; here it is a run like any.
    EXPECT_EQ(told(1, RunState::lost, "A")->state, RunState::succeeded);
    Journal::Wanted same = wanted("away");
    same.store = "/shared/runs";
    const auto found = begin(std::move(same));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->how, How::stored);
    EXPECT_FALSE(found->keeping);
    // What runs here is not another cluster's to tell of.
    Journal::Wanted anew = wanted("away");
    anew.replace = true;
    ASSERT_EQ(begin(std::move(anew))->attempt.number, 2);
    EXPECT_EQ(told(2, RunState::lost, "A").error().code, Code::run_conflict);
}

TEST_F(JournalTest, OldOnesAndLargeOnesGo) {
    Journal::Wanted brief = wanted("brief");
    brief.keep_s = 100;
    ASSERT_TRUE(begin(std::move(brief)));
    ASSERT_TRUE(end("brief", 1, RunState::succeeded, value("v")));
    Journal::Wanted running = wanted("running");
    running.keep_s = 1;
    ASSERT_TRUE(begin(std::move(running)));
    for (int attempt = 1; attempt <= 3; ++attempt) {
        Journal::Wanted small = wanted("small");
        small.keep_bytes = 150;
        small.replace = true;
        ASSERT_TRUE(begin(std::move(small)));
        ASSERT_TRUE(end("small", attempt, RunState::succeeded, value(std::string(100, 's'))));
    }
    const std::int64_t ended_ms = look_up("brief")->attempts.back().ended_ms;
    const auto prune = [&](std::int64_t now_ms, std::int64_t bytes_max) {
        return ask<bool>([&](auto done) { journal_->prune(now_ms, bytes_max, std::move(done)); });
    };
    ASSERT_TRUE(prune(ended_ms + 99'000, 1'000'000));
    EXPECT_TRUE(look_up("brief"));
    ASSERT_EQ(look_up("small")->attempts.size(), 1U);
    EXPECT_EQ(look_up("small")->attempts.back().number, 3);
    ASSERT_TRUE(prune(ended_ms + 101'000, 1'000'000));
    EXPECT_EQ(look_up("brief").error().code, Code::not_found);
    ASSERT_TRUE(prune(ended_ms, 0));
    EXPECT_EQ(look_up("small").error().code, Code::not_found);
    EXPECT_TRUE(look_up("running"));
}

}  // namespace
}  // namespace rh::store
