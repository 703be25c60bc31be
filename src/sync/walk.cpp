#include "sync/walk.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <system_error>
#include <unistd.h>

#include "base/limits.h"

namespace rh::sync {

namespace {

constexpr int k_open_folder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// A pipe in a file's place must not make anybody wait, nor a terminal become ours.
constexpr int k_open_file = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
constexpr std::size_t k_found_between_reports = 512;

// What another process has removed or replaced since it was listed. It is as if it had never been there.
bool has_gone(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }
bool may_not(int error) { return error == EACCES || error == EPERM; }

std::string words_for(int error) { return std::generic_category().message(error); }

std::string real_path(const std::string& path, int& error) {
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
    error = real ? 0 : errno;
    return real ? std::string(real.get()) : std::string();
}

// A small text file's content; nothing where there is none, or no regular file. Links are not followed, as git does it.
Result<std::optional<std::string>> read_text(int folder, const char* name, const std::string& shown_as) {
    const Fd file(::openat(folder, name, k_open_file | O_NOFOLLOW));
    if (!file && has_gone(errno)) return std::nullopt;
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) return fail(os_error("reading " + shown(shown_as), errno));
    if (!S_ISREG(status.st_mode)) return std::nullopt;
    const auto bytes = static_cast<std::size_t>(status.st_size);
    if (bytes > limits::k_sync_ignore_file_bytes_max) {
        return fail(Code::code_sync, fmt::format("{} has {} bytes, more than {}: make it shorter", shown(shown_as), bytes, limits::k_sync_ignore_file_bytes_max));
    }
    std::string text(bytes, '\0');
    const ssize_t count = ::pread(file.get(), text.data(), bytes, 0);
    if (count < 0) return fail(os_error("reading " + shown(shown_as), errno));
    text.resize(static_cast<std::size_t>(count));
    return text;
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find_first_of("\r\n"))); }

std::string beneath(const std::string& folder, std::string_view path) {
    return path.starts_with('/') ? std::string(path) : fmt::format("{}/{}", folder, path);
}

// Where a repository keeps what all of its work trees share: .git itself, or where the file of that name leads.
Result<std::string> shared_git_folder(const std::string& top) {
    std::string git = top + "/.git";
    RH_TRY(const auto pointer, read_text(AT_FDCWD, git.c_str(), git));
    if (pointer && pointer->starts_with("gitdir: ")) git = beneath(top, first_line(std::string_view(*pointer).substr(8)));
    const std::string common = git + "/commondir";
    RH_TRY(const auto shared, read_text(AT_FDCWD, common.c_str(), common));
    return shared ? beneath(git, first_line(*shared)) : git;
}

// The innermost folder at or above the root that is a repository's top, if there is one; "" is that of the file system.
std::optional<std::string> repository_top(const std::string& root) {
    struct stat status {};
    for (std::string folder = root;; folder.resize(folder.rfind('/'))) {
        if (::lstat((folder + "/.git").c_str(), &status) == 0) return folder;
        if (folder.empty()) return std::nullopt;
    }
}

// A target from the folder of the link at `path` to `to`, both relative to the root.
std::string relative_target(std::string_view path, std::string_view to) {
    std::string target;
    std::size_t slash = path.rfind('/');
    std::string_view folder = slash == path.npos ? std::string_view{} : path.substr(0, slash + 1);
    while (!folder.empty() && !(std::string(to) + "/").starts_with(folder)) {
        target += "../";
        slash = folder.substr(0, folder.size() - 1).rfind('/');
        folder = slash == folder.npos ? std::string_view{} : folder.substr(0, slash + 1);
    }
    if (to.size() > folder.size()) return target.append(to.substr(folder.size()));
    return target.empty() ? "." : target.substr(0, target.size() - 1);
}

}  // namespace

void leave_out(Scanned& scanned, std::string_view path, std::string_view why) {
    if (scanned.left_out.size() == limits::k_sync_left_out_max) {
        ++scanned.left_out_more;
    } else {
        scanned.left_out.push_back({std::string(path), std::string(why)});
    }
}

void Found::see(const struct stat& status) {
    entry.kind = (status.st_mode & S_IXUSR) != 0 ? EntryKind::executable : EntryKind::file;
    entry.bytes = static_cast<std::uint64_t>(status.st_size);
    stamp = Stamp::of(status);
}

Fd Opener::open(const std::string& path, bool follow) {
    const std::size_t last = path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1;
    if (!folder_ || path.compare(0, last, folder_path_) != 0) {
        Fd folder(::fcntl(root_, F_DUPFD_CLOEXEC, 0));
        for (std::size_t from = 0; folder && from < last;) {
            const std::size_t slash = path.find('/', from);
            folder = Fd(::openat(folder.get(), path.substr(from, slash - from).c_str(), k_open_folder));
            from = slash + 1;
        }
        if (!folder) return {};
        folder_ = std::move(folder);
        folder_path_ = path.substr(0, last);
    }
    return Fd(::openat(folder_.get(), path.c_str() + last, k_open_file | (follow ? 0 : O_NOFOLLOW)));
}

Result<void> Walk::run() {
    folder_ = Fd(::open(root_.c_str(), k_open_folder));
    if (!folder_) return fail(os_error("opening " + shown(root_), errno));
    RH_TRY_VOID(read_rules_above());
    Fd folder(::fcntl(folder_.get(), F_DUPFD_CLOEXEC, 0));
    if (!folder) return fail(os_error("opening " + shown(root_), errno));
    return enter(std::move(folder));
}

// The files of a repository's folders above the root count for what is below.
Result<void> Walk::read_rules_above() {
    const std::optional<std::string> top = repository_top(root_);
    if (!top) return {};
    RH_TRY(const std::string git, shared_git_folder(*top));
    RH_TRY_VOID(read_patterns(AT_FDCWD, git + "/info/exclude", IgnoreRules::Source::git_exclude));
    while (top->size() + path_.size() < root_.size()) {
        RH_TRY_VOID(read_rules(AT_FDCWD, fmt::format("{}/{}", *top, path_)));
        const std::size_t from = top->size() + 1 + path_.size();
        path_ += root_.substr(from, root_.find('/', from) - from) + "/";
    }
    above_ = path_.size();
    return {};
}

Result<void> Walk::read_rules(int folder, const std::string& prefix) {
    RH_TRY_VOID(read_patterns(folder, prefix + ".gitignore", IgnoreRules::Source::git));
    return read_patterns(folder, prefix + ".roundhouseignore", IgnoreRules::Source::roundhouse);
}

Result<void> Walk::read_patterns(int folder, const std::string& name, IgnoreRules::Source source) {
    RH_TRY(const auto text, read_text(folder, name.c_str(), name.starts_with('/') ? name : path_ + name));
    if (text) rules_.push(source, path_.size(), Patterns(*text));
    return {};
}

Result<void> Walk::enter(Fd folder) {
    const std::unique_ptr<DIR, CloseDir> open(::fdopendir(folder.get()));
    if (!open) return fail(os_error("reading " + shown(path_), errno));
    const int fd = folder.release();
    const std::size_t depth = rules_.depth();
    RH_TRY_VOID(read_rules(fd, ""));
    RH_TRY(const Listing listing, list(open.get()));
    const std::size_t here = path_.size();
    for (const Name& name : listing.names) {
        if (full_) break;
        const char* text = listing.text.data() + name.at;
        path_.append(text, name.bytes);
        if (path().size() > limits::k_sync_path_bytes_max) {
            leave_out(path(), "its path is too long");
        } else {
            RH_TRY_VOID(name.is_folder ? take_folder(fd, text) : take_file(fd, text));
        }
        path_.resize(here);
    }
    rules_.pop_to(depth);
    return {};
}

bool Walk::is_wanted(std::string_view name, bool is_folder) {
    if (never_taken(name)) return false;
    const std::size_t here = path_.size();
    path_ += name;
    const bool ignored = rules_.ignores(path_, is_folder);
    path_.resize(here);
    return !ignored;
}

Result<Walk::Listing> Walk::list(DIR* folder) {
    Listing listing;
    for (;;) {
        errno = 0;
        const dirent* each = ::readdir(folder);
        if (each == nullptr && errno != 0) return fail(os_error("reading " + shown(path_), errno));
        if (each == nullptr) break;
        const std::string_view name = each->d_name;
        if (name == "." || name == "..") continue;
        // A virtual environment, or conda's. One around the whole project leaves the project what it is.
        if ((name == "pyvenv.cfg" || name == "conda-meta") && !path().empty()) return Listing{};
        bool is_folder = each->d_type == DT_DIR;
        if (each->d_type == DT_UNKNOWN) {
            struct stat status {};
            is_folder = ::fstatat(::dirfd(folder), each->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
        }
        if (!is_wanted(name, is_folder)) continue;
        if (listing.names.size() == limits::k_sync_entries_max) {
            full_ = true;
            break;
        }
        listing.names.push_back({static_cast<std::uint32_t>(listing.text.size()), static_cast<std::uint32_t>(name.size()), is_folder});
        listing.text.append(name).push_back('\0');
    }
    // A folder sorts as if its name ended with '/', so that files come in the order of their whole paths.
    const char* text = listing.text.data();
    std::sort(listing.names.begin(), listing.names.end(), [text](const Name& left, const Name& right) {
        const int order = std::memcmp(text + left.at, text + right.at, std::min(left.bytes, right.bytes));
        if (order != 0 || left.bytes == right.bytes) return order < 0;
        const auto next = [text](const Name& name, std::uint32_t at) {
            return static_cast<unsigned char>(at < name.bytes ? text[name.at + at] : name.is_folder ? '/' : '\0');
        };
        const std::uint32_t at = std::min(left.bytes, right.bytes);
        return next(left, at) < next(right, at);
    });
    return listing;
}

Result<void> Walk::take_folder(int parent, const char* name) {
    Fd folder(::openat(parent, name, k_open_folder));
    if (!folder && has_gone(errno)) return {};
    if (!folder && may_not(errno)) {
        leave_out(path(), words_for(errno));
        return {};
    }
    if (!folder) return fail(os_error("opening " + shown(path()), errno));
    if (++folders_ > limits::k_sync_entries_max) full_ = true;
    path_ += '/';
    return enter(std::move(folder));
}

Result<void> Walk::take_file(int parent, const char* name) {
    struct stat status {};
    if (::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (has_gone(errno)) return {};
        return fail(os_error("looking at " + shown(path()), errno));
    }
    if (S_ISREG(status.st_mode)) {
        take_regular(status, false);
    } else if (S_ISLNK(status.st_mode)) {
        take_link(parent, name);
    } else if (!S_ISDIR(status.st_mode)) {
        leave_out(path(), "it is a socket, a pipe or a device");
    }
    full_ = full_ || found_.size() > limits::k_sync_entries_max;
    if (progress_ && found_.size() % k_found_between_reports == 0 && !progress_({.files_found = found_.size()})) {
        return fail(Code::cancelled, "looking for the project's files was stopped");
    }
    return {};
}

// A link whose end is beneath the root stays a link, and says so in the one form that a manifest allows. One to a file outside becomes
// that file, because the other side has nothing there.
void Walk::take_link(int parent, const char* name) {
    const std::string link(path());
    int error = 0;
    const std::string end = real_path(root_ + "/" + link, error);
    if (error != 0) return leave_out(link, error == ENOENT ? "it is a link to nothing" : "it is a link: " + words_for(error));
    if (end != root_ && !end.starts_with(root_ + "/")) {
        struct stat status {};
        if (::fstatat(parent, name, &status, 0) != 0) return leave_out(link, "it is a link: " + words_for(errno));
        if (S_ISREG(status.st_mode)) return take_regular(status, true);
        return leave_out(link, S_ISDIR(status.st_mode) ? "it is a link to a folder outside the root" : "it is a link to no file");
    }
    char target[PATH_MAX];
    const ssize_t bytes = ::readlinkat(parent, name, target, sizeof target);
    if (bytes < 0) return;  // has been replaced
    Entry entry;
    entry.path = link;
    entry.kind = EntryKind::link;
    entry.target.assign(target, static_cast<std::size_t>(bytes));
    if (!wrong_with(entry).empty()) entry.target = relative_target(link, std::string_view(end).substr(std::min(end.size(), root_.size() + 1)));
    if (const std::string_view why = wrong_with(entry); !why.empty()) return leave_out(link, why);
    found_.emplace_back().entry = std::move(entry);
}

void Walk::take_regular(const struct stat& status, bool followed) {
    Found& found = found_.emplace_back();
    found.entry.path = path();
    found.see(status);
    found.followed = followed;
}

void Walk::add(const std::string& file_path) {
    const auto place = std::lower_bound(found_.begin(), found_.end(), file_path,
                                        [](const Found& each, const std::string& wanted) { return each.entry.path < wanted; });
    if (place != found_.end() && place->entry.path == file_path) return;
    Found found;
    found.entry.path = file_path;
    if (const std::string_view why = wrong_with(found.entry); !why.empty()) return leave_out(file_path, why);
    struct stat status {};
    const Fd file = Opener(folder_.get()).open(file_path, false);
    if (!file || ::fstat(file.get(), &status) != 0) return leave_out(file_path, words_for(errno));
    if (!S_ISREG(status.st_mode)) return leave_out(file_path, "it is no file");
    found.see(status);
    found_.insert(place, std::move(found));
}

}  // namespace rh::sync
