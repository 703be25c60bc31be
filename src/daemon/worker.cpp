#include "daemon/worker.h"

#include <cstring>
#include <fmt/format.h>

#include "base/limits.h"
#include "process/node_folder.h"

namespace rh::daemon {

Error describe_end(const Worker& worker, const process::Exited& exited) {
    std::string how;
    if (exited.signal_number != 0) {
        const char* name = ::sigabbrev_np(exited.signal_number);
        how = fmt::format("was killed by signal {} (SIG{})", exited.signal_number, name != nullptr ? name : "?");
    } else {
        how = fmt::format("exited with code {}", exited.exit_code);
    }
    Error error(Code::worker_died, fmt::format("the worker (pid {}) {}", exited.pid, how));
    error.context.emplace_back("worker", worker.id);
    error.context.emplace_back("pid", std::to_string(exited.pid));
    if (exited.signal_number != 0) {
        error.context.emplace_back("signal", std::to_string(exited.signal_number));
    } else {
        error.context.emplace_back("exit_code", std::to_string(exited.exit_code));
    }
    error.context.emplace_back("peak_memory_kib", std::to_string(exited.peak_memory_kib));
    error.context.emplace_back("stderr_tail", worker.recent_errors + process::file_tail(worker.stderr_path, limits::k_stderr_tail_bytes));
    return error;
}

}  // namespace rh::daemon
