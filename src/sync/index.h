#pragma once

// What a root's files looked like when their contents were hashed, so that those which look the same are not read again. It is a cache
// in one local file, replaced as a whole and checked when it is read; one that is damaged, or of another format, is as none.
//
// A file that was changed within one tick of the file system's clock looks the same before and after. So a record is only kept when
// the file's last change was clearly over when the scan began (is_settled); a younger one is hashed again the next time.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/result.h"
#include "sync/digest.h"

namespace rh::sync {

struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t bytes = 0;
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;  // of the inode too: nobody can set it back

    static Stamp of(const struct stat& status);
    friend bool operator==(const Stamp&, const Stamp&) = default;
};

// Whether a later change of the file must show in its stamp. `now_ns` is taken before the stamp is.
bool is_settled(const Stamp& stamp, std::int64_t now_ns);

class Index {
public:
    static Index read(const std::string& path);

    // The digest of a file that has not changed; null for one that has, or is new. Cheapest when asked in the order of paths.
    const Digest* find(std::string_view path, const Stamp& stamp);
    std::size_t size() const { return count_; }

private:
    struct Record;
    const Record& record(std::size_t at) const;
    std::string_view path_of(std::size_t at) const;

    Bytes bytes_;  // the whole file
    std::size_t count_ = 0;
    std::size_t next_ = 0;
    friend class IndexWriter;
};

// Takes records in the order of their paths, and puts them in the place of what was there.
class IndexWriter {
public:
    void add(std::string_view path, const Stamp& stamp, const Digest& digest);
    std::size_t size() const { return count_; }
    Result<void> write(const std::string& path) const;

private:
    Bytes records_;
    std::string paths_;
    std::size_t count_ = 0;
};

}  // namespace rh::sync
