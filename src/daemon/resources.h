#pragma once

// What this node has to promise to its workers, and who was promised what: CPUs and GPUs by their numbers, memory by its
// size. What one worker was promised no other is; that it takes no more memory, the keeper sees to (keeper/memory_limits.h).
// Owned by the Daemon, on its executor.

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/task_group.h"

namespace rh::daemon {

// What is asked for; zero asks for nothing.
struct Amounts {
    std::uint32_t cpus = 0;
    std::uint32_t gpus = 0;
    std::uint64_t memory_bytes = 0;

    bool any() const { return cpus != 0 || gpus != 0 || memory_bytes != 0; }
};

// What was promised.
struct Allocation {
    std::vector<std::int32_t> cpus;
    std::vector<std::int32_t> gpus;
    std::uint64_t memory_bytes = 0;
};

class Resources {
public:
    // What there is: everything that the machine shows to this process, or as much of it as the variables
    // ROUNDHOUSE_CPUS, ROUNDHOUSE_GPUS and ROUNDHOUSE_MEMORY (bytes) of its environment say.
    static Allocation of_this_node();

    explicit Resources(Allocation all) : all_(std::move(all)), free_(all_) {}

    // Promises as much to that worker; Code::limit_exceeded where there is not so much left, with who has the rest, in the
    // words of `name_of`.
    Result<Allocation> take(const std::string& worker_id, const Amounts& amounts, const std::function<std::string(const std::string&)>& name_of);
    void give_back(const std::string& worker_id);
    // What a daemon before this one has promised.
    void take_again(const std::string& worker_id, const Allocation& allocation);
    // Waits until something was given back, or the deadline.
    net::asio::awaitable<void> wait_for_more(net::asio::any_io_executor executor, std::chrono::steady_clock::time_point deadline);

    const Allocation& all() const { return all_; }
    const Allocation& unused() const { return free_; }

private:
    Error refusal(std::string_view what, std::uint64_t asked, std::uint64_t left, std::uint64_t all, const std::function<std::uint64_t(const Allocation&)>& share,
                  const std::function<std::string(const std::string&)>& name_of) const;

    const Allocation all_;
    Allocation free_;
    std::map<std::string, Allocation> taken_;  // by worker
    std::list<net::Event*> waiting_;
};

}  // namespace rh::daemon
