#include "process/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "base/fd.h"
#include "process/cgroup_record.h"
#include "process/text_file.h"

namespace rh::process {

namespace {

constexpr std::chrono::milliseconds k_sweep_pause{2};

std::optional<std::string> read_proc_file(pid_t pid, const char* name) { return read_text(fmt::format("/proc/{}/{}", pid, name)); }

// "pid (name) S parent group session ... start_time ...": the name may hold anything, so the fields count from its end.
std::optional<ProcessEntry> parse_stat(pid_t pid, const std::string& text) {
    const auto open = text.find('(');
    const auto close = text.rfind(')');
    if (open == text.npos || close == text.npos || close < open) return std::nullopt;
    ProcessEntry entry;
    entry.pid = pid;
    entry.name = text.substr(open + 1, close - open - 1);
    int parent = 0;
    int session = 0;
    int threads = 0;
    unsigned long long start_time = 0;
    const int count = std::sscanf(text.c_str() + close + 1,
                                  " %c %d %*s %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d %*s %llu",
                                  &entry.state, &parent, &session, &threads, &start_time);
    if (count != 5) return std::nullopt;
    // A process whose main thread has ended looks like a zombie while its other threads go on.
    if (entry.is_zombie() && threads > 1) entry.state = 'S';
    entry.parent = parent;
    entry.session = session;
    entry.start_time = start_time;
    return entry;
}

bool is_ours(pid_t pid) {
    struct stat folder {};
    return ::stat(fmt::format("/proc/{}", pid).c_str(), &folder) == 0 && folder.st_uid == ::geteuid();
}

// Adds to `chosen` every process of `all` whose parent, or parent's parent and so on, is among `chosen`.
template <class Excluded>
void add_descendants(const std::vector<ProcessEntry>& all, std::set<pid_t>& chosen, Excluded excluded) {
    std::multimap<pid_t, const ProcessEntry*> children;
    for (const auto& entry : all) children.emplace(entry.parent, &entry);
    std::vector<pid_t> open(chosen.begin(), chosen.end());
    while (!open.empty()) {
        const pid_t parent = open.back();
        open.pop_back();
        const auto [begin, end] = children.equal_range(parent);
        for (auto child = begin; child != end; ++child) {
            if (excluded(*child->second) || !chosen.insert(child->second->pid).second) continue;
            open.push_back(child->second->pid);
        }
    }
}

std::vector<ProcessEntry> living(const std::vector<ProcessEntry>& all, const std::set<pid_t>& chosen) {
    std::vector<ProcessEntry> found;
    for (const auto& entry : all) {
        if (!entry.is_zombie() && chosen.contains(entry.pid)) found.push_back(entry);
    }
    return found;
}

bool is_other_keeper(const ProcessEntry& entry) { return entry.name == k_keeper_process_name; }

bool is_same(const ProcessEntry& seen) {
    const auto now = read_process(seen.pid);
    return now && now->start_time == seen.start_time;
}

}  // namespace

std::optional<ProcessEntry> read_process(pid_t pid) {
    const auto text = read_proc_file(pid, "stat");
    return text ? parse_stat(pid, *text) : std::nullopt;
}

std::vector<ProcessEntry> list_processes() {
    std::vector<ProcessEntry> all;
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), ::closedir);
    if (!folder) return all;
    while (const dirent* found = ::readdir(folder.get())) {
        const std::string_view name = found->d_name;
        pid_t pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error != std::errc() || end != name.data() + name.size()) continue;
        if (auto entry = read_process(pid)) all.push_back(std::move(*entry));
    }
    return all;
}

bool has_environment(pid_t pid, std::string_view name, std::string_view value) {
    const auto environment = read_proc_file(pid, "environ");
    if (!environment) return false;
    std::string_view rest = *environment;
    while (!rest.empty()) {
        const auto end = rest.find('\0');
        const std::string_view entry = rest.substr(0, end);
        if (entry.size() == name.size() + 1 + value.size() && entry.starts_with(name) && entry[name.size()] == '=' &&
            entry.ends_with(value))
            return true;
        if (end == rest.npos) break;
        rest.remove_prefix(end + 1);
    }
    return false;
}

std::vector<ProcessEntry> descendants(const std::vector<ProcessEntry>& all, pid_t root) {
    std::set<pid_t> chosen{root};
    add_descendants(all, chosen, is_other_keeper);
    chosen.erase(root);
    return living(all, chosen);
}

std::vector<ProcessEntry> worker_tree(const std::vector<ProcessEntry>& below, std::string_view worker_id, pid_t session) {
    std::set<pid_t> chosen;
    for (const auto& entry : below) {
        const bool by_session = session != 0 && (entry.pid == session || entry.session == session);
        if (by_session || has_environment(entry.pid, k_worker_variable, worker_id)) chosen.insert(entry.pid);
    }
    add_descendants(below, chosen, is_other_keeper);
    return living(below, chosen);
}

bool send_signal(const ProcessEntry& process, int signal_number) {
#if defined(__linux__) && defined(SYS_pidfd_open) && defined(SYS_pidfd_send_signal)
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (handle) {
        // The handle stays with whatever has the pid now; only then is it worth asking whether that is the one seen.
        if (!is_same(process)) return false;
        return ::syscall(SYS_pidfd_send_signal, handle.get(), signal_number, nullptr, 0) == 0;
    }
    if (errno == ESRCH) return false;
#endif
    // Before Linux 5.3 a moment remains between looking and sending.
    return is_same(process) && ::kill(process.pid, signal_number) == 0;
}

bool await_end(const ProcessEntry& process, Deadline deadline) {
    using std::chrono::ceil;
    using std::chrono::milliseconds;
    using std::chrono::steady_clock;
#if defined(__linux__) && defined(SYS_pidfd_open)
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    while (handle && is_same(process)) {
        const auto left = ceil<milliseconds>(deadline - steady_clock::now()).count();
        pollfd waited{handle.get(), POLLIN, 0};
        if (::poll(&waited, 1, static_cast<int>(std::max<decltype(left)>(left, 0))) > 0) return true;
        if (left <= 0) return false;
    }
#endif
    for (;;) {
        const auto now = read_process(process.pid);
        if (!now || now->start_time != process.start_time || now->is_zombie()) return true;
        if (steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(k_sweep_pause);
    }
}

std::vector<ProcessEntry> node_processes(const std::string& state_folder) {
    const std::vector<ProcessEntry> all = list_processes();
    const pid_t self = ::getpid();
    std::set<pid_t> chosen;
    for (const auto& entry : all) {
        if (entry.pid != self && is_ours(entry.pid) && has_environment(entry.pid, k_node_variable, state_folder))
            chosen.insert(entry.pid);
    }
    add_descendants(all, chosen, [self](const ProcessEntry& entry) { return entry.pid == self || is_other_keeper(entry); });
    return living(all, chosen);
}

Result<void> sweep_node(const std::string& state_folder, Deadline deadline) {
    for (;;) {
        const std::vector<ProcessEntry> left = node_processes(state_folder);
        if (left.empty()) {
            remove_recorded_cgroup(state_folder, deadline);
            return {};
        }
        for (const auto& process : left) send_signal(process, SIGKILL);
        if (std::chrono::steady_clock::now() >= deadline)
            return fail(Code::timeout, fmt::format("{} processes of {} do not end, one is {} (pid {}, state {}): end them by hand",
                                                   left.size(), state_folder, left.front().name, left.front().pid,
                                                   left.front().state));
        std::this_thread::sleep_for(k_sweep_pause);
    }
}

}  // namespace rh::process
