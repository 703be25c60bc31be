// What callers are told when a process that came from a worker was killed for its memory, and the worker lives (router.h).

#include <fmt/format.h>

#include "base/limits.h"
#include "daemon/router.h"
#include "process/node_folder.h"

namespace rh::daemon {

void Router::note_memory_kill(Worker& worker, std::shared_ptr<const Error> why) {
    bool heard = false;
    for (auto& [stream, route] : worker.routes) {
        if (route.parked || route.result_begun || !matters(route)) continue;
        route.out_of_memory = why;
        heard = true;
    }
    if (!heard) worker.memory->untold = std::move(why);
}

void Router::take_untold(Worker& worker, Route& route) { route.out_of_memory = std::exchange(worker.memory->untold, nullptr); }

// The user's exception stands among the facts, because it says what the code made of it.
Error Router::failed_for_memory(Worker& worker, const Route& route, const std::string& type, const std::string& message, const std::string& traceback) {
    worker.memory->kills_told = worker.memory->kills_seen;
    Error error = *route.out_of_memory;
    if (route.service != nullptr) {
        error.message = fmt::format("\"{}\": {}", route.service->name, error.message);
        error.context.emplace_back("service", route.service->name);
    }
    error.message += fmt::format("; the call raised {}: {:.200}", type, message);
    error.context.emplace_back("started", "yes");
    error.context.emplace_back("type", type);
    error.context.emplace_back("traceback", traceback);
    error.context.emplace_back("stderr_tail", worker.recent_errors + process::file_tail(worker.stderr_path, limits::k_stderr_tail_bytes));
    return error;
}

void Router::tell_of_memory(Worker& worker, Route& route, const rpc::Message& result) {
    const bool raised = result.outcome() == wire::RAISED;
    watch_->before_result(worker, raised);
    if (route.out_of_memory == nullptr || route.client == nullptr) return;
    if (raised) return answer(route, failed_for_memory(worker, route, result.raised().type(), result.raised().message(), result.raised().traceback()));
    worker.memory->kills_told = worker.memory->kills_seen;
    const std::string line = fmt::format("roundhouse: {}\n", route.out_of_memory->message);
    worker.remember_errors(line);
    if (route.followed_bytes + line.size() > limits::k_output_window_bytes) return;
    route.followed_bytes += line.size();
    rpc::Message message;
    message.set_kind(wire::OUTPUT);
    message.set_stream(route.client_stream);
    message.set_channel(wire::STDERR);
    route.client->send(message, as_byte_view(line));
}

}  // namespace rh::daemon
