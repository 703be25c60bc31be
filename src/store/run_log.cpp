#include "store/run_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "base/limits.h"
#include "store/checksum.h"
#include "store/sync.h"

namespace rh::store {

namespace {

// Before each piece: offset (8 bytes), length (4), channel (4), checksum of all the rest (8), and the place: number (8) and both
// files' offsets (8 each), all little endian. Stored: never change.
constexpr std::size_t k_head_bytes = 48;

struct Head {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint32_t channel = 0;
    std::uint64_t checksum = 0;
    OutputPlace place;
};

void put_number(char* to, std::uint64_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) to[i] = static_cast<char>(number >> (8 * i));
}

std::uint64_t number_at(const char* from, int bytes) {
    std::uint64_t number = 0;
    for (int i = 0; i < bytes; ++i) number |= static_cast<std::uint64_t>(static_cast<unsigned char>(from[i])) << (8 * i);
    return number;
}

std::string piece_of(Channel channel, std::uint64_t offset, std::string_view text, const OutputPlace& place) {
    std::string piece(k_head_bytes, '\0');
    put_number(piece.data(), offset, 8);
    put_number(piece.data() + 8, text.size(), 4);
    put_number(piece.data() + 12, static_cast<std::uint64_t>(channel), 4);
    put_number(piece.data() + 24, place.number, 8);
    put_number(piece.data() + 32, place.file_offsets[0], 8);
    put_number(piece.data() + 40, place.file_offsets[1], 8);
    piece += text;
    put_number(piece.data() + 16, checksum_of(piece), 8);  // its own place is still zero
    return piece;
}

// The file read in large steps, from `at` on.
class Reader {
public:
    explicit Reader(int file) : file_(file) {}

    void seek(std::uint64_t at) {
        if (at >= at_ && at - at_ <= buffer_.size() - begin_) return take(at - at_);
        at_ = at;
        begin_ = 0;
        buffer_.clear();
    }
    std::uint64_t at() const { return at_; }
    // The next so many bytes, or what the file still has of them.
    Result<std::string_view> look(std::size_t bytes) {
        if (buffer_.size() - begin_ < bytes) buffer_.erase(0, std::exchange(begin_, 0));
        while (buffer_.size() - begin_ < bytes) {
            const std::size_t before = buffer_.size();
            buffer_.resize(std::max(bytes, k_step_bytes));
            const ssize_t got = ::pread(file_, buffer_.data() + before, buffer_.size() - before, static_cast<off_t>(at_ + before));
            const int why = errno;
            buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
            if (got < 0 && why == EINTR) continue;
            if (got < 0) return fail(os_error("cannot read a run's output", why));
            if (got == 0) break;
        }
        return std::string_view(buffer_).substr(begin_, bytes);
    }
    void take(std::size_t bytes) {
        at_ += bytes;
        begin_ += bytes;
    }
    // The head of the next piece; nothing at the end of the file, or where a piece is not whole yet.
    Result<std::optional<Head>> head() {
        RH_TRY(const std::string_view bytes, look(k_head_bytes));
        if (bytes.size() < k_head_bytes) return std::optional<Head>();
        Head head;
        head.offset = number_at(bytes.data(), 8);
        head.length = static_cast<std::uint32_t>(number_at(bytes.data() + 8, 4));
        head.channel = static_cast<std::uint32_t>(number_at(bytes.data() + 12, 4));
        head.checksum = number_at(bytes.data() + 16, 8);
        head.place = {number_at(bytes.data() + 24, 8), {number_at(bytes.data() + 32, 8), number_at(bytes.data() + 40, 8)}};
        return std::optional(head);
    }

private:
    static constexpr std::size_t k_step_bytes = 64 * 1024;

    int file_;
    std::uint64_t at_ = 0;  // in the file, of the first byte that was not taken
    std::size_t begin_ = 0;  // the same in the buffer
    std::string buffer_;
};

Error damaged(const std::string& path, std::uint64_t offset) {
    return Error(Code::damaged, fmt::format("the output of a run is damaged from offset {} on ({}); what is before it can be read", offset, path)).with("path", path);
}

bool is_sound(const Head& head, std::string_view whole) {
    std::string piece(whole);
    std::memset(piece.data() + 16, 0, 8);
    return checksum_of(piece) == head.checksum;
}

bool can_be(const Head& head) { return head.length <= limits::k_frame_body_bytes_max * 4 && (head.channel == 1 || head.channel == 2); }

Result<void> write_all(int file, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(file, bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail(os_error("cannot write " + path, errno));
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return {};
}

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

Result<void> RunLog::append(Channel channel, std::uint64_t at, std::string_view text, const OutputPlace& place, std::uint64_t bytes_kept) const {
    Fd file(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file && errno == ENOENT) {
        RH_TRY_VOID(make_folder(folder_of(path_)));
        file = Fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    }
    if (!file) return fail(os_error("cannot open " + path_, errno));
    struct stat before {};
    if (::fstat(file.get(), &before) != 0) return fail(os_error("cannot look at " + path_, errno));
    const Result<void> wrote = write_all(file.get(), piece_of(channel, at, text, place), path_);
    if (!wrote) {
        // Half a piece would hide all that come behind it.
        if (::ftruncate(file.get(), before.st_size) != 0) return fail(os_error("cannot cut " + path_, errno));
        return wrote;
    }
    // Its text is synced with the attempt's end; here it is to be found.
    if (before.st_size == 0) RH_TRY_VOID(sync_folder(folder_of(path_)));
    if (static_cast<std::uint64_t>(before.st_size) + text.size() > 2 * bytes_kept) return cut(bytes_kept);
    return {};
}

Result<void> RunLog::cut(std::uint64_t bytes_kept) const {
    const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat now {};
    if (!file || ::fstat(file.get(), &now) != 0) return fail(os_error("cannot open " + path_, errno));
    Reader reader(file.get());
    while (static_cast<std::uint64_t>(now.st_size) - reader.at() > bytes_kept) {
        RH_TRY(const std::optional<Head> head, reader.head());
        if (!head || !can_be(*head)) return {};  // damaged: left as it is, for whoever reads it
        reader.seek(reader.at() + k_head_bytes + head->length);
    }
    const std::string draft = path_ + ".new";
    const Fd into(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!into) return fail(os_error("cannot make " + draft, errno));
    for (;;) {
        RH_TRY(const std::string_view bytes, reader.look(std::size_t{64} * 1024));
        if (bytes.empty()) break;
        RH_TRY_VOID(write_all(into.get(), bytes, draft));
        reader.take(bytes.size());
    }
    // What it takes the place of may have been synced already.
    if (::fdatasync(into.get()) != 0) return fail(os_error("cannot sync " + draft, errno));
    if (::rename(draft.c_str(), path_.c_str()) != 0) return fail(os_error("cannot rename " + draft, errno));
    return sync_folder(folder_of(path_));
}

Result<LogRead> RunLog::read(LogCursor from, std::uint64_t bytes_max) const {
    LogRead read;
    read.next = from;
    const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file && errno == ENOENT) return read;
    if (!file) return fail(os_error("cannot open " + path_, errno));
    Reader reader(file.get());
    reader.seek(from.file_at);
    if (from.file_at != 0) {
        // The file may have been cut since.
        RH_TRY(const std::optional<Head> there, reader.head());
        struct stat now {};
        const bool at_end = !there && ::fstat(file.get(), &now) == 0 && static_cast<std::uint64_t>(now.st_size) == from.file_at;
        if (!at_end && (!there || there->offset != from.offset)) reader.seek(0);
    }
    std::uint64_t got = 0;
    while (got < bytes_max) {
        RH_TRY(const std::optional<Head> head, reader.head());
        if (!head) break;
        const auto is_damaged = [&]() -> Result<LogRead> {
            // What was found before it is told first.
            if (!read.pieces.empty()) return read;
            return fail(damaged(path_, read.next.offset));
        };
        if (!can_be(*head)) return is_damaged();
        const std::uint64_t end = head->offset + head->length;
        if (end <= from.offset && head->length > 0) {
            reader.seek(reader.at() + k_head_bytes + head->length);
            continue;
        }
        RH_TRY(const std::string_view whole, reader.look(k_head_bytes + head->length));
        if (whole.size() < k_head_bytes + head->length) break;
        if (!is_sound(*head, whole)) return is_damaged();
        const std::uint64_t skipped = from.offset > head->offset ? from.offset - head->offset : 0;
        std::string_view text = whole.substr(k_head_bytes + skipped);
        const bool fits = text.size() <= bytes_max - got;
        text = text.substr(0, bytes_max - got);
        got += text.size();
        if (!text.empty()) read.pieces.push_back({head->offset + skipped, static_cast<Channel>(head->channel), std::string(text)});
        read.next = {head->offset + skipped + text.size(), reader.at()};
        if (!fits) {
            // The rest of that piece comes next; its head is found from the beginning of the file.
            read.next.file_at = 0;
            break;
        }
        reader.take(whole.size());
        read.next.file_at = reader.at();
    }
    return read;
}

Result<void> RunLog::sync() const {
    const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file && errno == ENOENT) return {};
    if (!file || ::fdatasync(file.get()) != 0) return fail(os_error("cannot sync " + path_, errno));
    return {};
}

Result<LogEnd> RunLog::recover() const {
    LogEnd end;
    const Fd file(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!file && errno == ENOENT) return end;
    struct stat now {};
    if (!file || ::fstat(file.get(), &now) != 0) return fail(os_error("cannot open " + path_, errno));
    const auto size = static_cast<std::uint64_t>(now.st_size);
    Reader reader(file.get());
    while (reader.at() < size) {
        RH_TRY(const std::optional<Head> head, reader.head());
        if (head && !can_be(*head)) return end;  // damaged: left as it is, for whoever reads it
        if (!head || size - reader.at() < k_head_bytes + head->length) {
            if (::ftruncate(file.get(), static_cast<off_t>(reader.at())) != 0) return fail(os_error("cannot cut " + path_, errno));
            return end;
        }
        end = {head->offset + head->length, head->place};
        reader.seek(reader.at() + k_head_bytes + head->length);
    }
    return end;
}

}  // namespace rh::store
