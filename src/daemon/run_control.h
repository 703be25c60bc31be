#pragma once

// What the node is asked about its runs: the methods `run_..` of "_node" (protocol/node.md). Whoever starts one, waits for one or follows
// its output looks on; the run itself is Runs' business. Owned by the Daemon, on its executor; each call is a coroutine of the Daemon's.

#include <list>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "daemon/caller.h"
#include "daemon/runs.h"

namespace rh::daemon {

class RunControl {
public:
    RunControl(const net::asio::any_io_executor& executor, Runs& runs, Services& services) : executor_(executor), runs_(runs), services_(services) {}

    // Whether that method of "_node" is one of these.
    static bool answers(std::string_view method) { return method.starts_with("run_"); }
    net::asio::awaitable<Outcome> call(std::string method, Body body, Asker asker);

    // That call is no longer wanted, if it waits here.
    void cancel(const Caller& client, std::uint64_t stream);
    void drop_client(const Caller& client);
    // It has room for more output.
    void credit(const Caller& client, std::uint64_t stream, std::uint64_t bytes);

private:
    using Json = nlohmann::json;
    class Onlooker;
    // A run, and the attempt of it that is meant.
    struct Found {
        store::RunHistory history;
        store::AttemptRecord attempt;
    };

    net::asio::awaitable<Outcome> start(const Json& request, const Body& body, Asker asker);
    net::asio::awaitable<Outcome> get(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> dispatch(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> list(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> logs(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> result(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> cancel_run(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> forget(const Json& request, Asker asker);
    net::asio::awaitable<Outcome> import_run(const Json& request, Body body, Asker asker);

    Result<store::Journal::Wanted> wanted_in(const Json& request, const Body& body, const Asker& asker) const;
    // By "name" and "attempt", where whoever asks may know of it.
    net::asio::awaitable<Result<Found>> find(const Json& request, Asker asker);
    std::shared_ptr<RunningAttempt> running(const Found& found) const;
    // Until that attempt has ended and, with `output`, all that it printed from the cursor on was sent to whoever asked; without
    // `wait` only what there is. Output that cannot be read is its failure only where it is what was asked for.
    enum class Output { none, beside, asked_for };
    net::asio::awaitable<Result<void>> look_on(const Found& found, Asker asker, bool wait, Output output, store::LogCursor& cursor);
    net::asio::awaitable<Result<bool>> send_output(const Found& found, Asker asker, Onlooker& onlooker, store::LogCursor& cursor);
    net::asio::awaitable<Outcome> outcome_of(Found found);
    // Until that attempt's end is in its store; why it is not.
    net::asio::awaitable<std::optional<Outcome>> not_kept(const Found& found, Asker asker, bool wait);
    Json description_of(const store::RunHistory& history) const;

    net::asio::any_io_executor executor_;
    Runs& runs_;
    Services& services_;
    std::list<Onlooker*> onlookers_;  // each stands in the coroutine that looks on
};

}  // namespace rh::daemon
