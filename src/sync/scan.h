#pragma once

// Looks at a project and says what its snapshot is: which files belong to it (ignore.h) and what their contents are. What was hashed
// once is remembered in an index (index.h), so that a project in which nothing has changed costs a walk of its folders. Blocks; runs
// on the caller's thread, with nothing shared between two scans but the index file, which each replaces as a whole.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "sync/digest.h"
#include "sync/manifest.h"

namespace rh::sync {

struct ScanOptions {
    std::string root;               // a folder
    std::vector<std::string> also;  // files beneath it, by relative path, that are taken although ignored (loaded extension modules)
    std::string index_path;         // where this root's index is kept, in a folder that exists; "" means no index
    std::string home;               // is refused as a root, as "/" is; "" means that there is none
};

// What a scan tells while it works: first files are found, then those that the index does not know are hashed.
struct ScanProgress {
    std::size_t files_found = 0;
    std::size_t files_hashed = 0;
    std::size_t files_to_hash = 0;
    std::uint64_t bytes_hashed = 0;
    std::uint64_t bytes_to_hash = 0;
};
// Called often and on the scan's thread; false ends the scan with Code::cancelled. May be empty.
using OnProgress = std::function<bool(const ScanProgress&)>;

// What belongs to the project and could not be taken, which is never done silently.
struct LeftOut {
    std::string path;  // bytes, as an entry's
    std::string why;   // in words
};

struct Scanned {
    Manifest manifest;
    std::uint64_t bytes = 0;  // of all files together
    std::size_t hashed_files = 0;
    std::uint64_t hashed_bytes = 0;
    std::vector<LeftOut> left_out;    // the first k_sync_left_out_max
    std::size_t left_out_more = 0;    // how many there were besides
    std::string index_trouble;        // why the index could not be written, which costs the next scan time and nothing else
    std::string root;                 // of scan()
    std::vector<std::string> places;  // of scan_files(): where each entry's file is
};

// Fails with Code::code_sync where the root is no project or beyond the bounds of limits.h (then it names the biggest entries, in
// the message and as the fact "biggest"), with Code::io where the operating system refused more than a file.
Result<Scanned> scan(const ScanOptions& options, const OnProgress& progress = {});

// Loose files: (path in the snapshot, where the file is). One that is not there is an error: somebody has named it.
Result<Scanned> scan_files(std::vector<std::pair<std::string, std::string>> files, const std::string& index_path,
                           const OnProgress& progress = {});

// The content of one file of a scan, read again to be sent.
class Content {
public:
    static Result<Content> open(const Scanned& scanned, std::size_t entry);

    // The next bytes, 0 at the end; `into` is not empty. It succeeds at the end only when all that was read is the entry's content; if the file is not what
    // was scanned any more it fails with Code::code_sync and the fact "changed" (its path), and scanning again is what helps.
    Result<std::size_t> read(std::span<std::byte> into);

private:
    Content(Fd fd, const Entry& entry) : fd_(std::move(fd)), path_(entry.path), digest_(entry.digest), bytes_left_(entry.bytes) {}

    Fd fd_;
    std::string path_;
    Digest digest_;
    std::uint64_t bytes_left_;
    Hasher hasher_;
};

}  // namespace rh::sync
