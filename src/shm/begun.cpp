#include "shm/begun.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

namespace rh::shm {

namespace {

constexpr std::size_t k_bytes = BegunMarks::k_slots * sizeof(std::uint64_t);

}  // namespace

std::string begun_path_of_this_worker() {
    const char* const path = std::getenv(k_begun_variable);
    return path == nullptr ? "" : path;
}

BegunMarks::~BegunMarks() {
    if (slots_ != nullptr) ::munmap(slots_, k_bytes);
}

Result<void> BegunMarks::open(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail(os_error(fmt::format("cannot make {}", path), errno));
    // Its room is taken now: on a full disk the kernel would answer a store into it with SIGBUS.
    if (const int error = ::posix_fallocate(file.get(), 0, k_bytes); error != 0) return fail(os_error(fmt::format("no room for {}", path), error));
    void* const mapped = ::mmap(nullptr, k_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (mapped == MAP_FAILED) return fail(os_error(fmt::format("cannot map {}", path), errno));
    slots_ = static_cast<std::uint64_t*>(mapped);
    return {};
}

BegunCopy BegunCopy::read(const std::string& path) {
    BegunCopy copy;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return copy;
    copy.slots_.resize(BegunMarks::k_slots);
    if (::pread(file.get(), copy.slots_.data(), k_bytes, 0) != static_cast<ssize_t>(k_bytes)) copy.slots_.clear();
    return copy;
}

Begun BegunCopy::of(std::uint64_t stream) const {
    if (slots_.empty()) return Begun::unknown;
    const std::uint64_t there = slots_[stream % BegunMarks::k_slots];
    return there == stream ? Begun::yes : there < stream ? Begun::no : Begun::unknown;
}

}  // namespace rh::shm
