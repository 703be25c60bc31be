#pragma once

// Which calls of a worker have begun, kept where the worker's death cannot take it: a small file that the worker maps and
// writes, at the cost of one store for each call, and that the daemon reads once the worker is gone. A worker that is killed
// has no last words, and yet its callers are told whether their call had begun.
//
// A slot for each stream modulo the number of slots has the highest stream of those that has begun. So a slot that has the
// stream itself says yes, a lower one no, and a higher one nothing. The daemon looks every k_slots / 2 streams, so that what
// runs for long is known before its slot goes to another.

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace rh::shm {

// In a worker's environment: where its file is to be.
inline constexpr const char* k_begun_variable = "ROUNDHOUSE_BEGUN";

// Empty where no daemon said so.
std::string begun_path_of_this_worker();

enum class Begun { no, yes, unknown };

// The worker's side; any thread. Without a file it marks nothing.
class BegunMarks {
public:
    static constexpr std::size_t k_slots = 4096;

    BegunMarks() = default;
    ~BegunMarks();
    BegunMarks(const BegunMarks&) = delete;
    BegunMarks& operator=(const BegunMarks&) = delete;

    // Makes the file, anew if it is there.
    Result<void> open(const std::string& path);
    void mark(std::uint64_t stream) {
        if (slots_ == nullptr) return;
        std::atomic_ref<std::uint64_t> slot(slots_[stream % k_slots]);
        std::uint64_t there = slot.load(std::memory_order_relaxed);
        while (there < stream && !slot.compare_exchange_weak(there, stream, std::memory_order_release, std::memory_order_relaxed)) {
        }
    }

private:
    std::uint64_t* slots_ = nullptr;
};

// The daemon's side: what stood in the file when it was read. The file is never mapped here, because its worker, which runs
// the user's code, might cut it.
class BegunCopy {
public:
    // Where there is no such file it knows nothing.
    static BegunCopy read(const std::string& path);
    Begun of(std::uint64_t stream) const;

private:
    std::vector<std::uint64_t> slots_;
};

}  // namespace rh::shm
