#include "keeper/memory_limits.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/ids.h"
#include "keeper/log.h"

namespace rh::keeper {

using process::Enforcer;
using process::MemoryFacts;

namespace {

constexpr std::chrono::milliseconds k_remove_timeout{2'000};

std::string_view variable(const char* name) {
    const char* const text = std::getenv(name);
    return text == nullptr ? std::string_view() : text;
}

// What another keeper left goes first, because this one may be standing in it.
std::optional<isolate::Place> place_after_sweeping(const std::string& state_folder) {
    process::remove_recorded_cgroup(state_folder, std::chrono::steady_clock::now() + k_remove_timeout);
    return isolate::leave_worker(isolate::own_place());
}

std::optional<isolate::Cgroup> around(const std::optional<isolate::Place>& place) {
    return place ? std::optional(isolate::Cgroup(place->version, place->folder())) : std::nullopt;
}

}  // namespace

MemoryLimits::MemoryLimits(const std::string& state_folder, const std::string& cluster_name)
    : state_folder_(state_folder),
      node_limit_(isolate::number_of(variable("ROUNDHOUSE_MEMORY")).value_or(0)),
      place_(place_after_sweeping(state_folder_)),
      kernel_(around(place_)),
      monitor_(node_limit_) {
    const std::string_view only = variable(process::k_memory_variable.data());
    if (only == process::enforcer_name(Enforcer::nobody)) {
        enforcer_ = Enforcer::nobody;
    } else if (only != process::enforcer_name(Enforcer::monitor)) {
        make_cgroup(cluster_name, only);
    }
}

void MemoryLimits::make_cgroup(const std::string& cluster_name, std::string_view only) {
    if (!place_) return log("memory is watched, because there is no cgroup that counts it");
    const isolate::Cgroup here(place_->version, place_->folder());
    if (!only.empty() && only != process::enforcer_name(here.enforcer()))
        return log("memory is watched, because {} asks for {} and this machine has {}", process::k_memory_variable, only, process::enforcer_name(here.enforcer()));
    auto made = isolate::NodeCgroup::make(*place_, fmt::format("{}{}-{}", process::k_node_cgroup_prefix, cluster_name, random_hex(4)), node_limit_);
    if (!made) return log("memory is watched, because {}", made.error().message);
    cgroup_ = std::move(*made);
    enforcer_ = here.enforcer();
    process::write_cgroup_record(state_folder_, cgroup_->cgroup().folder());
}

process::Limited MemoryLimits::node() const {
    MemoryFacts facts;
    facts.enforced_by = enforcer_;
    facts.is_node_limit = true;
    facts.limit_bytes = node_limit_;
    return {"", facts, cgroup_ ? cgroup_->cgroup().folder() : ""};
}

process::Limited MemoryLimits::limited(const std::string& id, const Worker& worker) const {
    MemoryFacts facts;
    facts.enforced_by = worker.cgroup ? worker.cgroup->enforcer() : Enforcer::monitor;
    facts.is_node_limit = worker.limit == 0;
    facts.limit_bytes = worker.limit != 0 ? worker.limit : node_limit_;
    return {id, facts, worker.cgroup ? worker.cgroup->folder() : ""};
}

std::vector<process::Limited> MemoryLimits::workers() const {
    std::vector<process::Limited> all;
    for (const auto& [id, worker] : workers_) {
        if (worker.cgroup || worker.watched) all.push_back(limited(id, worker));
    }
    return all;
}

std::string MemoryLimits::admit(const process::Start& start) {
    Worker& worker = workers_[start.id];
    worker.before = kernel_.before();
    if (enforcer_ == Enforcer::nobody) return "";
    worker.limit = start.memory_bytes;
    if (worker.limit == 0 && node_limit_ == 0) return "";
    if (cgroup_) {
        auto made = cgroup_->make_worker(start.id, worker.limit);
        if (made) {
            worker.cgroup = std::move(*made);
            return worker.cgroup->procs_path();
        }
        log("worker {} is watched, because {}", start.id, made.error().message);
    }
    worker.watched = true;
    return "";
}

void MemoryLimits::cannot_join(const Error& why) {
    log("memory is watched from now on, because {}", why.message);
    enforcer_ = Enforcer::monitor;
    for (auto& [id, worker] : workers_) {
        // Those that live in one stay there.
        if (worker.cgroup && worker.cgroup->remove()) {
            worker.cgroup.reset();
            worker.watched = true;
        }
    }
    if (cgroup_ && cgroup_->remove()) process::remove_cgroup_record(state_folder_);
    cgroup_.reset();
}

std::optional<process::Limited> MemoryLimits::begun(const process::Start& start, pid_t pid, Clock::time_point now) {
    const Worker& worker = workers_[start.id];
    if (!worker.cgroup && !worker.watched) return std::nullopt;
    if (worker.watched) monitor_.add(start.id, pid, worker.limit, now);
    return limited(start.id, worker);
}

void MemoryLimits::not_begun(const std::string& id) { forget(id); }

MemoryFacts MemoryLimits::ended(const std::string& id, pid_t pid, int signal_number, bool ours, std::uint64_t peak_bytes, Clock::time_point now) {
    MemoryFacts facts;
    const auto found = workers_.find(id);
    if (found == workers_.end()) return facts;
    const Worker& worker = found->second;
    if (worker.watched) {
        facts = monitor_.facts(id, now);
        monitor_.remove(id);
    } else if (worker.cgroup) {
        facts = limited(id, worker).memory;
        const isolate::Counts counts = worker.cgroup->read();
        facts.kills = static_cast<std::uint32_t>(counts.kills.value_or(0));
        facts.peak_bytes = counts.peak_bytes.value_or(0);
        // It was the node's memory that was over where the worker's own was not.
        if (node_limit_ != 0 && worker.limit != 0 && facts.peak_bytes < worker.limit - worker.limit / 16) {
            facts.is_node_limit = true;
            facts.limit_bytes = node_limit_;
        }
    }
    facts.peak_bytes = std::max(facts.peak_bytes, peak_bytes);
    if (facts.kills == 0 && signal_number == SIGKILL && !ours && kernel_.did_it(pid, worker.before, peak_bytes)) {
        facts.enforced_by = Enforcer::kernel;
        facts.is_node_limit = false;
        facts.limit_bytes = kernel_.limit_around().value_or(0);
        facts.kills = 1;
    }
    return facts;
}

bool MemoryLimits::forget(const std::string& id) {
    const auto found = workers_.find(id);
    if (found == workers_.end()) return true;
    if (const auto& cgroup = found->second.cgroup; cgroup && !cgroup->remove()) {
        // Nothing of the worker's is left, so that this is another node, which was started in there and could not leave: it goes
        // on where this keeper is.
        if (const auto here = isolate::own_place(); here && here->version == cgroup->version()) {
            const isolate::Cgroup outside(here->version, here->folder());
            for (const pid_t other : cgroup->processes()) (void)isolate::write_text(outside.procs_path(), std::to_string(other));
        }
        if (!cgroup->remove()) return false;
    }
    monitor_.remove(id);
    workers_.erase(found);
    return true;
}

std::vector<pid_t> MemoryLimits::processes(const std::string& id) const {
    const auto found = workers_.find(id);
    return found != workers_.end() && found->second.cgroup ? found->second.cgroup->processes() : std::vector<pid_t>();
}

void MemoryLimits::remove() {
    if (!cgroup_) return;
    while (!workers_.empty() && forget(workers_.begin()->first)) {
    }
    // What a process has left there takes the kernel a moment more.
    const auto deadline = Clock::now() + k_remove_timeout;
    while (!cgroup_->remove() && Clock::now() < deadline) ::usleep(2'000);
    process::remove_cgroup_record(state_folder_);
}

}  // namespace rh::keeper
