#include "daemon/resources.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>

namespace rh::daemon {

namespace {

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::optional<std::uint64_t> variable(const char* name) {
    const char* const text = std::getenv(name);
    return text == nullptr ? std::nullopt : number_of(text);
}

std::vector<std::int32_t> cpus_here() {
    // Larger than any machine's, so that a kernel with more CPUs than cpu_set_t holds is not refused.
    constexpr int k_cpus_max = 8192;
    std::vector<std::int32_t> found;
    cpu_set_t* const set = CPU_ALLOC(k_cpus_max);
    const std::size_t bytes = CPU_ALLOC_SIZE(k_cpus_max);
    if (set != nullptr && ::sched_getaffinity(0, bytes, set) == 0) {
        for (int cpu = 0; cpu < k_cpus_max; ++cpu) {
            if (CPU_ISSET_S(cpu, bytes, set)) found.push_back(cpu);
        }
    }
    CPU_FREE(set);
    return found;
}

std::vector<std::int32_t> gpus_here() {
    std::vector<std::int32_t> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/dev", ignored)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with("nvidia")) continue;
        if (const auto number = number_of(std::string_view(name).substr(6))) found.push_back(static_cast<std::int32_t>(*number));
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::uint64_t memory_here() {
    std::ifstream file("/proc/meminfo");
    std::string key;
    for (std::uint64_t kib = 0; file >> key >> kib; file.ignore(64, '\n')) {
        if (key == "MemTotal:") return kib * 1024;
    }
    return 0;
}

std::vector<std::int32_t> first_of(const std::vector<std::int32_t>& from, std::size_t count) {
    return {from.begin(), from.begin() + static_cast<std::ptrdiff_t>(std::min(count, from.size()))};
}

// Moves that many out of `from`, from its front.
std::vector<std::int32_t> move_out(std::vector<std::int32_t>& from, std::size_t count) {
    std::vector<std::int32_t> taken = first_of(from, count);
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(taken.size()));
    return taken;
}

void move_back(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& taken) {
    to.insert(to.end(), taken.begin(), taken.end());
    std::sort(to.begin(), to.end());
}

}  // namespace

Allocation Resources::of_this_node() {
    constexpr std::uint64_t k_gpus_max = 1024;
    Allocation all{cpus_here(), gpus_here(), memory_here()};
    if (const auto cpus = variable("ROUNDHOUSE_CPUS")) all.cpus = first_of(all.cpus, *cpus);
    if (const auto gpus = variable("ROUNDHOUSE_GPUS")) {
        // Whoever says how many there are knows better than /dev: they may be hidden from this process, or of another make.
        for (std::uint64_t next = all.gpus.size(); next < std::min(*gpus, k_gpus_max); ++next) all.gpus.push_back(static_cast<std::int32_t>(next));
        all.gpus = first_of(all.gpus, *gpus);
    }
    if (const auto memory = variable("ROUNDHOUSE_MEMORY")) all.memory_bytes = *memory;
    return all;
}

Result<Allocation> Resources::take(const std::string& worker_id, const Amounts& amounts, const std::function<std::string(const std::string&)>& name_of) {
    if (amounts.cpus > free_.cpus.size())
        return fail(refusal("CPUs", amounts.cpus, free_.cpus.size(), all_.cpus.size(), [](const Allocation& each) { return each.cpus.size(); }, name_of));
    if (amounts.gpus > free_.gpus.size())
        return fail(refusal("GPUs", amounts.gpus, free_.gpus.size(), all_.gpus.size(), [](const Allocation& each) { return each.gpus.size(); }, name_of));
    if (amounts.memory_bytes > free_.memory_bytes)
        return fail(refusal("bytes of memory", amounts.memory_bytes, free_.memory_bytes, all_.memory_bytes, [](const Allocation& each) { return each.memory_bytes; }, name_of));
    if (!amounts.any()) return Allocation();
    Allocation taken;
    taken.cpus = move_out(free_.cpus, amounts.cpus);
    taken.gpus = move_out(free_.gpus, amounts.gpus);
    taken.memory_bytes = amounts.memory_bytes;
    free_.memory_bytes -= amounts.memory_bytes;
    taken_[worker_id] = taken;
    return taken;
}

void Resources::take_again(const std::string& worker_id, const Allocation& allocation) {
    const auto take_out = [](std::vector<std::int32_t>& from, const std::vector<std::int32_t>& taken) {
        std::erase_if(from, [&](std::int32_t each) { return std::find(taken.begin(), taken.end(), each) != taken.end(); });
    };
    take_out(free_.cpus, allocation.cpus);
    take_out(free_.gpus, allocation.gpus);
    free_.memory_bytes -= std::min(free_.memory_bytes, allocation.memory_bytes);
    taken_[worker_id] = allocation;
}

Error Resources::refusal(std::string_view what, std::uint64_t asked, std::uint64_t left, std::uint64_t all, const std::function<std::uint64_t(const Allocation&)>& share,
                         const std::function<std::string(const std::string&)>& name_of) const {
    if (asked > all)
        return Error(Code::limit_exceeded, fmt::format("{} {} were asked for, and this node has {}: ask for less, or launch a larger one", asked, what, all)).with("started", "no");
    std::string holders;
    for (const auto& [worker, taken] : taken_) {
        if (share(taken) != 0) holders += fmt::format("{}{} has {}", holders.empty() ? "" : ", ", name_of(worker), share(taken));
    }
    return Error(Code::limit_exceeded, fmt::format("{} {} were asked for, and {} of this node's {} are left ({}): delete what is not needed", asked, what, left, all, holders))
        .with("started", "no");
}

void Resources::give_back(const std::string& worker_id) {
    const auto found = taken_.find(worker_id);
    if (found == taken_.end()) return;
    move_back(free_.cpus, found->second.cpus);
    move_back(free_.gpus, found->second.gpus);
    free_.memory_bytes += found->second.memory_bytes;
    taken_.erase(found);
    for (net::Event* const waiting : waiting_) waiting->set();
}

net::asio::awaitable<void> Resources::wait_for_more(net::asio::any_io_executor executor, std::chrono::steady_clock::time_point deadline) {
    net::Event more(executor);
    // Removed again whatever ends the wait, the end of the daemon included.
    struct Place {
        std::list<net::Event*>& list;
        std::list<net::Event*>::iterator at;
        ~Place() { list.erase(at); }
    };
    const Place place{waiting_, waiting_.insert(waiting_.end(), &more)};
    co_await more.wait_until(deadline);
}

}  // namespace rh::daemon
