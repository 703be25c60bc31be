#include "isolate/kernel_kills.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace rh::isolate {

namespace {

constexpr std::size_t k_kills_kept_max = 64;
// The kernel takes what frees the most: a process that had less than this share of the machine is hardly what it chose.
constexpr std::uint64_t k_share_min = 100;

}  // namespace

// "... out of memory: Killed process 7088 (python3) total-vm:80132kB, anon-rss:..", whose beginning depends on the kernel and
// on whose memory it was.
std::optional<Killed> parse_kill(std::string_view line) {
    constexpr std::string_view k_words = "Killed process ";
    const auto at = line.find(k_words);
    if (at == line.npos) return std::nullopt;
    line.remove_prefix(at + k_words.size());
    Killed killed;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), killed.pid);
    const auto open = static_cast<std::size_t>(end - line.data());
    // A name may hold anything, so its end is the last that can be one.
    const auto stop = std::min(line.find(" total-vm"), line.size());
    const auto close = line.substr(0, stop).rfind(')');
    if (error != std::errc() || line.substr(open, 2) != " (" || close == line.npos || close < open + 2) return std::nullopt;
    killed.name = line.substr(open + 2, close - open - 2);
    return killed;
}

KernelLog::KernelLog() : file_(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
    if (file_) ::lseek(file_.get(), 0, SEEK_END);
}

void KernelLog::read() {
    char record[8192];
    // Each read is one record. EPIPE says that some were overwritten before they were read.
    while (file_) {
        const auto count = ::read(file_.get(), record, sizeof record);
        if (count < 0 && (errno == EPIPE || errno == EINTR)) continue;
        if (count <= 0) return;
        auto killed = parse_kill({record, static_cast<std::size_t>(count)});
        if (!killed) continue;
        kills_.push_back(std::move(*killed));
        if (kills_.size() > k_kills_kept_max) kills_.pop_front();
    }
}

KernelKills::KernelKills(std::optional<Cgroup> around) : around_(std::move(around)), machine_(machine()) {
    if (const auto text = read_text("/proc/meminfo")) {
        const auto begin = text->find_first_of("0123456789");
        if (begin != text->npos) machine_bytes_ = number_of(std::string_view(*text).substr(begin)).value_or(0) * 1024;
    }
}

std::optional<std::uint64_t> KernelKills::machine() const {
    const auto text = read_text("/proc/vmstat");
    return text ? value_of(*text, "oom_kill") : std::nullopt;
}

KernelKills::Before KernelKills::before() {
    machine_ = machine();
    return {around_ ? around_->kills() : std::nullopt};
}

bool KernelKills::did_it(pid_t pid, const Before& before, std::uint64_t peak_bytes) {
    log_.read();
    const auto& logged = log_.kills();
    const bool named = std::any_of(logged.begin(), logged.end(), [&](const Killed& killed) { return killed.pid == pid; });
    const auto seen = std::exchange(machine_, machine());
    if (named) return true;
    const auto around = around_ ? around_->kills() : std::nullopt;
    if (around && before.around) return *around > *before.around;
    return machine_ && seen && *machine_ > *seen && peak_bytes >= machine_bytes_ / k_share_min;
}

std::optional<std::uint64_t> KernelKills::limit_around() const { return around_ ? around_->read().limit_bytes : std::nullopt; }

}  // namespace rh::isolate
