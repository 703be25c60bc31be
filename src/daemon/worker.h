#pragma once

// One worker process as the daemon sees it, and the calls that are on their way through it. Shared by the table of
// workers, by the services in it and by coroutines that wait for it. On the daemon's executor; it ends when the keeper
// says that the process did.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/body.h"
#include "daemon/service.h"
#include "net/task_group.h"
#include "process/keeper_messages.h"

namespace rh::daemon {

class Connection;

// Where the result of a call that the daemon itself makes arrives.
struct Reply {
    explicit Reply(const net::asio::any_io_executor& executor) : arrived(executor) {}
    net::Event arrived;
    Outcome outcome;
};

// One call on its way through a worker: from a client's stream, or from the daemon itself (`reply`), which may do it on
// behalf of a client's stream (output and cancel then belong to that).
struct Route {
    Connection* client = nullptr;  // null once it is gone, and for calls of the daemon's own
    std::uint64_t client_stream = 0;
    std::shared_ptr<Service> service;
    std::shared_ptr<Reply> reply;
    std::uint64_t call_bytes_left = 0;    // of the body that is still to come from the client
    std::uint64_t result_bytes_left = 0;  // and from the worker
    bool result_begun = false;
    bool has_printed = false;
    std::uint64_t followed_bytes = 0;  // sent from the worker's files and not yet granted back by the client
};

class Worker {
public:
    Worker(const net::asio::any_io_executor& executor, std::string id_in) : id(std::move(id_in)), ready(executor), ended(executor) {}

    const std::string id;
    std::int32_t pid = 0;
    std::string language;
    std::string stderr_path;
    std::string stdout_path;
    std::string recent_errors;  // the last that its calls printed to stderr, which never reached the file
    const std::chrono::steady_clock::time_point started_at = std::chrono::steady_clock::now();
    Connection* connection = nullptr;  // null before its hello and after its end
    net::Event ready;                  // it said hello, or it ended
    net::Event ended;
    bool retired = false;              // nothing lives in it any more: it ends with its last call
    bool stopping = false;             // the daemon asked it to end
    std::optional<Error> end;          // how it ended, as its callers are told
    std::unordered_map<std::uint64_t, Route> routes;
    std::uint64_t next_stream = 1;
};

// What callers are told of a worker that ended, with the kernel's evidence and the last of its stderr.
Error describe_end(const Worker& worker, const process::Exited& exited);

}  // namespace rh::daemon
