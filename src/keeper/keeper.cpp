#include "keeper/keeper.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/limits.h"
#include "isolate/cgroup.h"
#include "keeper/log.h"
#include "process/spawn.h"

namespace rh::keeper {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t k_deaths_max = 5;
constexpr seconds k_deaths_window{10};
constexpr milliseconds k_lived{500};  // a daemon that died after this long worked
constexpr milliseconds k_lived_until_killed{50};  // less, and it may be its memory that it is killed for, each time again
constexpr milliseconds k_upgrade_lived{2'000};  // a daemon of another program that ended before is taken back
constexpr milliseconds k_upgrade_pause{50};     // for the answer to whoever asked
constexpr milliseconds k_restart_pause{100};  // times the recent deaths but one: the first restart is immediate
constexpr std::size_t k_recent_exits_max = 64;
constexpr seconds k_exits_told_again{10};
constexpr std::size_t k_log_tail_bytes = 2048;
// How often to look again for what was killed but is not our own child, whose end nobody tells us.
constexpr milliseconds k_look_again{5};
constexpr milliseconds k_daemon_grace{1'000};
// A process in uninterruptible sleep, or of another user, cannot be killed: the keeper does not wait for it for ever.
constexpr milliseconds k_give_up_after{5'000};

std::string describe_status(int status) {
    if (WIFSIGNALED(status)) return fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    return fmt::format("exit code {}", WEXITSTATUS(status));
}

void set_variable(std::vector<std::string>& env, std::string_view name, std::string_view value) {
    env = process::without_prefix(std::move(env), fmt::format("{}=", name));
    env.push_back(fmt::format("{}={}", name, value));
}

// What is in a worker's cgroup came from it, whatever its environment, parent and session say.
void add_from_cgroup(std::vector<process::ProcessEntry>& tree, const std::vector<process::ProcessEntry>& below, const std::vector<pid_t>& inside) {
    for (const auto& entry : below) {
        const auto is_it = [&](const process::ProcessEntry& other) { return other.pid == entry.pid; };
        if (std::find(inside.begin(), inside.end(), entry.pid) != inside.end() && std::none_of(tree.begin(), tree.end(), is_it)) tree.push_back(entry);
    }
}

}  // namespace

Keeper::Keeper(Options options, process::FileLock lock, Fd starter)
    : options_(std::move(options)), lock_(std::move(lock)), starter_(std::move(starter)), daemon_program_(options_.daemon_argv.front()) {}

int Keeper::run() {
    if (const auto started = start(); !started) {
        tell_starter(started.error());
        exit_code_ = 1;
        stop();
    }
    for (;;) {
        auto now = Clock::now();
        step_daemon(now);
        step_forks(now);
        step_endings(now);
        step_memory(now);
        if (stopping_ && step_stop(now)) break;
        wait(Clock::now());
    }
    clean_up();
    return exit_code_;
}

Result<void> Keeper::start() {
    sigset_t taken;
    ::sigemptyset(&taken);
    for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&taken, number);
    ::sigprocmask(SIG_BLOCK, &taken, nullptr);
    signals_ = Fd(::signalfd(-1, &taken, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!signals_) return fail(os_error("cannot receive signals", errno));
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return fail(os_error("cannot adopt orphans", errno));
    ::prctl(PR_SET_NAME, process::k_keeper_process_name.data());

    const auto self = process::read_process(::getpid());
    const process::KeeperRecord record{::getpid(), self ? self->start_time : 0, options_.socket_path};
    RH_TRY_VOID(lock_.set_content(process::format_keeper_record(record)));
    struct stat log_file {};
    if (::stat(process::daemon_log_path(options_.state_folder).c_str(), &log_file) == 0)
        log_start_ = static_cast<std::uint64_t>(log_file.st_size);
    log("node {} begins, keeper {}", options_.cluster_name, record.pid);
    // What a daemon finds there is its predecessor's, and this node has had none.
    forget_node();
    memory_.emplace(options_.state_folder, options_.cluster_name);
    return start_daemon();
}

std::optional<Keeper::Clock::time_point> Keeper::next_deadline() const {
    std::optional<Clock::time_point> next = restart_at_;
    const auto consider = [&](Clock::time_point at) { next = next ? std::min(*next, at) : at; };
    if (end_daemon_at_) consider(*end_daemon_at_);
    for (const auto& ending : endings_) consider(ending.look_at);
    if (const auto answer = forks_.next_deadline()) consider(*answer);
    if (stopping_) {
        consider(stop_look_at_);
    } else if (const auto look = memory_ ? memory_->next() : std::nullopt) {
        consider(*look);
    }
    return next;
}

void Keeper::wait(Clock::time_point now) {
    std::vector<pollfd> waited = {{signals_.get(), POLLIN, 0},
                                  {daemon_.is_open() && !daemon_.is_ended() ? daemon_.fd() : -1,
                                   static_cast<short>(daemon_.wants_to_write() ? POLLIN | POLLOUT : POLLIN), 0},
                                  {starter_.get(), POLLIN, 0}};
    forks_.add_to(waited);
    timespec timeout{};
    const auto deadline = next_deadline();
    if (deadline && *deadline > now) {
        const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(*deadline - now).count();
        timeout = {left / 1'000'000'000, left % 1'000'000'000};
    }
    if (::ppoll(waited.data(), waited.size(), deadline ? &timeout : nullptr, nullptr) <= 0) return;
    if (waited[1].revents != 0) {
        daemon_.flush();
        read_daemon();
    }
    if (waited[0].revents != 0) read_signals();
    if (waited[2].revents != 0) read_starter();
}

void Keeper::read_signals() {
    signalfd_siginfo seen{};
    bool child = false;
    while (::read(signals_.get(), &seen, sizeof seen) == static_cast<ssize_t>(sizeof seen)) {
        if (seen.ssi_signo == SIGCHLD) child = true;
        if (seen.ssi_signo == SIGTERM || seen.ssi_signo == SIGINT) stop();
    }
    if (child) reap();
}

void Keeper::reap() {
    int status = 0;
    rusage usage{};
    pid_t pid = 0;
    while ((pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0) {
        if (pid == daemon_pid_) {
            on_daemon_exit(status);
        } else if (const auto found = workers_.find(pid); found != workers_.end()) {
            const Worker worker = std::move(found->second);
            workers_.erase(found);
            if (worker.start.is_fork_server) forks_.close(worker.id);
            on_worker_exit(worker, status, usage.ru_maxrss);
        }
    }
    const auto now = Clock::now();
    for (auto& ending : endings_) ending.look_at = now;
    stop_look_at_ = now;
}

void Keeper::on_worker_exit(const Worker& worker, int status, long peak_memory_kib) {
    process::Exited exited{worker.id, worker.pid};
    if (WIFSIGNALED(status)) exited.signal_number = WTERMSIG(status);
    if (WIFEXITED(status)) exited.exit_code = WEXITSTATUS(status);
    exited.peak_memory_kib = static_cast<std::uint64_t>(peak_memory_kib);
    const auto now = Clock::now();
    const bool ending = std::any_of(endings_.begin(), endings_.end(), [&](const Ending& each) { return each.worker_id == worker.id; });
    exited.memory = memory_->ended(worker.id, worker.pid, exited.signal_number, worker.signalled || ending || stopping_, exited.peak_memory_kib * 1024, now);
    if (!daemon_.send(exited)) ::kill(daemon_pid_, SIGKILL);
    if (!worker.start.is_fork_server) recent_exits_.emplace_back(now, std::move(exited));
    if (recent_exits_.size() > k_recent_exits_max) recent_exits_.pop_front();
    // Whatever it started goes with it; a grace that was given still runs.
    if (!ending && !stopping_) endings_.push_back({worker.id, worker.pid, now, now});
}

void Keeper::on_daemon_exit(int status) {
    read_daemon();  // what it asked for with its last breath
    daemon_.close();
    // The next one hears only of what runs by then.
    forks_.cancel_all();
    daemon_pid_ = 0;
    if (stopping_) return;
    const auto now = Clock::now();
    log("the daemon ended with {}", describe_status(status));
    const bool was_killed = WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
    if (std::exchange(end_daemon_at_, std::nullopt)) {
        restart_at_ = now;
        return;
    }
    if (!was_killed && take_back_upgrade(now)) return;
    if (starter_) {
        const std::string tail = process::file_tail(process::daemon_log_path(options_.state_folder), k_log_tail_bytes, log_start_);
        tell_starter(Error(Code::launch_failed, fmt::format("the daemon of cluster {} ended at its start with {}; {} ends:\n{}",
                                                            options_.cluster_name, describe_status(status),
                                                            process::daemon_log_path(options_.state_folder), tail)));
        exit_code_ = 1;
        return stop();
    }
    plan_restart(now, was_killed);
}

void Keeper::upgrade(const std::string& program) {
    if (stopping_ || end_daemon_at_) return;
    log("the daemon is to be of {}", program);
    program_before_ = std::exchange(daemon_program_, program);
    end_daemon_at_ = Clock::now() + k_upgrade_pause;
}

bool Keeper::take_back_upgrade(Clock::time_point now) {
    const std::optional<std::string> before = std::exchange(program_before_, std::nullopt);
    if (!before || now - daemon_started_ >= k_upgrade_lived) return false;
    log("a daemon of {} does not stay up: one of {} takes its place", daemon_program_, *before);
    daemon_program_ = *before;
    restart_at_ = now;
    return true;
}

void Keeper::plan_restart(Clock::time_point now, bool was_killed) {
    // Only one that cannot live is given up: one that worked, or that somebody killed, is not such a one.
    const auto lived = now - daemon_started_;
    if (lived >= k_lived || (was_killed && lived >= k_lived_until_killed)) daemon_deaths_.clear();
    daemon_deaths_.push_back(now);
    while (daemon_deaths_.front() < now - k_deaths_window) daemon_deaths_.pop_front();
    if (daemon_deaths_.size() >= k_deaths_max) {
        log("the daemon ended {} times in {} seconds: the node ends with it", daemon_deaths_.size(), k_deaths_window.count());
        exit_code_ = 1;
        return stop();
    }
    restart_at_ = now + k_restart_pause * (daemon_deaths_.size() - 1);
}

Result<void> Keeper::start_daemon() {
    RH_TRY(const Fd daemon_end, daemon_.open());
    process::Command command;
    command.argv = options_.daemon_argv;
    command.argv.front() = daemon_program_;
    for (const auto& part : {std::string("--state"), options_.state_folder, std::string("--name"), options_.cluster_name,
                             std::string("--socket"), options_.socket_path, std::string("--keeper-fd"), std::string("3")})
        command.argv.push_back(part);
    command.env = process::current_environment();
    set_variable(command.env, process::k_node_variable, options_.state_folder);
    set_variable(command.env, process::k_memory_variable, process::enforcer_name(memory_->node().memory.enforced_by));
    set_variable(command.env, process::k_forks_variable, "1");
    command.cwd = "/";
    command.stdout_path = command.stderr_path = process::daemon_log_path(options_.state_folder);
    command.inherited_fd = daemon_end.get();
    auto pid = process::spawn(command);
    if (!pid) {
        daemon_.close();
        return fail(std::move(pid.error()));
    }
    daemon_pid_ = *pid;
    daemon_started_ = Clock::now();
    process::Inventory inventory;
    inventory.is_first = !std::exchange(had_daemon_, true);
    for (const auto& [worker_pid, worker] : workers_) inventory.workers.push_back({worker.id, worker_pid});
    daemon_.send(inventory);
    // How each was started, because it goes on.
    for (const auto& [worker_pid, worker] : workers_) daemon_.send(worker.start);
    for (auto& told : forks_.last_told()) daemon_.send(std::move(told));
    for (const auto& limited : memory_->workers()) daemon_.send(limited);
    // A daemon before this one may have taken their ends to its grave.
    const auto oldest = Clock::now() - k_exits_told_again;
    for (const auto& [when, exited] : recent_exits_) {
        if (when >= oldest) daemon_.send(exited);
    }
    return {};
}

void Keeper::step_daemon(Clock::time_point now) {
    // Its workers and clients come back to the next one, as if this one had crashed.
    if (end_daemon_at_ && now >= *end_daemon_at_ && daemon_pid_ != 0) ::kill(daemon_pid_, SIGKILL);
    if (stopping_ || !restart_at_ || now < *restart_at_) return;
    restart_at_.reset();
    daemon_started_ = now;  // also of one that cannot be started
    const auto started = start_daemon();
    if (started) return log("the daemon was started again, pid {}", daemon_pid_);
    log("{}", started.error().message);
    if (!take_back_upgrade(now)) plan_restart(now, false);
}

void Keeper::read_daemon() {
    process::KeeperMessage message;
    while (daemon_.is_open()) {
        const auto there = daemon_.receive(message);
        if (!there) {
            log("the daemon is restarted: {}", there.error().message);
            daemon_.close();
        } else if (*there) {
            handle(message);
            continue;
        }
        // A daemon without its keeper is of no use; its death is then seen like any other.
        if ((!there || daemon_.is_ended()) && daemon_pid_ != 0 && !stopping_) ::kill(daemon_pid_, SIGKILL);
        return;
    }
}

void Keeper::handle(const process::KeeperMessage& message) {
    if (const auto* start = std::get_if<process::Start>(&message)) {
        start_worker(*start);
    } else if (const auto* signal = std::get_if<process::Signal>(&message)) {
        signal_worker(*signal);
    } else if (const auto* end = std::get_if<process::End>(&message)) {
        end_worker(end->id, milliseconds(end->grace_ms));
    } else if (std::holds_alternative<process::Shutdown>(message)) {
        stop();
    } else if (const auto* told = std::get_if<process::Tell>(&message)) {
        forks_.tell(*told);
    } else if (const auto* next = std::get_if<process::Upgrade>(&message)) {
        upgrade(next->program);
    } else {
        log("the daemon sent a message that only a keeper sends; ignored");
    }
}

Keeper::Worker* Keeper::find(const std::string& id) {
    for (auto& [pid, worker] : workers_) {
        if (worker.id == id) return &worker;
    }
    return nullptr;
}

void Keeper::start_worker(const process::Start& start) {
    const auto refuse = [&](int error_number, std::string what) {
        daemon_.send(process::StartFailed{start.id, error_number, std::move(what)});
    };
    if (stopping_) return refuse(ESHUTDOWN, "the node is ending");
    if (find(start.id) != nullptr || forks_.is_asked(start.id)) return refuse(EEXIST, fmt::format("there is a process {} already", start.id));
    if (workers_.size() + forks_.asked() >= limits::k_workers_max + forks_.servers())
        return refuse(EAGAIN, fmt::format("the node has {} workers, which is its limit: delete a service first", workers_.size()));
    if (start.fork_server.empty() || !forks_.ask(marked(start), Clock::now())) start_fresh(start);
}

// With what tells the process and all that comes from it by which node and worker they are.
process::Start Keeper::marked(process::Start start) const {
    set_variable(start.env, process::k_node_variable, options_.state_folder);
    set_variable(start.env, process::k_worker_variable, start.id);
    return start;
}

// By fork and exec.
void Keeper::start_fresh(const process::Start& start) {
    Fd theirs;
    if (start.is_fork_server) {
        auto opened = forks_.open(start.id);
        if (!opened) {
            daemon_.send(process::StartFailed{start.id, EMFILE, opened.error().message});
            return;
        }
        theirs = std::move(*opened);
    }
    const auto pid = spawn_worker(start, theirs.get());
    if (pid) return begun(start, *pid);
    forks_.close(start.id);
    memory_->not_begun(start.id);
    const std::string_view number = pid.error().fact("errno");
    int error_number = EIO;
    std::from_chars(number.data(), number.data() + number.size(), error_number);
    daemon_.send(process::StartFailed{start.id, error_number, pid.error().message});
}

void Keeper::begun(process::Start start, pid_t pid) {
    // The pid, and so the session's number, may have been a worker's whose tree is still being ended.
    for (auto& ending : endings_) {
        if (ending.session == pid) ending.session = 0;
    }
    // Where it came from is nobody's business any more.
    start.fork_server.clear();
    start.import_path.clear();
    daemon_.send(process::Started{start.id, pid});
    if (const auto limited = memory_->begun(start, pid, Clock::now())) daemon_.send(*limited);
    const std::string id = start.id;
    workers_[pid] = Worker{id, pid, std::move(start)};
}

Result<pid_t> Keeper::spawn_worker(const process::Start& start, int inherited_fd) {
    process::Command command{start.argv, marked(start).env, start.cwd, start.stdout_path, start.stderr_path, inherited_fd, start.cpus, memory_->admit(start)};
    auto pid = process::spawn(command);
    if (pid || pid.error().fact("step") != "cgroup") return pid;
    // A cgroup that may be made need not be one that may be joined.
    memory_->cannot_join(pid.error());
    daemon_.send(memory_->node());
    command.cgroup_procs.clear();
    return process::spawn(command);
}

void Keeper::step_forks(Clock::time_point now) {
    const ForkServers::Heard heard = forks_.step(now);
    for (const auto& told : heard.told) daemon_.send(told);
    for (const auto& id : heard.hung) {
        const Worker* const server = find(id);
        log("fork server {} does not answer", id);
        if (server != nullptr) ::kill(server->pid, SIGKILL);
    }
    for (const auto& forked : heard.forked) {
        if (!stopping_) on_forked(forked);
    }
}

// It waits, and has run nothing of its own: it goes where its memory and its CPUs are before it may.
void Keeper::on_forked(const ForkServers::Forked& forked) {
    const auto seen = forked.pid > 0 ? process::read_process(forked.pid) : std::nullopt;
    if (!seen || seen->parent != ::getpid() || seen->is_zombie()) return start_fresh(forked.start);
    if (const std::string procs = memory_->admit(forked.start); !procs.empty()) {
        if (const auto joined = isolate::write_text(procs, std::to_string(forked.pid)); !joined) {
            memory_->cannot_join(joined.error());
            daemon_.send(memory_->node());
        }
    }
    if (!process::keep_on(forked.pid, forked.start.cpus) || !ForkServers::go(forked)) {
        memory_->not_begun(forked.start.id);
        return start_fresh(forked.start);
    }
    begun(forked.start, forked.pid);
}

void Keeper::signal_worker(const process::Signal& signal) {
    // A child that is not reaped keeps its pid, so this cannot hit another process.
    for (auto& [pid, worker] : workers_) {
        if (worker.id != signal.id) continue;
        worker.signalled = true;
        ::kill(pid, signal.signal_number);
    }
}

void Keeper::step_memory(Clock::time_point now) {
    const auto due = memory_ && !stopping_ ? memory_->next() : std::nullopt;
    if (!due || *due > now) return;
    const auto list = [this] {
        auto all = below();
        std::erase_if(all, [this](const auto& entry) { return entry.pid == daemon_pid_; });
        return all;
    };
    for (const MemoryLimits::Verdict& verdict : memory_->look(now, list)) {
        log("worker {}: {} (pid {}) is ended for its memory", verdict.worker_id, verdict.victim.name, verdict.victim.pid);
        // The daemon hears of it before whoever waits for the process can.
        if (!verdict.is_worker) daemon_.send(process::OverLimit{verdict.worker_id, verdict.victim.pid, verdict.victim.name, verdict.facts});
        process::send_signal(verdict.victim, SIGKILL);
    }
}

std::vector<process::ProcessEntry> Keeper::below() const { return process::descendants(process::list_processes(), ::getpid()); }

void Keeper::end_worker(const std::string& id, milliseconds grace) {
    if (forks_.cancel(id)) {
        daemon_.send(process::StartFailed{id, ECANCELED, "it was ended before it began"});
        return;
    }
    const Worker* const worker = find(id);
    if (worker == nullptr || stopping_) return;
    const auto kill_at = Clock::now() + grace;
    for (auto& ending : endings_) {
        if (ending.worker_id != id) continue;
        ending.kill_at = ending.look_at = std::min(ending.kill_at, kill_at);
        return;
    }
    if (grace > milliseconds(0)) {
        for (const auto& entry : process::worker_tree(below(), id, worker->pid)) process::send_signal(entry, SIGTERM);
    }
    endings_.push_back({id, worker->pid, kill_at, kill_at});
}

void Keeper::step_endings(Clock::time_point now) {
    const auto due = [&](const Ending& ending) { return ending.look_at <= now; };
    if (stopping_ || std::none_of(endings_.begin(), endings_.end(), due)) return;
    const auto all = below();
    std::erase_if(endings_, [&](Ending& ending) {
        if (!due(ending)) return false;
        auto tree = process::worker_tree(all, ending.worker_id, ending.session);
        add_from_cgroup(tree, all, memory_->processes(ending.worker_id));
        if (now < ending.kill_at) {
            ending.look_at = ending.kill_at;
            return tree.empty() && memory_->forget(ending.worker_id);
        }
        for (const auto& entry : tree) process::send_signal(entry, SIGKILL);
        ending.look_at = now + k_look_again;
        // A cgroup that stays for some other reason goes with the node.
        return tree.empty() && (memory_->forget(ending.worker_id) || now >= ending.kill_at + k_give_up_after);
    });
}

void Keeper::read_starter() {
    char asked = 0;
    const auto count = ::recv(starter_.get(), &asked, 1, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    // A starter that was killed meanwhile leaves a node that is as good as any.
    starter_.close();
    if (count == 1 && asked == 'x') stop();
}

void Keeper::tell_starter(const Error& error) {
    log("{}", error.message);
    if (!starter_) return;
    const std::string text = fmt::format("{} {}", static_cast<unsigned>(error.code), error.message);
    ::send(starter_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// How a node ends: everything gets SIGTERM and a grace, then SIGKILL until nothing is left; the daemon goes last, so that
// it can tell its callers how their workers ended.
void Keeper::stop() {
    if (stopping_) return;
    stopping_ = true;
    log("node {} ends", options_.cluster_name);
    // Nobody can come any more; a starter that waits for the lock begins anew once this node has gone.
    ::unlink(options_.socket_path.c_str());
    restart_at_.reset();
    forks_.cancel_all();
    endings_.clear();
    const auto now = Clock::now();
    stop_kill_at_ = now + limits::k_stop_grace;
    stop_look_at_ = now;
    for (const auto& entry : below()) {
        if (entry.pid != daemon_pid_) process::send_signal(entry, SIGTERM);
    }
}

bool Keeper::step_stop(Clock::time_point now) {
    if (now < stop_look_at_) return false;
    stop_look_at_ = std::max(now + k_look_again, stop_kill_at_);
    auto others = below();
    std::erase_if(others, [&](const auto& entry) { return entry.pid == daemon_pid_; });
    if (!others.empty()) {
        if (now < stop_kill_at_) return false;
        for (const auto& entry : others) process::send_signal(entry, SIGKILL);
        stop_look_at_ = now + k_look_again;
        if (now < stop_kill_at_ + k_give_up_after) return false;
        log("{} processes do not end, one is {} (pid {}); left behind", others.size(), others.front().name, others.front().pid);
    }
    // The list leaves out what has ended, and that may be a worker whose end was not told yet.
    reap();
    if (daemon_pid_ != 0) {
        // It ends at the end of what its keeper says, and so has heard everything by then.
        if (!daemon_kill_at_) {
            daemon_.finish();
            daemon_kill_at_ = now + k_daemon_grace;
        } else if (now >= *daemon_kill_at_) {
            ::kill(daemon_pid_, SIGKILL);
        }
        stop_look_at_ = now + k_look_again;
        return false;
    }
    // What ended since the list was made may have left children that it did not show yet.
    reap();
    return ::waitpid(-1, nullptr, WNOHANG) < 0 || below().empty();
}

void Keeper::forget_node() {
    std::error_code ignored;
    for (const std::string& folder : {process::live_folder(options_.state_folder), process::kept_folder(options_.state_folder)})
        std::filesystem::remove_all(folder, ignored);
}

void Keeper::clean_up() {
    ::unlink(options_.socket_path.c_str());
    forget_node();
    if (memory_) memory_->remove();
    log("node {} has ended", options_.cluster_name);
    lock_.remove();
}

}  // namespace rh::keeper
