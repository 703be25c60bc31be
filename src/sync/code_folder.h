#pragma once

// A folder that keeps code: contents by their digest, and snapshots, which are trees of hard links to them. A snapshot appears whole,
// under its id, or not at all, and is never changed: its files are read-only, only byte-code is written beside them. What a peer sent
// is checked before it is used (manifest.h), and nothing is made but beneath this folder. A node has one in its state folder, and a
// client, for what it replays, one in its cache. Everything blocks; one thread at a time. Several processes may share it as long as
// none collects what another needs.
//
//   files/AB/HEX        content, read-only; HEXx the same with the right to be executed
//   manifests/ID        what a snapshot holds; its time is when it was asked for last
//   snapshots/ID/       the snapshot
//   latest/PROJECT      the id of the last one that was made of a project
//   new/                what is being made

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"
#include "sync/digest.h"
#include "sync/manifest.h"

namespace rh::sync {

// Where a snapshot stands in such a folder, whether it is there or not.
std::string snapshot_path(std::string_view folder, std::string_view id);

class CodeFolder {
public:
    explicit CodeFolder(std::string folder) : folder_(std::move(folder)) {}

    bool has_snapshot(const Digest& id) const;
    // It was asked for just now, so it is not collected for a while.
    void touch(const Digest& id) const;

    // Code::code_sync where the bytes are no manifest, or another's than `id`.
    Result<void> put_manifest(const Digest& id, ByteView encoded);
    // Code::not_found where nobody has put it.
    Result<Manifest> manifest(const Digest& id) const;

    // Content from `offset` on. It is kept once all of it has come, and is what its digest says (else Code::code_sync).
    struct Piece {
        Digest digest;
        std::uint64_t bytes = 0;   // of the whole content
        std::uint64_t offset = 0;
        ByteView content;
    };
    Result<void> put(const Piece& piece);

    // The entries of a snapshot whose content is not here. `project` tells whose snapshot it is.
    Result<std::vector<std::size_t>> absent(const Digest& id, std::string_view project) const;
    // Makes it, unless something is absent: then that. Byte-code of what has not changed is taken over from the project's last one.
    // `spare` is a snapshot that nobody needs any more, best an earlier one of that project: it becomes the new one, so that making
    // that takes as long as what differs.
    Result<std::vector<std::size_t>> make(const Digest& id, std::string_view project, const std::optional<Digest>& spare = {});

    // Of one entry of a snapshot, from `offset` on.
    Result<Bytes> read(const Entry& entry, std::uint64_t offset, std::size_t bytes_max) const;

    // Removes the snapshots that are not needed, but for the last `kept` and those that were asked for within `grace`, and then the
    // contents that no snapshot holds. What cannot be removed stays for the next time.
    void collect(const std::set<std::string, std::less<>>& needed, std::size_t kept, std::chrono::seconds grace);

private:
    Result<void> open();
    std::string path(std::string_view kind, std::string_view name) const;
    bool has_content(const Digest& digest) const;
    std::string new_name();
    Result<void> write_whole(std::string_view kind, const std::string& name, ByteView content, unsigned mode);
    Result<void> put_part(const Piece& piece);
    Result<void> link(const Entry& entry, int into, const char* name);
    Result<void> renew(const std::string& from, const std::string& to, unsigned mode);
    Result<void> make_at(const std::string& folder, const Manifest& wanted, const std::optional<Digest>& before, const std::optional<Digest>& spare);
    Result<void> fill(int folder, std::size_t from, std::span<const Entry> wanted, std::span<const Entry> old);
    Result<void> fill_below(int above, const std::string& name, std::size_t from, std::span<const Entry> wanted, std::span<const Entry> old);
    Result<void> put_entry(const Entry& entry, int into, const char* name);
    void take_byte_code(int root, const Manifest& wanted, const Digest& before) const;
    std::optional<Digest> latest(std::string_view project) const;
    Result<std::vector<std::size_t>> absent(const Manifest& wanted, const std::optional<Digest>& before) const;
    void remove_snapshot(const std::string& id, std::chrono::seconds grace);
    void remove_content(const Entry& entry, std::chrono::seconds grace) const;
    void sweep(std::chrono::seconds grace);

    const std::string folder_;
    bool is_open_ = false;
    bool is_swept_ = false;
    std::uint64_t made_ = 0;
};

}  // namespace rh::sync
