#include "sync/code_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <unordered_set>

#include "base/limits.h"
#include "sync/difference.h"

namespace rh::sync {

namespace fs = std::filesystem;

namespace {

constexpr unsigned k_file_mode = 0444;
constexpr unsigned k_executable_mode = 0555;

Result<void> write_all(int file, ByteView bytes, off_t at = 0) {
    while (!bytes.empty()) {
        const auto count = ::pwrite(file, bytes.data(), bytes.size(), at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail(os_error("code cannot be stored on the node", errno));
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        at += count;
    }
    return {};
}

Result<Bytes> read_all(int file, std::uint64_t at, std::uint64_t bytes) {
    Bytes content;
    while (content.size() < bytes) {
        const std::size_t have = content.size();
        const std::size_t left = static_cast<std::size_t>(bytes - have);
        const auto count = ::pread(file, content.extend(left), left, static_cast<off_t>(at + have));
        const int why = errno;
        content.truncate(have + (count > 0 ? static_cast<std::size_t>(count) : 0));
        if (count < 0 && why == EINTR) continue;
        if (count < 0) return fail(os_error("stored code cannot be read", why));
        if (count == 0) break;
    }
    return content;
}

bool is_older(const timespec& time, std::chrono::seconds age) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec - time.tv_sec > age.count();
}

// A directory that is read to its end.
std::vector<std::string> names_in(int folder) {
    std::vector<std::string> names;
    const int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const opened = again < 0 ? nullptr : ::fdopendir(again);
    if (opened == nullptr) {
        if (again >= 0) ::close(again);
        return names;
    }
    while (const dirent* const each = ::readdir(opened)) {
        const std::string_view name = each->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(opened);
    return names;
}

std::vector<std::string> names_in(const std::string& folder) {
    const Fd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return opened ? names_in(opened.get()) : std::vector<std::string>();
}

constexpr const char* k_byte_code = "__pycache__";

using Entries = std::span<const Entry>;

// The name behind `from` in an entry's path: of the entry, or of the folder that it is in there.
std::string_view first_name(const Entry& entry, std::size_t from) {
    const std::string_view rest = std::string_view(entry.path).substr(from);
    return rest.substr(0, rest.find('/'));
}

// The first that is not beneath the folder whose path are the first `bytes` of `path`; paths are sorted.
Entries::iterator end_of_folder(Entries::iterator at, Entries::iterator end, std::size_t bytes, std::string_view path = {}) {
    if (at == end) return end;
    const std::string_view folder = (path.empty() ? std::string_view(at->path) : path).substr(0, bytes);
    return std::partition_point(at, end, [&](const Entry& each) { return each.path.starts_with(folder); });
}

Result<void> remove_at(int folder, const std::string& name) {
    if (::unlinkat(folder, name.c_str(), 0) == 0) return {};
    if (errno != EISDIR && errno != EPERM) return fail(os_error("what is in the way of a snapshot cannot be removed", errno));
    {
        const Fd below(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!below) return fail(os_error("what is in the way of a snapshot cannot be removed", errno));
        for (const std::string& each : names_in(below.get())) RH_TRY_VOID(remove_at(below.get(), each));
    }
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) != 0) return fail(os_error("what is in the way of a snapshot cannot be removed", errno));
    return {};
}

// Of those sources, by their names without ".py", and nothing else.
void keep_byte_code(int folder, const std::unordered_set<std::string>& sources) {
    const Fd cache(::openat(folder, k_byte_code, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!cache) return;
    for (const std::string& name : names_in(cache.get())) {
        if (!name.ends_with(".pyc") || !sources.contains(name.substr(0, name.find('.')))) ::unlinkat(cache.get(), name.c_str(), 0);
    }
    ::unlinkat(folder, k_byte_code, AT_REMOVEDIR);  // where nothing is left
}

// The names, without ".py", of the sources in each folder that are the same in both.
std::map<std::string, std::unordered_set<std::string>> same_sources(const Manifest& now, const Manifest& before) {
    std::map<std::string, std::unordered_set<std::string>> same;
    auto old = before.entries.begin();
    for (const Entry& entry : now.entries) {
        while (old != before.entries.end() && old->path < entry.path) ++old;
        if (old == before.entries.end()) break;
        if (old->path != entry.path || old->digest != entry.digest || old->kind == EntryKind::link || !entry.path.ends_with(".py")) continue;
        const std::size_t slash = entry.path.rfind('/');
        const std::size_t from = slash == entry.path.npos ? 0 : slash + 1;
        same[entry.path.substr(0, from)].insert(entry.path.substr(from, entry.path.size() - 3 - from));
    }
    return same;
}

}  // namespace

std::string snapshot_path(std::string_view folder, std::string_view id) { return fmt::format("{}/snapshots/{}", folder, id); }

std::string CodeFolder::path(std::string_view kind, std::string_view name) const { return fmt::format("{}/{}/{}", folder_, kind, name); }

std::string CodeFolder::new_name() { return fmt::format("{}-{}", ::getpid(), ++made_); }

namespace {

std::string content_name(const Digest& digest) {
    const std::string hex = digest.hex();
    return hex.substr(0, 2) + '/' + hex;
}

}  // namespace

Result<void> CodeFolder::open() {
    if (is_open_) return {};
    for (const char* const each : {"", "/files", "/manifests", "/snapshots", "/latest", "/new"}) {
        const std::string folder = folder_ + each;
        if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail(os_error("cannot make the folder " + folder, errno));
    }
    for (unsigned front = 0; front < 256; ++front) {
        const std::string folder = fmt::format("{}/files/{:02x}", folder_, front);
        if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail(os_error("cannot make the folder " + folder, errno));
    }
    is_open_ = true;
    return {};
}

bool CodeFolder::has_snapshot(const Digest& id) const { return ::access(snapshot_path(folder_, id.hex()).c_str(), F_OK) == 0; }

void CodeFolder::touch(const Digest& id) const { ::utimensat(AT_FDCWD, path("manifests", id.hex()).c_str(), nullptr, 0); }

bool CodeFolder::has_content(const Digest& digest) const { return ::access(path("files", content_name(digest)).c_str(), F_OK) == 0; }

Result<void> CodeFolder::write_whole(std::string_view kind, const std::string& name, ByteView content, unsigned mode) {
    const std::string beside = path("new", new_name());
    const auto made = [&]() -> Result<void> {
        const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (!file) return fail(os_error("code cannot be stored on the node", errno));
        RH_TRY_VOID(write_all(file.get(), content));
        if (::fchmod(file.get(), mode) != 0 || ::rename(beside.c_str(), path(kind, name).c_str()) != 0) return fail(os_error("code cannot be stored on the node", errno));
        return {};
    }();
    if (!made) ::unlink(beside.c_str());
    return made;
}

Result<void> CodeFolder::put_manifest(const Digest& id, ByteView encoded) {
    if (id_of(encoded) != id) return fail(Code::code_sync, fmt::format("a manifest that came is not that of snapshot {}", id.hex()));
    RH_TRY([[maybe_unused]] const Manifest checked, decode(encoded));
    RH_TRY_VOID(open());
    return write_whole("manifests", id.hex(), encoded, k_file_mode);
}

Result<Manifest> CodeFolder::manifest(const Digest& id) const {
    const Fd file(::open(path("manifests", id.hex()).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(Code::not_found, fmt::format("there is no snapshot {} here", id.hex()));
    RH_TRY(const Bytes encoded, read_all(file.get(), 0, limits::k_sync_manifest_bytes_max));
    if (id_of(encoded.view()) != id) return fail(Code::damaged, fmt::format("the manifest of snapshot {} is not what was stored", id.hex()));
    return decode(encoded.view());
}

Result<void> CodeFolder::put(const Piece& piece) {
    RH_TRY_VOID(open());
    if (piece.offset > piece.bytes || piece.content.size() > piece.bytes - piece.offset) return fail(Code::code_sync, "a piece of code is larger than the whole");
    if (has_content(piece.digest)) return {};
    if (piece.content.size() != piece.bytes) return put_part(piece);
    if (digest_of(piece.content) != piece.digest) return fail(Code::code_sync, fmt::format("what came as the content {} is something else", piece.digest.hex()));
    return write_whole("files", content_name(piece.digest), piece.content, k_file_mode);
}

// Of a file that comes in several. Whoever sends it as well writes the same bytes to the same places.
Result<void> CodeFolder::put_part(const Piece& piece) {
    const std::string beside = path("new", "part-" + piece.digest.hex());
    const Fd file(::open(beside.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file) return fail(os_error("code cannot be stored on the node", errno));
    const auto keep = [&]() -> Result<void> {
        RH_TRY_VOID(write_all(file.get(), piece.content, static_cast<off_t>(piece.offset)));
        if (piece.offset + piece.content.size() < piece.bytes) return {};
        RH_TRY(const FileDigest found, digest_of_file(file.get()));
        if (found.bytes != piece.bytes || found.digest != piece.digest) return fail(Code::code_sync, fmt::format("what came as the content {} is something else", piece.digest.hex()));
        if (::fchmod(file.get(), k_file_mode) != 0 || ::rename(beside.c_str(), path("files", content_name(piece.digest)).c_str()) != 0)
            return fail(os_error("code cannot be stored on the node", errno));
        return {};
    };
    Result<void> kept = keep();
    if (!kept) ::unlink(beside.c_str());
    return kept;
}

// --- snapshots -------------------------------------------------------------------------------------------------------

Result<std::vector<std::size_t>> CodeFolder::absent(const Digest& id, std::string_view project) const {
    RH_TRY(const Manifest wanted, manifest(id));
    return absent(wanted, latest(project));
}

Result<std::vector<std::size_t>> CodeFolder::absent(const Manifest& wanted, const std::optional<Digest>& before) const {
    // What the snapshot before holds is here, without a look at each.
    std::unordered_set<Digest, DigestHash> held;
    if (before && has_snapshot(*before)) {
        if (const auto old = manifest(*before)) {
            held.reserve(old->entries.size());
            for (const Entry& entry : old->entries) {
                if (entry.kind == EntryKind::file) held.insert(entry.digest);
            }
        }
    }
    return missing(wanted, [&](const Digest& digest) { return held.contains(digest) || has_content(digest); });
}

Result<std::vector<std::size_t>> CodeFolder::make(const Digest& id, std::string_view project, const std::optional<Digest>& spare) {
    RH_TRY_VOID(open());
    touch(id);
    const std::optional<Digest> before = latest(project);
    if (!has_snapshot(id)) {
        RH_TRY(const Manifest wanted, manifest(id));
        RH_TRY(std::vector<std::size_t> lacking, absent(wanted, before));
        if (!lacking.empty()) return lacking;
        const std::string beside = path("new", new_name());
        Result<void> made = make_at(beside, wanted, before, spare);
        if (made && ::rename(beside.c_str(), snapshot_path(folder_, id.hex()).c_str()) != 0 && !has_snapshot(id)) made = fail(os_error("a snapshot of code cannot be made", errno));
        std::error_code ignored;
        fs::remove_all(beside, ignored);
        if (!made) return fail(std::move(made.error()));
    }
    // Or the next one compiles again what this one has compiled.
    if (before != id) (void)write_whole("latest", digest_of(as_byte_view(project)).hex(), as_byte_view(id.hex()), 0600);
    return std::vector<std::size_t>();
}

// At `folder`, where nothing is. A spare snapshot becomes the new one by what differs; what of it is no snapshot any more goes.
Result<void> CodeFolder::make_at(const std::string& folder, const Manifest& wanted, const std::optional<Digest>& before, const std::optional<Digest>& spare) {
    Manifest old;
    if (auto found = spare ? manifest(*spare) : fail(Code::not_found, ""); found && ::rename(snapshot_path(folder_, spare->hex()).c_str(), folder.c_str()) == 0) {
        ::unlink(path("manifests", spare->hex()).c_str());
        old = std::move(*found);
    } else if (::mkdir(folder.c_str(), 0755) != 0) {
        return fail(os_error("a snapshot of code cannot be made", errno));
    }
    const Fd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) return fail(os_error("a snapshot of code cannot be made", errno));
    RH_TRY_VOID(fill(root.get(), 0, wanted.entries, old.entries));
    if (before) take_byte_code(root.get(), wanted, *before);
    auto at = wanted.entries.begin();
    for (const Entry& entry : old.entries) {
        while (at != wanted.entries.end() && at->path < entry.path) ++at;
        const bool stays = at != wanted.entries.end() && *at == entry;
        if (!stays && entry.kind != EntryKind::link) remove_content(entry, limits::k_sync_grace);
    }
    return {};
}

std::optional<Digest> CodeFolder::latest(std::string_view project) const {
    const Fd file(::open(path("latest", digest_of(as_byte_view(project)).hex()).c_str(), O_RDONLY | O_CLOEXEC));
    const auto text = file ? read_all(file.get(), 0, 64) : Result<Bytes>(Bytes());
    const auto id = text ? Digest::from_hex(as_text(text->view())) : fail(text.error());
    return id ? std::optional(*id) : std::nullopt;
}

// Makes a folder hold those entries, whose paths all begin with its own, so many bytes long; `old` is what it has already, as far as
// that is known. Whatever else is in it goes, but for byte-code of what has not changed. No step goes through a link.
Result<void> CodeFolder::fill(int folder, std::size_t from, std::span<const Entry> wanted, std::span<const Entry> old) {
    std::unordered_set<std::string> there, same;
    if (!old.empty()) {
        for (std::string& name : names_in(folder)) there.insert(std::move(name));
    }
    auto old_at = old.begin();
    for (auto at = wanted.begin(); at != wanted.end();) {
        const std::string_view name = first_name(*at, from);
        const bool is_folder = at->path.size() > from + name.size();
        const auto end = is_folder ? end_of_folder(at, wanted.end(), from + name.size() + 1) : at + 1;
        const std::string_view begin = std::string_view(at->path).substr(0, from + name.size() + (is_folder ? 1 : 0));
        old_at = std::lower_bound(old_at, old.end(), begin, [](const Entry& each, std::string_view path) { return each.path < path; });
        const auto old_end = is_folder ? end_of_folder(old_at, old.end(), begin.size(), begin) : old_at;
        const std::string owned(name);
        const bool is_there = there.erase(owned) != 0;
        if (is_folder) {
            if (is_there && old_at == old_end) RH_TRY_VOID(remove_at(folder, owned));
            RH_TRY_VOID(fill_below(folder, owned, begin.size(), {at, end}, {old_at, old_end}));
        } else if (is_there && old_at != old.end() && *old_at == *at) {
            if (name.ends_with(".py")) same.insert(owned.substr(0, owned.size() - 3));
        } else {
            if (is_there) RH_TRY_VOID(remove_at(folder, owned));
            RH_TRY_VOID(put_entry(*at, folder, owned.c_str()));
        }
        at = end;
    }
    if (there.erase(k_byte_code) != 0) keep_byte_code(folder, same);
    for (const std::string& name : there) RH_TRY_VOID(remove_at(folder, name));
    return {};
}

Result<void> CodeFolder::fill_below(int above, const std::string& name, std::size_t from, std::span<const Entry> wanted, std::span<const Entry> old) {
    if (::mkdirat(above, name.c_str(), 0755) != 0 && errno != EEXIST) return fail(os_error("a folder of a snapshot cannot be made", errno));
    const Fd folder(::openat(above, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder) return fail(os_error("a folder of a snapshot cannot be opened", errno));
    return fill(folder.get(), from, wanted, old);
}

Result<void> CodeFolder::put_entry(const Entry& entry, int into, const char* name) {
    if (entry.kind != EntryKind::link) return link(entry, into, name);
    if (::symlinkat(entry.target.c_str(), into, name) != 0) return fail(os_error("a link in a snapshot cannot be made", errno));
    return {};
}

Result<void> CodeFolder::link(const Entry& entry, int into, const char* name) {
    const std::string plain = path("files", content_name(entry.digest));
    const bool executable = entry.kind == EntryKind::executable;
    const std::string from = executable ? plain + 'x' : plain;
    if (executable && ::access(from.c_str(), F_OK) != 0) RH_TRY_VOID(renew(plain, from, k_executable_mode));
    if (::linkat(AT_FDCWD, from.c_str(), into, name, 0) == 0) return {};
    // So many snapshots hold it that the file system allows no more: from now on another file with the same content is the one.
    if (errno == EMLINK) {
        RH_TRY_VOID(renew(from, from, executable ? k_executable_mode : k_file_mode));
        if (::linkat(AT_FDCWD, from.c_str(), into, name, 0) == 0) return {};
    }
    return fail(os_error(fmt::format("{} cannot be put into a snapshot", shown(entry.path)), errno));
}

// A copy of its own, of the same time: byte-code is valid as long as that and the size are its source's.
Result<void> CodeFolder::renew(const std::string& from, const std::string& to, unsigned mode) {
    const Fd old(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat about {};
    if (!old || ::fstat(old.get(), &about) != 0) return fail(os_error("stored code cannot be read", errno));
    RH_TRY(const Bytes content, read_all(old.get(), 0, static_cast<std::uint64_t>(about.st_size)));
    const std::string name = to.substr(folder_.size() + std::string_view("/files/").size());
    RH_TRY_VOID(write_whole("files", name, content.view(), mode));
    const timespec times[2] = {about.st_mtim, about.st_mtim};
    ::utimensat(AT_FDCWD, to.c_str(), times, 0);
    return {};
}

// Python compiles a source again unless its time and size are those in the byte-code; here they are, as it is the same file.
void CodeFolder::take_byte_code(int root, const Manifest& wanted, const Digest& before) const {
    const auto old_manifest = manifest(before);
    const Fd old_root(::open(snapshot_path(folder_, before.hex()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!old_manifest || !old_root) return;
    for (const auto& [folder, sources] : same_sources(wanted, *old_manifest)) {
        const std::string cache = folder + k_byte_code;
        const Fd from(::openat(old_root.get(), cache.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!from) continue;
        if (::mkdirat(root, cache.c_str(), 0755) != 0 && errno != EEXIST) return;
        const Fd into(::openat(root, cache.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!into) return;
        for (const std::string& name : names_in(from.get())) {
            if (name.ends_with(".pyc") && sources.contains(name.substr(0, name.find('.')))) ::linkat(from.get(), name.c_str(), into.get(), name.c_str(), 0);
        }
    }
}

Result<Bytes> CodeFolder::read(const Entry& entry, std::uint64_t offset, std::size_t bytes_max) const {
    const std::string plain = path("files", content_name(entry.digest));
    Fd file(::open(plain.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) file = Fd(::open((plain + 'x').c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(os_error(fmt::format("{} cannot be read", shown(entry.path)), errno));
    return read_all(file.get(), offset, bytes_max);
}

// --- what nobody needs -----------------------------------------------------------------------------------------------

void CodeFolder::collect(const std::set<std::string, std::less<>>& needed, std::size_t kept, std::chrono::seconds grace) {
    if (::access(folder_.c_str(), F_OK) != 0) return;
    if (!std::exchange(is_swept_, true)) sweep(grace);
    std::vector<std::pair<std::int64_t, std::string>> unneeded;
    for (std::string& id : names_in(folder_ + "/manifests")) {
        struct stat about {};
        if (needed.contains(id) || ::stat(path("manifests", id).c_str(), &about) != 0 || !is_older(about.st_mtim, grace)) continue;
        unneeded.emplace_back(about.st_mtim.tv_sec, std::move(id));
    }
    if (unneeded.size() <= kept) return;
    std::sort(unneeded.begin(), unneeded.end());
    unneeded.resize(unneeded.size() - kept);
    for (const auto& [time, id] : unneeded) remove_snapshot(id, grace);
}

void CodeFolder::remove_snapshot(const std::string& id, std::chrono::seconds grace) {
    const auto digest = Digest::from_hex(id);
    const auto held = digest ? manifest(*digest) : Result<Manifest>(Manifest());
    // It is gone at once, however long it takes.
    const std::string beside = path("new", new_name());
    ::rename(snapshot_path(folder_, id).c_str(), beside.c_str());
    ::unlink(path("manifests", id).c_str());
    std::error_code ignored;
    fs::remove_all(beside, ignored);
    if (!held) return;
    for (const Entry& entry : held->entries) {
        if (entry.kind != EntryKind::link) remove_content(entry, grace);
    }
}

void CodeFolder::remove_content(const Entry& entry, std::chrono::seconds grace) const {
    const std::string plain = path("files", content_name(entry.digest));
    for (const std::string& each : {plain, plain + 'x'}) {
        struct stat about {};
        // Made a moment ago it belongs to a snapshot that is about to be made.
        if (::lstat(each.c_str(), &about) == 0 && about.st_nlink == 1 && is_older(about.st_mtim, grace)) ::unlink(each.c_str());
    }
}

// What somebody left behind who died in the middle of it.
void CodeFolder::sweep(std::chrono::seconds grace) {
    std::error_code ignored;
    for (const std::string& name : names_in(folder_ + "/new")) {
        struct stat about {};
        if (::lstat(path("new", name).c_str(), &about) == 0 && is_older(about.st_mtim, grace)) fs::remove_all(path("new", name), ignored);
    }
    for (const std::string& front : names_in(folder_ + "/files")) {
        for (const std::string& name : names_in(path("files", front))) {
            struct stat about {};
            const std::string file = path("files", front + '/' + name);
            if (::lstat(file.c_str(), &about) == 0 && about.st_nlink == 1 && is_older(about.st_mtim, grace)) ::unlink(file.c_str());
        }
    }
}

}  // namespace rh::sync
