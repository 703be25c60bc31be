#pragma once

// What one attempt of a run has printed, in a file of its own: pieces with channel, offset and checksum, one after the other. Offsets
// count the text of both channels together, from 0, and go on when the front of the file is cut off. Each piece also says how far
// the call's output had come with it, so that whoever takes over asks for what follows. Used on the journal's thread.

#include <cstdint>
#include <string>
#include <vector>

#include "base/body.h"
#include "base/output_place.h"

namespace rh::store {

struct LogPiece {
    std::uint64_t offset = 0;  // of its first byte
    Channel channel = Channel::out;
    std::string text;
};

// Where a reader stands. `file_at` only saves looking for it.
struct LogCursor {
    std::uint64_t offset = 0;
    std::uint64_t file_at = 0;
};

struct LogRead {
    std::vector<LogPiece> pieces;  // a first one beyond the offset that was asked for tells that what was before it is gone
    LogCursor next;
};

// Where a writer that takes over goes on.
struct LogEnd {
    std::uint64_t offset = 0;
    OutputPlace place;
};

class RunLog {
public:
    explicit RunLog(std::string path) : path_(std::move(path)) {}

    // The text gets the offset `at`. Cuts the front off, whole pieces, when the file has grown to twice `bytes_kept`.
    Result<void> append(Channel channel, std::uint64_t at, std::string_view text, const OutputPlace& place, std::uint64_t bytes_kept) const;
    // At most so many bytes of text; no pieces at the end. Code::damaged where what stands there is not what was written.
    Result<LogRead> read(LogCursor from, std::uint64_t bytes_max) const;
    // What was written is on the disk.
    Result<void> sync() const;
    // Behind the last whole piece. Half of one, which a writer left that was killed, is cut off.
    Result<LogEnd> recover() const;

private:
    Result<void> cut(std::uint64_t bytes_kept) const;

    std::string path_;
};

}  // namespace rh::store
