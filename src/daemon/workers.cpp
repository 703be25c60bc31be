#include "daemon/workers.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ids.h"
#include "base/limits.h"
#include "net/unix.h"
#include "shm/begun.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// What crashed workers printed is kept for whoever comes to look, but not for ever. A worker that lives may have been quiet for long.
void remove_old_logs(const std::string& folder, const std::vector<Workers::Left>& living) {
    namespace fs = std::filesystem;
    const auto oldest = fs::file_time_type::clock::now() - limits::k_log_age_max;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
        const std::string name = entry.path().filename();
        const bool lives = std::any_of(living.begin(), living.end(), [&](const Workers::Left& left) { return name.starts_with(left.start.id + "."); });
        if (!lives && entry.last_write_time(ignored) < oldest) fs::remove(entry.path(), ignored);
    }
}

process::Enforcer told_by_keeper() {
    const char* const name = std::getenv(process::k_memory_variable.data());
    return process::enforcer_of(name == nullptr ? "" : name);
}

}  // namespace

Workers::Workers(const net::asio::any_io_executor& executor, int keeper_fd, std::string folder, OnEnd on_end)
    : executor_(executor),
      keeper_(net::adopt_unix(executor, Fd(keeper_fd))),
      folder_(std::move(folder)),
      on_end_(std::move(on_end)),
      memory_enforcer_(told_by_keeper()),
      can_fork_(std::getenv(process::k_forks_variable.data()) != nullptr),
      tasks_(executor) {
    ::mkdir(folder_.c_str(), 0700);
}

awaitable<void> Workers::run() {
    process::KeeperDecoder decoder;
    std::byte buffer[4096];
    for (;;) {
        const Result<void> readable = co_await keeper_->wait_readable();
        if (!readable) break;
        const Result<std::size_t> count = keeper_->try_read(buffer);
        if (!count) break;
        decoder.feed({buffer, *count});
        for (;;) {
            process::KeeperMessage message;
            const Result<bool> whole = decoder.next(message);
            if (!whole) co_return;
            if (!*whole) break;
            on_keeper(std::move(message));
        }
    }
    keeper_->close();
    keeper_gone_ = true;
    co_await tasks_.stop();
}

std::string Workers::new_id() { return random_hex(6); }

std::string Workers::begun_path_of(const std::string& id) const { return fmt::format("{}/{}.begun", folder_, id); }

Result<std::shared_ptr<Worker>> Workers::start(std::string id, Command command) {
    if (by_id_.size() >= limits::k_workers_max)
        return fail(Code::limit_exceeded, fmt::format("{} workers run on this node, the most that are allowed: delete services that are not needed", by_id_.size()));
    auto worker = std::make_shared<Worker>(executor_, std::move(id));
    worker->stdout_path = fmt::format("{}/{}.out", folder_, worker->id);
    worker->stderr_path = fmt::format("{}/{}.err", folder_, worker->id);
    worker->begun_path = begun_path_of(worker->id);
    command.env.push_back(fmt::format("{}={}", shm::k_begun_variable, worker->begun_path));
    process::Start start{worker->id, std::move(command.argv), std::move(command.env), std::move(command.cwd), worker->stdout_path, worker->stderr_path, std::move(command.cpus), command.memory_bytes,
                         std::move(command.fork_server), std::move(command.import_path)};
    RH_TRY_VOID(process::check_start(start));
    by_id_.emplace(worker->id, worker);
    if (on_start_) on_start_(worker);
    tell(std::move(start));
    return worker;
}

std::shared_ptr<Worker> Workers::find(std::string_view id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second;
}

void Workers::stop(Worker& worker) {
    if (std::exchange(worker.stopping, true)) return;
    tell(process::End{worker.id, static_cast<std::uint32_t>(limits::k_stop_grace.count())});
}

void Workers::kill(Worker& worker) { tell(process::End{worker.id, static_cast<std::uint32_t>(limits::k_stop_grace.count())}); }

void Workers::end_lost(Worker& worker) {
    // The grace lets a process that is just exiting tell its own exit code.
    if (!worker.end && !worker.stopping) tell(process::End{worker.id, static_cast<std::uint32_t>(limits::k_stop_grace.count())});
}

void Workers::shut_down() { tell(process::Shutdown{}); }

std::vector<std::shared_ptr<Worker>> Workers::all() const {
    std::vector<std::shared_ptr<Worker>> list;
    for (const auto& [id, worker] : by_id_) list.push_back(worker);
    return list;
}

void Workers::on_keeper(process::KeeperMessage message) {
    if (on_fork_servers_ && !std::holds_alternative<process::Start>(message) && on_fork_servers_(message)) return;
    if (auto* started = std::get_if<process::Started>(&message)) {
        if (const auto worker = find(started->id)) worker->pid = started->pid;
    } else if (auto* failed = std::get_if<process::StartFailed>(&message)) {
        end(failed->id, Error(Code::setup_failed, failed->what).with("errno", std::to_string(failed->error_number)));
    } else if (auto* exited = std::get_if<process::Exited>(&message)) {
        if (const auto worker = find(exited->id)) {
            end(exited->id, describe_end(*worker, *exited));
        } else if (on_unknown_exit_) {
            on_unknown_exit_();
        }
    } else if (const auto* limited = std::get_if<process::Limited>(&message)) {
        if (limited->id.empty()) memory_enforcer_ = limited->memory.enforced_by;
        if (const auto worker = find(limited->id); worker && on_limited_) on_limited_(worker, *limited);
    } else if (const auto* over = std::get_if<process::OverLimit>(&message)) {
        if (const auto worker = find(over->id); worker && on_over_limit_) on_over_limit_(*worker, *over);
    } else if (auto* inventory = std::get_if<process::Inventory>(&message)) {
        for (const process::Started& left : inventory->workers) left_[left.id].pid = left.pid;
        starts_missing_ = left_.size();
        is_first_ = inventory->is_first;
        if (starts_missing_ == 0) tell_inventory();
    } else if (auto* start = std::get_if<process::Start>(&message)) {
        on_left(std::move(*start));
    }
}

void Workers::on_left(process::Start start) {
    const auto found = left_.find(start.id);
    if (found == left_.end() || !found->second.start.id.empty()) return;
    if (start.is_fork_server) {
        const process::Started started{start.id, found->second.pid};
        left_.erase(found);
        if (on_fork_servers_ && on_fork_servers_(start)) on_fork_servers_(started);
    } else {
        found->second.start = std::move(start);
    }
    if (--starts_missing_ == 0) tell_inventory();
}

void Workers::tell_inventory() {
    std::vector<Left> all;
    for (auto& [id, left] : std::exchange(left_, {})) all.push_back(std::move(left));
    remove_old_logs(folder_, all);
    if (on_inventory_) on_inventory_(std::move(all), is_first_);
}

std::shared_ptr<Worker> Workers::adopt(const Left& left) {
    auto worker = std::make_shared<Worker>(executor_, left.start.id);
    if (!by_id_.emplace(worker->id, worker).second) return nullptr;
    worker->pid = left.pid;
    worker->stdout_path = left.start.stdout_path;
    worker->stderr_path = left.start.stderr_path;
    worker->begun_path = begun_path_of(worker->id);
    return worker;
}

void Workers::end(const std::string& id, Error why) {
    const std::shared_ptr<Worker> worker = find(id);
    if (worker == nullptr) return;
    by_id_.erase(id);
    worker->end = std::move(why);
    on_end_(*worker);
    ::unlink(worker->begun_path.c_str());
    // What a worker printed is kept where its end needs explaining.
    if (worker->stopping) {
        ::unlink(worker->stdout_path.c_str());
        ::unlink(worker->stderr_path.c_str());
    }
    for (const std::string& path : {worker->stdout_path, worker->stderr_path}) ::unlink((path + ".at").c_str());
    worker->ready.set();
    worker->ended.set();
}

void Workers::tell(const process::KeeperMessage& message) {
    if (keeper_gone_) return;
    process::append_keeper_message(unsent_, message);
    if (!writing_) {
        writing_ = true;
        tasks_.spawn(write_later());
    }
}

awaitable<void> Workers::write_later() {
    while (!unsent_.empty()) {
        const Result<std::size_t> count = keeper_->try_write(unsent_.view());
        if (!count) break;
        unsent_ = Bytes(unsent_.view().subspan(*count));
        if (unsent_.empty()) break;
        const Result<void> writable = co_await keeper_->wait_writable();
        if (!writable) break;
    }
    writing_ = false;
}

}  // namespace rh::daemon
