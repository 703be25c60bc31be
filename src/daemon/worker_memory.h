#pragma once

// What the daemon knows of the memory of a worker that is limited, and what its callers are told when that is over. Part of a
// Worker, on the daemon's executor.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "isolate/cgroup.h"
#include "isolate/growth.h"
#include "process/keeper_messages.h"

namespace rh::daemon {

struct WorkerMemory {
    process::MemoryFacts facts;             // who limits it, and to what
    std::optional<isolate::Cgroup> cgroup;  // none where the keeper watches it
    isolate::Growth growth;
    isolate::Clock::time_point look_at;  // when to follow its growth next
    bool suspected = false;              // the kernel was short of memory for it, and has not counted a kill yet
    std::uint32_t kills_seen = 0;        // of processes that came from the worker
    std::uint32_t kills_told = 0;        // of those, the ones that a caller has heard of
    std::shared_ptr<const Error> untold;  // for the call that comes next; shared with the routes that ran meanwhile
};

// What is known, as facts of an error: `limit`, `limit_of`, `peak`, `growth`, `growth_s`, `suggested_memory`, `enforced_by`.
void add_memory_facts(Error& error, const process::MemoryFacts& facts);
// "it may have 256 MiB", and how fast it grew.
std::string memory_words(const process::MemoryFacts& facts);
// "256 MiB", "1.5 GiB": for people.
std::string size_text(std::uint64_t bytes);

}  // namespace rh::daemon
