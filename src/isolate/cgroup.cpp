#include "isolate/cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "base/fd.h"

namespace rh::isolate {

namespace {

// The first of `text`, which is shortened by it and the separator.
std::string_view take(std::string_view& text, char separator) {
    const auto end = text.find(separator);
    const std::string_view first = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    return first;
}

bool has_word(std::string_view text, std::string_view word, char separator) {
    while (!text.empty()) {
        if (take(text, separator) == word) return true;
    }
    return false;
}

// Blanks in the paths of mountinfo are octal numbers.
std::string unescaped(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

struct Mount {
    std::string root;  // which of the hierarchy's cgroups is to be seen at `point`
    std::string point;
};

// "36 35 98:0 ROOT POINT OPTIONS [OPTIONAL..] - TYPE SOURCE OPTIONS"
std::optional<Mount> find_mount(std::string_view mountinfo, Version version) {
    while (!mountinfo.empty()) {
        std::string_view line = take(mountinfo, '\n');
        const auto dash = line.find(" - ");
        if (dash == line.npos) continue;
        std::string_view filesystem = line.substr(dash + 3);
        const std::string_view type = take(filesystem, ' ');
        take(filesystem, ' ');
        if (version == Version::v2 ? type != "cgroup2" : type != "cgroup" || !has_word(filesystem, "memory", ',')) continue;
        for (int skipped = 0; skipped < 3; ++skipped) take(line, ' ');
        const std::string_view root = take(line, ' ');
        return Mount{unescaped(root == "/" ? "" : root), unescaped(take(line, ' '))};
    }
    return std::nullopt;
}

// "4:memory:/path" of version 1, "0::/path" of version 2.
std::optional<std::string> find_path(std::string_view cgroups, Version version) {
    while (!cgroups.empty()) {
        std::string_view line = take(cgroups, '\n');
        const std::string_view number = take(line, ':');
        const std::string_view controllers = take(line, ':');
        if (version == Version::v2 ? number == "0" && controllers.empty() : has_word(controllers, "memory", ',')) return std::string(line == "/" ? "" : line);
    }
    return std::nullopt;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
    const auto text = read_text(path);
    return text ? number_of(*text) : std::nullopt;
}

}  // namespace

Result<void> write_text(const std::string& path, std::string_view text) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail(os_error(fmt::format("cannot write {} to {}", text, path), errno));
    return {};
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view rest = text.substr(static_cast<std::size_t>(end - text.data()));
    if (error != std::errc() || !(rest.empty() || rest[0] == '\n' || rest[0] == ' ')) return std::nullopt;
    return number;
}

std::optional<std::uint64_t> value_of(std::string_view text, std::string_view name) {
    while (!text.empty()) {
        std::string_view line = take(text, '\n');
        if (take(line, ' ') == name) return number_of(line);
    }
    return std::nullopt;
}

std::optional<Place> find_place(std::string_view mountinfo, std::string_view cgroups) {
    // Where version 1 counts memory, version 2 does not, though it may be mounted for something else.
    for (const Version version : {Version::v1, Version::v2}) {
        const auto mount = find_mount(mountinfo, version);
        const auto path = find_path(cgroups, version);
        if (!mount || !path) continue;
        if (path->find("/..") != path->npos || !path->starts_with(mount->root)) return std::nullopt;
        return Place{version, mount->point, path->substr(mount->root.size())};
    }
    return std::nullopt;
}

std::optional<Place> own_place() {
    const auto mountinfo = read_text("/proc/self/mountinfo");
    const auto cgroups = read_text("/proc/self/cgroup");
    return mountinfo && cgroups ? find_place(*mountinfo, *cgroups) : std::nullopt;
}

Result<Cgroup> Cgroup::make(Version version, std::string folder) {
    if (::mkdir(folder.c_str(), 0755) != 0) return fail(os_error(fmt::format("cannot make the cgroup {}", folder), errno));
    return Cgroup(version, std::move(folder));
}

Result<void> Cgroup::limit(std::uint64_t bytes) const {
    const std::string number = std::to_string(bytes);
    if (version_ == Version::v2) {
        RH_TRY_VOID(write_text(folder_ + "/memory.max", number));
        // Not there in a kernel without swap.
        (void)write_text(folder_ + "/memory.swap.max", "0");
        return {};
    }
    RH_TRY_VOID(write_text(folder_ + "/memory.limit_in_bytes", number));
    // Memory and swap together; may not be below the other.
    (void)write_text(folder_ + "/memory.memsw.limit_in_bytes", number);
    return {};
}

std::string Cgroup::events_path() const { return folder_ + (version_ == Version::v2 ? "/memory.events" : "/memory.oom_control"); }

std::optional<std::uint64_t> Cgroup::kills() const {
    const auto text = read_text(events_path());
    return text ? value_of(*text, "oom_kill") : std::nullopt;
}

std::optional<std::uint64_t> Cgroup::used_bytes() const { return read_number(folder_ + (version_ == Version::v2 ? "/memory.current" : "/memory.usage_in_bytes")); }

Counts Cgroup::read() const {
    const bool second = version_ == Version::v2;
    Counts counts;
    counts.used_bytes = used_bytes();
    counts.peak_bytes = read_number(folder_ + (second ? "/memory.peak" : "/memory.max_usage_in_bytes"));
    // Version 2 says "max" where there is none, version 1 a number that no machine has.
    counts.limit_bytes = read_number(folder_ + (second ? "/memory.max" : "/memory.limit_in_bytes"));
    constexpr std::uint64_t k_no_limit = std::uint64_t{1} << 62;
    if (counts.limit_bytes && *counts.limit_bytes >= k_no_limit) counts.limit_bytes.reset();
    counts.kills = kills();
    return counts;
}

std::vector<pid_t> Cgroup::processes() const {
    std::vector<pid_t> found;
    const auto text = read_text(procs_path());
    std::string_view left = text ? std::string_view(*text) : std::string_view();
    while (!left.empty()) {
        if (const auto pid = number_of(take(left, '\n'))) found.push_back(static_cast<pid_t>(*pid));
    }
    return found;
}

bool Cgroup::remove() const { return ::rmdir(folder_.c_str()) == 0 || errno == ENOENT; }

}  // namespace rh::isolate
