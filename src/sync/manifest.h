#pragma once

// A snapshot of code as a list: each file's path, kind and content address, without the content. Its encoding is canonical, so that
// equal snapshots have equal bytes and its digest is the snapshot's id. What comes from a peer is checked before anybody makes a
// file of it: no path leaves the root, by its own name or through a link.
//
// protocol/snapshot.md has the bytes and the rules.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sync/digest.h"

namespace rh::sync {

enum class EntryKind : std::uint8_t {  // never renumber
    file = 0,
    executable = 1,
    link = 2,
};

struct Entry {
    std::string path;  // relative, parted by '/'; bytes, as the file system has them, not always UTF-8
    EntryKind kind = EntryKind::file;
    std::uint64_t bytes = 0;  // of a file
    Digest digest;            // of a file's content
    std::string target;       // of a link: "../" any number of times, then names; or "."

    friend bool operator==(const Entry&, const Entry&) = default;
};

struct Manifest {
    std::vector<Entry> entries;  // sorted by path, bytewise

    friend bool operator==(const Manifest&, const Manifest&) = default;
};

// Paths beneath the root only, none twice, no file where another needs a folder, links that end beneath the root, all within limits.h.
// A failure is Code::code_sync and names the entry.
Result<void> check(const Manifest& manifest);
// What is wrong with one entry by itself, in words; "" when nothing is.
std::string_view wrong_with(const Entry& entry);

Bytes encode(const Manifest& manifest);  // of one that passes check()
Result<Manifest> decode(ByteView encoded);  // what it gives has passed check()

// The snapshot's id.
inline Digest id_of(ByteView encoded) { return digest_of(encoded); }

// A path for people and messages, which are UTF-8: any other byte, and what a terminal would obey, becomes \xNN.
std::string shown(std::string_view path);

}  // namespace rh::sync
