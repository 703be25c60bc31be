#pragma once

// One memory cgroup, of version 2 or 1, as files: made, limited, read and removed. A value that owns nothing: whoever made
// the cgroup sees to its end. Linux only.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "process/keeper_messages.h"
#include "process/text_file.h"

namespace rh::isolate {

enum class Version { v1, v2 };

// Where a process stands among the memory cgroups of this machine.
struct Place {
    Version version = Version::v2;
    std::string mount;  // of the hierarchy
    std::string path;   // below it; empty for its root

    std::string folder() const { return mount + path; }
};

// From the texts of /proc/PID/mountinfo and /proc/PID/cgroup: the hierarchy that counts memory. Nothing where there is none,
// or where what is mounted does not show that process's place.
std::optional<Place> find_place(std::string_view mountinfo, std::string_view cgroups);
std::optional<Place> own_place();

// What the kernel has counted; absent where it does not say.
struct Counts {
    std::optional<std::uint64_t> used_bytes;
    std::optional<std::uint64_t> peak_bytes;
    std::optional<std::uint64_t> limit_bytes;
    // Processes in there that were killed for memory, whoever had none left: this cgroup, one above it, or the machine.
    std::optional<std::uint64_t> kills;
};

class Cgroup {
public:
    Cgroup(Version version, std::string folder) : version_(version), folder_(std::move(folder)) {}
    // Makes its folder. Code::io with the kernel's words where that is refused.
    static Result<Cgroup> make(Version version, std::string folder);

    // What is in there may have so much, and none of it in swap, where it would be slow rather than told of.
    Result<void> limit(std::uint64_t bytes) const;
    Counts read() const;
    std::optional<std::uint64_t> kills() const;
    std::optional<std::uint64_t> used_bytes() const;
    // The file that a process is moved here by.
    std::string procs_path() const { return folder_ + "/cgroup.procs"; }
    std::vector<pid_t> processes() const;
    // True once it is not there any more. False while something is in it.
    bool remove() const;
    // The file that tells of kills, and shows their number.
    std::string events_path() const;

    Version version() const { return version_; }
    const std::string& folder() const { return folder_; }
    process::Enforcer enforcer() const { return version_ == Version::v2 ? process::Enforcer::cgroup2 : process::Enforcer::cgroup1; }

private:
    Version version_;
    std::string folder_;
};

// Files of the kernel's, which have one value or line each; also used on others of that kind.
using process::read_text;
Result<void> write_text(const std::string& path, std::string_view text);
// Of a text of lines "NAME VALUE".
std::optional<std::uint64_t> value_of(std::string_view text, std::string_view name);
std::optional<std::uint64_t> number_of(std::string_view text);

}  // namespace rh::isolate
