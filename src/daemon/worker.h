#pragma once

// One worker process as the daemon sees it, and the calls that are on their way through it. Shared by the table of
// workers, by the services in it and by coroutines that wait for it. On the daemon's executor; it ends when the keeper
// says that the process did.

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/body.h"
#include "daemon/resources.h"
#include "daemon/service.h"
#include "daemon/worker_memory.h"
#include "net/task_group.h"
#include "process/keeper_messages.h"
#include "wire/frame.h"

namespace rh::daemon {

class Caller;
class Connection;
class Worker;

// How a deployer wants its workers started; kept so that another can take a dead one's place.
struct Launch {
    std::vector<std::string> argv;
    std::vector<std::string> env;
    std::string cwd;
    Amounts amounts;  // for each
    std::optional<std::vector<std::string>> import_path = {};  // of one that may be forked from a fork server
};

// What a worker is started with that may be forked instead: from an interpreter that has imported what such workers import.
struct Forkable {
    std::vector<std::string> argv;
    std::vector<std::string> env;
    std::string cwd;
    std::vector<std::string> import_path;

    // Without the arguments: an interpreter and what it runs, which is a file or, behind -m, a module.
    std::vector<std::string> program() const {
        const std::ptrdiff_t words = argv.size() > 1 && argv[1] == "-m" ? 3 : 2;
        return {argv.begin(), argv.begin() + std::min(words, std::ssize(argv))};
    }
};

// Where the result of a call that the daemon itself makes arrives.
struct Reply {
    explicit Reply(const net::asio::any_io_executor& executor) : arrived(executor) {}
    net::Event arrived;
    std::shared_ptr<net::Event> bell;  // rung then as well: shared by those that one coroutine waits for; may be null
    Outcome outcome;
    bool released = false;  // whoever asked was answered already, because the call did not end
};

// The calls of the daemon's own that it makes of several workers for one client's stream. They print there together, and its
// cancel reaches all. Shared by their routes; one that has ended is not among them.
struct Siblings {
    std::vector<std::pair<Worker*, std::uint64_t>> routes;
};

// One call on its way through a worker: from a client's stream, or from the daemon itself (`reply`), which may do it on
// behalf of a client's stream (output and cancel then belong to that).
struct Route {
    Caller* client = nullptr;  // null once it is gone, and for calls of the daemon's own
    std::uint64_t client_stream = 0;
    std::shared_ptr<Service> service;
    std::shared_ptr<Reply> reply;
    std::shared_ptr<Siblings> siblings;  // null where it is the only one for its stream
    std::uint64_t call_bytes_left = 0;    // of the body that is still to come from the client
    std::uint64_t result_bytes_left = 0;  // and from the worker
    bool sends_items = false;  // the client's open body is an item's, so the call itself was whole
    bool result_begun = false;
    bool has_begun = false;  // known for sure; what is not may still stand in the worker's marks
    bool kill = false;       // the worker may be ended for its sake
    bool expired = false;    // its deadline has passed
    bool cancelled = false;  // the worker was asked to stop it
    bool parked = false;     // the worker has not been told of it yet
    bool resuming = false;   // its client has come back: what the worker sends counts again once it says so
    bool restored = false;   // a daemon before this one let it in, and its client has not come back yet
    std::chrono::steady_clock::time_point deadline{};  // of a restored one; the epoch: none
    // A process that came from the worker was killed for its memory while the call ran; shared with the other calls there.
    std::shared_ptr<const Error> out_of_memory;
    // When its deadline or the grace of its cancel is over (deadlines.h); the epoch: never.
    std::chrono::steady_clock::time_point due{};
    std::uint64_t followed_bytes = 0;  // sent from the worker's files and not yet granted back by the client
    std::uint64_t printed_bytes = 0;   // the same of what the worker printed; counted where there are siblings only
};

// What came for a worker that cannot take it yet, in order.
struct Parking {
    struct Parked {
        wire::Message message;  // with the route's own stream
        Bytes body;
    };
    std::deque<Parked> messages;
    std::size_t calls = 0;
    std::unordered_map<std::uint64_t, std::size_t> bytes;  // by stream
};

class Worker {
public:
    Worker(const net::asio::any_io_executor& executor, std::string id_in) : id(std::move(id_in)), ready(executor), ended(executor) {}

    const std::string id;
    std::int32_t pid = 0;
    std::string language;
    std::string stderr_path;
    std::string stdout_path;
    std::string begun_path;     // where it marks which calls have begun (shm/begun.h)
    std::string recent_errors;  // the last that its calls printed to stderr, which never reached the file
    const std::chrono::steady_clock::time_point started_at = std::chrono::steady_clock::now();
    Connection* connection = nullptr;  // null before its hello and after its end
    net::Event ready;                  // it said hello, or it ended
    net::Event ended;
    std::string process;               // the named process that has it, until that is killed
    std::shared_ptr<const Launch> launch;  // shared with its successors
    std::shared_ptr<const Forkable> forkable;  // null where it may not be forked; shared with whoever learns from it
    bool teaches = false;              // it is being asked what it has imported
    Allocation allocation;
    std::set<std::string, std::less<>> snapshots;  // of code that was loaded here: what lives here may import from them
    bool announces = false;            // it runs calls that a daemon before this one let in, and is about to tell which
    std::unique_ptr<WorkerMemory> memory;  // null where nobody limits it
    bool retired = false;              // nothing lives in it any more: it ends with its last call
    bool stopping = false;             // the daemon asked it to end
    std::uint64_t killed_for = 0;      // the stream for whose sake it is being ended
    std::string killed_because;        // as the others in there are told
    std::optional<Error> end;          // how it ended, as its callers are told
    std::unique_ptr<Parking> parking;  // while calls wait for it, or for its successor
    std::unordered_map<std::uint64_t, Route> routes;
    std::uint64_t next_stream = 1;
    std::uint64_t next_look = 0;  // the stream before which its marks are read, so that those of long calls are not overwritten

    void remember_errors(std::string_view text);
    bool takes_calls() const { return connection != nullptr || parking != nullptr; }
};

// What callers are told of a worker that ended, with the kernel's evidence and the last of its stderr.
Error describe_end(const Worker& worker, const process::Exited& exited);

}  // namespace rh::daemon
