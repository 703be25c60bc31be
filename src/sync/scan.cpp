#include "sync/scan.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "base/limits.h"
#include "sync/index.h"
#include "sync/walk.h"

namespace rh::sync {

namespace {

constexpr int k_read_attempts = 3;
constexpr std::size_t k_biggest_named = 5;

std::int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

std::string size_text(std::uint64_t bytes) {
    if (bytes >= std::uint64_t{1} << 30) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
    if (bytes >= std::uint64_t{1} << 20) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
    return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / (1 << 10));
}

std::uint64_t bytes_of(const std::vector<Found>& found) {
    std::uint64_t bytes = 0;
    for (const Found& each : found) bytes += each.entry.bytes;
    return bytes;
}

// What a project that is too big holds, by what stands at its top: what has the biggest share of what there is too much of comes first.
std::string biggest(const std::vector<Found>& found, bool by_files) {
    struct Share {
        std::string name;
        std::uint64_t bytes = 0;
        std::uint64_t files = 0;
    };
    std::map<std::string, Share> shares;
    for (const Found& each : found) {
        const std::string top = each.entry.path.substr(0, each.entry.path.find('/') + 1);  // all of it where there is no '/'
        Share& share = shares[top.empty() ? each.entry.path : top];
        share.bytes += each.entry.bytes;
        ++share.files;
    }
    std::vector<Share> sorted;
    for (auto& [name, share] : shares) sorted.push_back({shown(name), share.bytes, share.files});
    std::stable_sort(sorted.begin(), sorted.end(), [&](const Share& left, const Share& right) {
        return by_files ? left.files > right.files : left.bytes > right.bytes;
    });
    std::string text;
    for (std::size_t at = 0; at < std::min(sorted.size(), k_biggest_named); ++at) {
        const Share& share = sorted[at];
        text += fmt::format("{}{} ({}", at == 0 ? "" : ", ", share.name, size_text(share.bytes));
        text += share.name.ends_with('/') ? fmt::format(" in {} files)", share.files) : ")";
    }
    return text;
}

Result<void> check_size(const std::string& root, const std::vector<Found>& found, bool stopped_early) {
    const std::uint64_t bytes = bytes_of(found);
    const bool too_many = stopped_early || found.size() > limits::k_sync_entries_max;
    if (!too_many && bytes <= limits::k_sync_bytes_max) return {};
    const std::string names = biggest(found, too_many);
    const std::string is = fmt::format("{}{} in {} files, and at most {} in {} are sent", stopped_early ? "more than " : "", size_text(bytes), found.size(),
                                       size_text(limits::k_sync_bytes_max), limits::k_sync_entries_max);
    const std::string message =
        root.empty() ? fmt::format("the code is too big to be sent: {}. The biggest: {}. Deploy fewer modules at once", is, names)
                     : fmt::format("the project {0} is too big to be sent: {1}. The biggest: {2}. Name what the code does not need in {0}/.roundhouseignore, "
                                   "written as in a .gitignore, or keep it outside the project",
                                   shown(root), is, names);
    return fail(Error(Code::code_sync, message).with("biggest", names));
}

// Which file is read for an entry. Its errno says why it cannot be.
using OpenFile = std::function<Fd(std::size_t)>;

// The second half of a scan: the content of what was found, from the index or from the files.
class Reader {
public:
    Reader(std::vector<Found>& found, const std::string& index_path, Scanned& report, const OnProgress& progress)
        : found_(found), index_path_(index_path), report_(report), progress_(progress), started_ns_(now_ns()) {}

    Result<void> read(const OpenFile& open_file);
    void keep_index();

private:
    Result<void> read_file(std::size_t at, const OpenFile& open_file);
    Result<void> hash(Found& found, int fd);

    std::vector<Found>& found_;
    const std::string& index_path_;
    Scanned& report_;
    const OnProgress& progress_;
    const std::int64_t started_ns_;
    std::size_t index_size_ = 0;
    std::size_t unchanged_ = 0;
};

Result<void> Reader::read(const OpenFile& open_file) {
    Index index = index_path_.empty() ? Index() : Index::read(index_path_);
    index_size_ = index.size();
    std::vector<std::size_t> to_read;
    ScanProgress progress{.files_found = found_.size()};
    for (std::size_t at = 0; at < found_.size(); ++at) {
        Found& found = found_[at];
        if (found.entry.kind == EntryKind::link) continue;
        if (const Digest* digest = index.find(found.entry.path, found.stamp)) {
            found.entry.digest = *digest;
            found.settled = true;
            ++unchanged_;
        } else {
            to_read.push_back(at);
            progress.bytes_to_hash += found.entry.bytes;
        }
    }
    progress.files_to_hash = to_read.size();
    for (const std::size_t at : to_read) {
        const std::uint64_t bytes = found_[at].entry.bytes;
        RH_TRY_VOID(read_file(at, open_file));
        ++progress.files_hashed;
        progress.bytes_hashed += bytes;
        if (progress_ && !progress_(progress)) return fail(Code::cancelled, "reading the project's files was stopped");
    }
    return {};
}

// A file that has gone, or may not be read, is left out, and the rest goes on.
Result<void> Reader::read_file(std::size_t at, const OpenFile& open_file) {
    Found& found = found_[at];
    const Fd file = open_file(at);
    if (file) return hash(found, file.get());
    found.gone = true;
    if (errno == EACCES || errno == EPERM) {
        leave_out(report_, found.entry.path, std::generic_category().message(errno));
    } else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
        return fail(os_error("opening " + shown(found.entry.path), errno));
    }
    return {};
}

// What stands at the file's front when it is read, as many bytes as it has then. A file that grows meanwhile, such as a log, is taken
// as it was; whoever sends it reads as much, and finds out if it is another content.
Result<void> Reader::hash(Found& found, int fd) {
    for (int attempt = 0; attempt < k_read_attempts && !found.settled; ++attempt) {
        struct stat before {};
        struct stat after {};
        if (::fstat(fd, &before) != 0) return fail(os_error("looking at " + shown(found.entry.path), errno));
        found.gone = !S_ISREG(before.st_mode);
        if (found.gone) return {};
        found.see(before);
        const auto read = digest_of_file(fd, found.entry.bytes);
        if (!read) return fail(Error(read.error().code, fmt::format("{}: {}", shown(found.entry.path), read.error().message)));
        found.entry.digest = read->digest;
        found.entry.bytes = read->bytes;
        if (::fstat(fd, &after) != 0) return fail(os_error("looking at " + shown(found.entry.path), errno));
        if (Stamp::of(after) != found.stamp) continue;
        found.settled = is_settled(found.stamp, started_ns_);
        break;
    }
    ++report_.hashed_files;
    report_.hashed_bytes += found.entry.bytes;
    return {};
}

// Nothing is written when nothing has changed.
void Reader::keep_index() {
    if (index_path_.empty()) return;
    IndexWriter writer;
    std::size_t settled = 0;
    for (const Found& found : found_) settled += found.settled ? 1 : 0;
    if (settled == unchanged_ && unchanged_ == index_size_) return;
    for (const Found& found : found_) {
        if (found.settled) writer.add(found.entry.path, found.stamp, found.entry.digest);
    }
    const Result<void> written = writer.write(index_path_);
    if (!written) report_.index_trouble = written.error().message;
}

// Moves what is left of what was found into the manifest.
Result<void> finish(std::vector<Found>& found, Scanned& scanned) {
    RH_TRY_VOID(check_size(scanned.root, found, false));
    scanned.manifest.entries.reserve(found.size());
    for (Found& each : found) {
        if (each.gone) continue;
        scanned.bytes += each.entry.bytes;
        scanned.manifest.entries.push_back(std::move(each.entry));
    }
    return check(scanned.manifest);
}

std::string real_path(const std::string& path) {
    std::error_code none;
    return std::filesystem::canonical(path, none).string();
}

Result<std::string> root_of(const ScanOptions& options) {
    std::string root = real_path(options.root);
    if (root.empty() || !std::filesystem::is_directory(root)) {
        return fail(Code::code_sync, fmt::format("{} is no folder that can be read, so it is no project's root", shown(options.root)));
    }
    const std::string home = options.home.empty() ? std::string() : real_path(options.home);
    if (root == "/" || root == home || home.starts_with(root + "/")) {
        return fail(Code::code_sync, fmt::format("the project's root is {}, which is {}: give the project a folder of its own", shown(root),
                                                 root == "/" ? "the whole file system" : root == home ? "the home folder" : "above the home folder"));
    }
    return root;
}

}  // namespace

Result<Scanned> scan(const ScanOptions& options, const OnProgress& progress) {
    Scanned scanned;
    RH_TRY(scanned.root, root_of(options));
    Walk walk(scanned.root, scanned, progress);
    RH_TRY_VOID(walk.run());
    for (const std::string& path : options.also) walk.add(path);
    std::vector<Found>& found = walk.found();
    RH_TRY_VOID(check_size(scanned.root, found, walk.is_full()));
    Reader reader(found, options.index_path, scanned, progress);
    Opener opener(walk.root_fd());
    RH_TRY_VOID(reader.read([&](std::size_t at) { return opener.open(found[at].entry.path, found[at].followed); }));
    reader.keep_index();
    RH_TRY_VOID(finish(found, scanned));
    return scanned;
}

Result<Scanned> scan_files(std::vector<std::pair<std::string, std::string>> files, const std::string& index_path, const OnProgress& progress) {
    std::sort(files.begin(), files.end());
    Scanned scanned;
    std::vector<Found> found(files.size());
    for (std::size_t at = 0; at < files.size(); ++at) {
        auto& [path, place] = files[at];
        struct stat status {};
        if (::stat(place.c_str(), &status) != 0) return fail(Code::code_sync, os_error(shown(place), errno).message);
        if (!S_ISREG(status.st_mode)) return fail(Code::code_sync, fmt::format("{} is no file that can be sent", shown(place)));
        found[at].entry.path = std::move(path);
        found[at].see(status);
        scanned.places.push_back(std::move(place));
    }
    RH_TRY_VOID(check_size({}, found, false));
    Reader reader(found, index_path, scanned, progress);
    RH_TRY_VOID(reader.read([&](std::size_t at) { return Fd(::open(scanned.places[at].c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)); }));
    for (const Found& each : found) {
        if (each.gone) return fail(Code::code_sync, fmt::format("{} cannot be read any more", shown(each.entry.path)));
    }
    reader.keep_index();
    RH_TRY_VOID(finish(found, scanned));
    return scanned;
}

}  // namespace rh::sync
