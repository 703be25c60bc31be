#pragma once

// The code that was synced to this node: the methods `code_..` of "_node" (protocol/node.md). What they keep is a sync::CodeFolder in
// the state folder; a thread of its own does all that waits for the disk, and ends with the destructor. Owned by the Daemon, on its
// executor; each call is a coroutine of the Daemon's.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "base/limits.h"
#include "daemon/caller.h"
#include "daemon/runs.h"
#include "sync/code_folder.h"

namespace rh::daemon {

inline std::string code_folder(const std::string& state_folder) { return state_folder + "/code"; }

class CodeControl {
public:
    using Snapshots = std::set<std::string, std::less<>>;

    // `in_use` are the snapshots of what lives on this node.
    CodeControl(const net::asio::any_io_executor& executor, const std::string& state_folder, Runs& runs, net::TaskGroup& tasks, std::function<Snapshots()> in_use);
    // What was asked for is not done any more, but what is being done is.
    ~CodeControl();
    CodeControl(const CodeControl&) = delete;
    CodeControl& operator=(const CodeControl&) = delete;

    // Whether that method of "_node" is one of these.
    static bool answers(std::string_view method) { return method.starts_with("code_"); }
    net::asio::awaitable<Outcome> call(std::string method, Body body, Asker asker);
    // Code::not_found where that snapshot is not here (any more). One that is stays, as soon as it is among those in use.
    Result<void> check_here(const std::string& id) const;

private:
    using Json = nlohmann::json;
    using Folder = sync::CodeFolder;
    // Shared by the coroutine, which may be cancelled, and the thread.
    struct Sent;
    // Shared by the coroutine that waits and the thread.
    template <class T>
    struct Answer {
        explicit Answer(const net::asio::any_io_executor& executor) : arrived(executor) {}
        net::Event arrived;
        Result<T> result = fail(Code::internal, "it was not done");
    };

    net::asio::awaitable<Outcome> offer(const Json& request);
    net::asio::awaitable<Outcome> take_manifest(std::shared_ptr<const Sent> sent);
    net::asio::awaitable<Outcome> take_files(std::shared_ptr<const Sent> sent);
    net::asio::awaitable<Outcome> commit(const Json& request);
    net::asio::awaitable<Outcome> fetch(const Json& request);
    net::asio::awaitable<void> collect();
    net::asio::awaitable<std::optional<Snapshots>> needed();
    void note(const std::string& project, const std::string& id);
    std::optional<std::string> spare_of(const std::string& project, const Snapshots& needed) const;

    // What `work` gives, done on the thread; Code::limit_exceeded at once when too much waits for it.
    template <class T>
    std::shared_ptr<Answer<T>> on_disk(std::function<Result<T>(Folder&)> work);
    bool add(std::function<void()> task);
    void work();

    net::asio::any_io_executor executor_;
    Runs& runs_;
    net::TaskGroup& tasks_;
    const std::function<Snapshots()> in_use_;
    // Of each project, those that were asked for, the last one last; and what is about to become another one.
    std::map<std::string, std::deque<std::string>> asked_for_;
    Snapshots leaving_;

    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<std::function<void()>> queue_;  // guarded, as the next
    bool stopping_ = false;

    const std::string path_;
    Folder folder_;  // the thread's own
    std::thread thread_;
};

}  // namespace rh::daemon
