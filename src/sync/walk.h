#pragma once

// The first half of a scan: goes through a root's folders and finds what belongs to the project, by name and stamp, without reading a
// file. Folders are opened from their parents' descriptors and links among them never followed, so that nobody who changes the tree
// meanwhile can lead it elsewhere. One use, by scan(), on its thread.

#include <cstddef>
#include <cstdint>
#include <dirent.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "sync/ignore.h"
#include "sync/index.h"
#include "sync/manifest.h"
#include "sync/scan.h"

namespace rh::sync {

struct Found {
    Entry entry;  // without its digest
    Stamp stamp;
    bool followed = false;  // a link to a file outside the root, which is taken as that file
    bool settled = false;   // its stamp may be kept in the index
    bool gone = false;      // not there any more when it was to be read

    void see(const struct stat& status);
};

// Adds to what a scan says that it could not take.
void leave_out(Scanned& scanned, std::string_view path, std::string_view why);

// Opens a file beneath a folder, name by name, so that no link on the way is followed; the last one is, if `follow`. It remembers the
// folder of the file before, which mostly is that of the next.
class Opener {
public:
    explicit Opener(int root) : root_(root) {}
    // errno says why it is none.
    Fd open(const std::string& path, bool follow);

private:
    int root_;
    std::string folder_path_;
    Fd folder_;
};

class Walk {
public:
    // `root` is a real path, and `report` what is told of what is left out.
    Walk(std::string root, Scanned& report, const OnProgress& progress) : root_(std::move(root)), report_(report), progress_(progress) {}

    Result<void> run();
    // A file that is taken although the walk has not found it.
    void add(const std::string& file_path);

    int root_fd() const { return folder_.get(); }
    std::vector<Found>& found() { return found_; }
    // Whether it has stopped early because there were too many files or folders.
    bool is_full() const { return full_; }

private:
    struct Name {
        std::uint32_t at;
        std::uint32_t bytes;
        bool is_folder;
    };
    // The names in a folder that are taken, in the order of the paths below them.
    struct Listing {
        std::string text;  // each with a NUL behind it
        std::vector<Name> names;
    };
    struct CloseDir {
        void operator()(DIR* folder) const { ::closedir(folder); }
    };

    Result<void> read_rules_above();
    Result<void> read_rules(int folder, const std::string& prefix);
    Result<void> read_patterns(int folder, const std::string& name, IgnoreRules::Source source);
    Result<void> enter(Fd folder);
    Result<Listing> list(DIR* folder);
    bool is_wanted(std::string_view name, bool is_folder);
    Result<void> take_folder(int parent, const char* name);
    Result<void> take_file(int parent, const char* name);
    void take_link(int parent, const char* name);
    void leave_out(std::string_view path, std::string_view why) { sync::leave_out(report_, path, why); }
    void take_regular(const struct stat& status, bool followed);
    std::string_view path() const { return std::string_view(path_).substr(above_); }  // relative to the root

    std::string root_;
    Scanned& report_;
    const OnProgress& progress_;
    Fd folder_;
    IgnoreRules rules_;
    std::string path_;       // where it is, relative to the repository's top, if the root is within one
    std::size_t above_ = 0;  // how much of that is above the root
    std::size_t folders_ = 0;
    bool full_ = false;
    std::vector<Found> found_;
};

}  // namespace rh::sync
