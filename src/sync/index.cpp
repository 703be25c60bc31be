#include "sync/index.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"

namespace rh::sync {

namespace {

constexpr std::int64_t k_second_ns = 1'000'000'000;
// A kernel stamps files with its last tick, at most 10 ms ago. A file system that keeps whole seconds, or pairs of them, shows it.
constexpr std::int64_t k_tick_ns = 50'000'000;

// In this machine's own byte order, for the file never leaves it. The digest is that of all that follows the head.
struct Head {
    char magic[8];
    std::uint64_t count;
    Digest digest;
};
constexpr char k_magic[8] = {'R', 'H', 'I', 'N', 'D', 'E', 'X', '1'};

}  // namespace

struct Index::Record {
    Stamp stamp;
    Digest digest;
    std::uint32_t path_at;
    std::uint32_t path_bytes;
};

Stamp Stamp::of(const struct stat& status) {
#ifdef __APPLE__
    const timespec& modified = status.st_mtimespec;
    const timespec& changed = status.st_ctimespec;
#else
    const timespec& modified = status.st_mtim;
    const timespec& changed = status.st_ctim;
#endif
    return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino), static_cast<std::uint64_t>(status.st_size),
            modified.tv_sec * k_second_ns + modified.tv_nsec, changed.tv_sec * k_second_ns + changed.tv_nsec};
}

bool is_settled(const Stamp& stamp, std::int64_t now_ns) {
    const bool whole_seconds = stamp.changed_ns % k_second_ns == 0;
    return stamp.changed_ns + (whole_seconds ? 2 * k_second_ns : k_tick_ns) < now_ns;
}

const Index::Record& Index::record(std::size_t at) const {
    return reinterpret_cast<const Record*>(bytes_.data() + sizeof(Head))[at];
}

std::string_view Index::path_of(std::size_t at) const {
    const std::string_view paths = as_text(bytes_.view().subspan(sizeof(Head) + count_ * sizeof(Record)));
    return paths.substr(record(at).path_at, record(at).path_bytes);
}

Index Index::read(const std::string& path) {
    Index index;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size < sizeof(Head) || size > limits::k_sync_index_bytes_max) return {};
    index.bytes_.extend(size);
    if (::pread(file.get(), index.bytes_.data(), size, 0) != static_cast<ssize_t>(size)) return {};
    Head head;
    std::memcpy(&head, index.bytes_.data(), sizeof head);
    const ByteView rest = index.bytes_.view().subspan(sizeof head);
    if (std::memcmp(head.magic, k_magic, sizeof k_magic) != 0 || head.count > rest.size() / sizeof(Record)) return {};
    if (head.digest != digest_of(rest)) return {};
    index.count_ = head.count;
    const std::size_t paths_bytes = rest.size() - head.count * sizeof(Record);
    for (std::size_t at = 0; at < index.count_; ++at) {
        const Record& each = index.record(at);
        if (each.path_at > paths_bytes || each.path_bytes > paths_bytes - each.path_at) return {};
    }
    return index;
}

const Digest* Index::find(std::string_view path, const Stamp& stamp) {
    if (next_ > 0 && path_of(next_ - 1) >= path) {
        std::size_t end = next_;
        for (next_ = 0; next_ < end;) {
            const std::size_t middle = next_ + (end - next_) / 2;
            if (path_of(middle) < path) {
                next_ = middle + 1;
            } else {
                end = middle;
            }
        }
    }
    while (next_ < count_ && path_of(next_) < path) ++next_;
    if (next_ == count_ || path_of(next_) != path || record(next_).stamp != stamp) return nullptr;
    return &record(next_).digest;
}

void IndexWriter::add(std::string_view path, const Stamp& stamp, const Digest& digest) {
    const Index::Record record{stamp, digest, static_cast<std::uint32_t>(paths_.size()), static_cast<std::uint32_t>(path.size())};
    records_.append({reinterpret_cast<const std::byte*>(&record), sizeof record});
    paths_ += path;
    ++count_;
}

Result<void> IndexWriter::write(const std::string& path) const {
    Head head{{}, count_, {}};
    std::memcpy(head.magic, k_magic, sizeof k_magic);
    Hasher hasher;
    hasher.update(records_.view());
    hasher.update(as_byte_view(paths_));
    head.digest = hasher.finish();

    std::string fresh = path + ".XXXXXX";
    const Fd file(::mkostemp(fresh.data(), O_CLOEXEC));
    if (!file) return fail(os_error("making " + fresh, errno));
    Bytes all;
    all.reserve(sizeof head + records_.size() + paths_.size());
    all.append({reinterpret_cast<const std::byte*>(&head), sizeof head});
    all.append(records_.view());
    all.append(as_byte_view(paths_));
    ByteView left = all.view();
    while (!left.empty()) {
        const ssize_t count = ::write(file.get(), left.data(), left.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        left = left.subspan(static_cast<std::size_t>(count));
    }
    // It is not synced: after a power cut a damaged one is as none.
    if (!left.empty() || ::rename(fresh.c_str(), path.c_str()) != 0) {
        const int why = errno;
        ::unlink(fresh.c_str());
        return fail(os_error("writing " + path, why));
    }
    return {};
}

}  // namespace rh::sync
