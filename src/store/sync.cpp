#include "store/sync.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace rh::store {

Result<void> sync_folder(const std::string& folder) {
    const Fd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened || ::fsync(opened.get()) != 0) return fail(os_error("cannot sync the folder " + folder, errno));
    return {};
}

Result<void> make_folder(const std::string& folder) {
    if (::mkdir(folder.c_str(), 0700) == 0) return sync_folder(folder.substr(0, folder.rfind('/') + 1));
    if (errno != EEXIST) return fail(os_error("cannot make the folder " + folder, errno));
    return {};
}

}  // namespace rh::store
