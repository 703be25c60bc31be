#include "sync/difference.h"

#include <unordered_set>

namespace rh::sync {

std::vector<std::size_t> missing(const Manifest& manifest, const std::function<bool(const Digest&)>& is_there) {
    std::vector<std::size_t> found;
    std::unordered_set<Digest, DigestHash> seen;
    seen.reserve(manifest.entries.size());
    for (std::size_t at = 0; at < manifest.entries.size(); ++at) {
        const Entry& entry = manifest.entries[at];
        if (entry.kind == EntryKind::link || !seen.insert(entry.digest).second) continue;
        if (!is_there(entry.digest)) found.push_back(at);
    }
    return found;
}

}  // namespace rh::sync
