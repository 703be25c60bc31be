#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/scan.h"

namespace rh::sync {

namespace {

tl::unexpected<Error> changed(const std::string& path) {
    return fail(Error(Code::code_sync, fmt::format("{} was changed while it was being sent: try again when nothing writes to it, or name it in .roundhouseignore",
                                                   shown(path)))
                    .with("changed", shown(path)));
}

}  // namespace

Result<Content> Content::open(const Scanned& scanned, std::size_t entry) {
    const Entry& wanted = scanned.manifest.entries.at(entry);
    const std::string place = scanned.places.empty() ? scanned.root + "/" + wanted.path : scanned.places.at(entry);
    // Whatever stands there by now: only the very content that was scanned passes.
    Fd file(::open(place.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat status {};
    if (!file && (errno == EMFILE || errno == ENFILE || errno == EIO)) return fail(os_error("opening " + shown(place), errno));
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return changed(wanted.path);
    return Content(std::move(file), wanted);
}

Result<std::size_t> Content::read(std::span<std::byte> into) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), bytes_left_));
    ssize_t count = 0;
    do {
        count = wanted == 0 ? 0 : ::read(fd_.get(), into.data(), wanted);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return fail(os_error("reading " + shown(path_), errno));
    if (count == 0 && (bytes_left_ > 0 || hasher_.finish() != digest_)) return changed(path_);
    hasher_.update({into.data(), static_cast<std::size_t>(count)});
    bytes_left_ -= static_cast<std::uint64_t>(count);
    return static_cast<std::size_t>(count);
}

}  // namespace rh::sync
