#include "rpc/spin.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>

namespace rh::rpc {

namespace {

// The first line of a small file, or "".
std::string first_line(const char* path) {
    char line[256] = "";
    if (std::FILE* file = std::fopen(path, "re")) {
        if (std::fgets(line, sizeof line, file) == nullptr) line[0] = '\0';
        std::fclose(file);
    }
    return line;
}

bool has_cpu_quota() {
    const std::string v2 = first_line("/sys/fs/cgroup/cpu.max");
    if (!v2.empty() && v2.rfind("max", 0) != 0) return true;
    const std::string v1 = first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    return !v1.empty() && std::strtol(v1.c_str(), nullptr, 10) > 0;
}

bool may_spin() {
    if (const char* setting = std::getenv("ROUNDHOUSE_SPIN"); setting != nullptr && std::strcmp(setting, "0") == 0) return false;
#ifdef __linux__
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2) return false;
#endif
    return ::sysconf(_SC_NPROCESSORS_ONLN) > 1 && !has_cpu_quota();
}

}  // namespace

bool Spin::possible() {
    static const bool possible = may_spin();
    return possible;
}

bool Spin::worthwhile() const {
    return possible() && misses_ < k_misses_max && (crowded_until_ == Clock::time_point{} || Clock::now() > crowded_until_);
}

}  // namespace rh::rpc
