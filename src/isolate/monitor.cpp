#include "isolate/monitor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "isolate/cgroup.h"

namespace rh::isolate {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds k_pause_min{10};
constexpr milliseconds k_pause_max{1'000};
// As fast as a process hardly takes memory: so much in a millisecond is half a GiB in a second.
constexpr std::uint64_t k_bytes_per_ms = 512 * 1024;
// Looking takes at most this part of one processor.
constexpr int k_looks_share = 20;
constexpr int k_tree_max = 4096;

// That this thread has run for: on a machine that is busy, looking takes longer and costs no more.
std::chrono::nanoseconds processor_time() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

std::optional<std::uint64_t> process_bytes(const std::string& proc, pid_t pid, bool shared_out) {
    if (shared_out) {
        if (const auto text = read_text(fmt::format("{}/{}/smaps_rollup", proc, pid))) {
            const auto at = text->find("\nPss:");
            const auto digit = at == text->npos ? at : text->find_first_of("0123456789", at);
            if (digit != text->npos) return number_of(std::string_view(*text).substr(digit)).value_or(0) * 1024;
        }
    }
    const auto text = read_text(fmt::format("{}/{}/statm", proc, pid));
    const auto blank = text ? text->find(' ') : std::string::npos;
    if (blank == std::string::npos) return std::nullopt;
    const auto pages = number_of(std::string_view(*text).substr(blank + 1));
    return pages ? std::optional(*pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) : std::nullopt;
}

std::uint64_t tree_bytes(pid_t pid) {
    std::uint64_t sum = 0;
    std::vector<pid_t> open{pid};
    for (int seen = 0; !open.empty() && seen < k_tree_max; ++seen) {
        const pid_t at = open.back();
        open.pop_back();
        sum += process_bytes("/proc", at, false).value_or(0);
        // Only those that its first thread has started; of a worker those are the subprocesses of most programs.
        const auto children = read_text(fmt::format("/proc/{}/task/{}/children", at, at));
        std::string_view left = children ? std::string_view(*children) : std::string_view();
        while (!left.empty()) {
            if (const auto child = number_of(left)) open.push_back(static_cast<pid_t>(*child));
            left.remove_prefix(std::min(left.find(' '), left.size() - 1) + 1);
        }
    }
    return sum;
}

milliseconds pause_for(std::uint64_t bytes_left, std::chrono::nanoseconds look_took) {
    const milliseconds for_growth(bytes_left / k_bytes_per_ms);
    const auto for_cost = std::chrono::ceil<milliseconds>(look_took * k_looks_share);
    return std::max(std::clamp(for_growth, k_pause_min, k_pause_max), std::min(for_cost, k_pause_max));
}

void Monitor::add(const std::string& id, pid_t pid, std::uint64_t limit, Clock::time_point now) {
    watched_.insert_or_assign(id, Watched{pid, limit, 0, 0, 0, Growth(now)});
    next_ = std::min(next_ == Clock::time_point() ? now : next_, now);
}

void Monitor::remove(const std::string& id) {
    watched_.erase(id);
    if (watched_.empty()) condemned_.clear();
}

std::optional<Clock::time_point> Monitor::next() const { return watched_.empty() ? std::nullopt : std::optional(next_); }

// What processes share is counted once for each at first, because that is cheap: only a sum that is too large is taken exactly.
Monitor::Tree Monitor::measure(const std::vector<process::ProcessEntry>& tree, std::uint64_t limit) const {
    Tree measured;
    for (const bool shared_out : {false, true}) {
        measured = Tree();
        for (const auto& entry : tree) {
            const auto condemned = condemned_.find(entry.pid);
            if (condemned != condemned_.end() && condemned->second == entry.start_time) continue;
            const std::uint64_t bytes = process_bytes(proc_, entry.pid, shared_out).value_or(0);
            measured.parts.push_back({entry, bytes});
            measured.bytes += bytes;
        }
        if (limit == 0 || measured.bytes <= limit) break;
    }
    return measured;
}

Monitor::Verdict Monitor::end_largest(const std::string& id, Watched& watched, const Tree& tree, Clock::time_point now, bool for_node) {
    const auto largest = std::max_element(tree.parts.begin(), tree.parts.end(), [](const Part& a, const Part& b) { return a.bytes < b.bytes; });
    condemned_[largest->entry.pid] = largest->entry.start_time;
    ++watched.kills;
    Verdict verdict{id, largest->entry, largest->entry.pid == watched.pid, facts(id, now)};
    if (for_node) {
        verdict.facts.is_node_limit = true;
        verdict.facts.limit_bytes = node_limit_;
    }
    return verdict;
}

std::vector<Monitor::Verdict> Monitor::look(Clock::time_point now, const Lister& list) {
    std::vector<Verdict> verdicts;
    if (watched_.empty() || now < next_) return verdicts;
    const auto begin = processor_time();
    const std::vector<process::ProcessEntry> below = list();
    std::uint64_t left = k_pause_max.count() * k_bytes_per_ms;
    std::uint64_t together = 0;
    std::string largest_id;
    Tree largest;
    for (auto& [id, watched] : watched_) {
        const Tree tree = measure(process::worker_tree(below, id, watched.pid), watched.limit);
        watched.used = tree.bytes;
        watched.peak = std::max(watched.peak, tree.bytes);
        watched.growth.note(now, tree.bytes);
        if (watched.limit != 0) left = std::min(left, watched.limit - std::min(watched.limit, tree.bytes));
        if (watched.limit != 0 && tree.bytes > watched.limit && !tree.parts.empty()) {
            verdicts.push_back(end_largest(id, watched, tree, now, false));
            continue;
        }
        together += tree.bytes;
        if (tree.bytes > largest.bytes) {
            largest = tree;
            largest_id = id;
        }
    }
    if (node_limit_ != 0) {
        left = std::min(left, node_limit_ - std::min(node_limit_, together));
        if (together > node_limit_ && measure(below, node_limit_).bytes > node_limit_)
            verdicts.push_back(end_largest(largest_id, watched_.at(largest_id), largest, now, true));
    }
    std::erase_if(condemned_, [&](const auto& each) {
        return std::none_of(below.begin(), below.end(), [&](const auto& entry) { return entry.pid == each.first && entry.start_time == each.second; });
    });
    next_ = now + pause_for(left, processor_time() - begin);
    return verdicts;
}

process::MemoryFacts Monitor::facts(const std::string& id, Clock::time_point now) const {
    process::MemoryFacts facts;
    const auto found = watched_.find(id);
    if (found == watched_.end()) return facts;
    const Watched& watched = found->second;
    const Growth::Rise rise = watched.growth.until(now, watched.used);
    facts.enforced_by = process::Enforcer::monitor;
    facts.is_node_limit = watched.limit == 0;
    facts.limit_bytes = watched.limit != 0 ? watched.limit : node_limit_;
    facts.peak_bytes = watched.peak;
    facts.growth_bytes = rise.bytes;
    facts.growth_ms = static_cast<std::uint32_t>(rise.over.count());
    facts.kills = watched.kills;
    return facts;
}

}  // namespace rh::isolate
