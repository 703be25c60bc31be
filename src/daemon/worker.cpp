#include "daemon/worker.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>

#include "base/limits.h"
#include "process/node_folder.h"

namespace rh::daemon {

namespace {

// What is known of its memory at its end: what the kernel or the monitor counted, and how it grew, which the daemon follows where the
// kernel limits it.
process::MemoryFacts memory_at_end(const Worker& worker, const process::Exited& exited) {
    process::MemoryFacts facts = exited.memory;
    facts.peak_bytes = std::max(facts.peak_bytes, exited.peak_memory_kib * 1024);
    if (worker.memory != nullptr && facts.growth_ms == 0) {
        const auto rise = worker.memory->growth.until(isolate::Clock::now(), facts.peak_bytes);
        facts.growth_bytes = rise.bytes;
        facts.growth_ms = static_cast<std::uint32_t>(rise.over.count());
    }
    return facts;
}

}  // namespace

void Worker::remember_errors(std::string_view text) {
    recent_errors += text;
    // Cut seldom, so that a worker that prints a lot is not slowed by it.
    constexpr std::size_t k_kept = limits::k_stderr_tail_bytes / 4;
    if (recent_errors.size() > 2 * k_kept) recent_errors.erase(0, recent_errors.size() - k_kept);
}

Error describe_end(const Worker& worker, const process::Exited& exited) {
    std::string how;
    if (exited.signal_number != 0) {
        const char* name = ::sigabbrev_np(exited.signal_number);
        how = fmt::format("was killed by signal {} (SIG{})", exited.signal_number, name != nullptr ? name : "?");
    } else {
        how = fmt::format("exited with code {}", exited.exit_code);
    }
    const process::MemoryFacts memory = memory_at_end(worker, exited);
    const bool out_of_memory = memory.kills > (worker.memory != nullptr ? worker.memory->kills_told : 0);
    Error error(Code::worker_died, fmt::format("the worker (pid {}) {}", exited.pid, how));
    if (out_of_memory) {
        error.code = Code::out_of_memory;
        error.message = exited.signal_number == SIGKILL
                            ? fmt::format("the worker (pid {}) was killed for its memory: {}", exited.pid, memory_words(memory))
                            : fmt::format("a process that came from the worker (pid {}) was killed for its memory, and the worker {}: {}", exited.pid, how, memory_words(memory));
    }
    const auto add = [&](std::string key, std::string value) { error.context.emplace_back(std::move(key), std::move(value)); };
    add("worker", worker.id);
    add("pid", std::to_string(exited.pid));
    if (exited.signal_number != 0) {
        add("signal", std::to_string(exited.signal_number));
    } else {
        add("exit_code", std::to_string(exited.exit_code));
    }
    add("uptime_s", fmt::format("{:.3f}", std::chrono::duration<double>(std::chrono::steady_clock::now() - worker.started_at).count()));
    add("peak_memory_kib", std::to_string(exited.peak_memory_kib));
    add("peak", std::to_string(memory.peak_bytes));
    if (out_of_memory) add_memory_facts(error, memory);
    add("stderr_tail", worker.recent_errors + process::file_tail(worker.stderr_path, limits::k_stderr_tail_bytes));
    return error;
}

}  // namespace rh::daemon
