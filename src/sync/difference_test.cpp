#include "sync/difference.h"

#include <gtest/gtest.h>
#include <set>

namespace rh::sync {
namespace {

Entry file(const std::string& path, std::string_view content) {
    Entry entry;
    entry.path = path;
    entry.bytes = content.size();
    entry.digest = digest_of(as_byte_view(content));
    return entry;
}

TEST(Difference, NamesWhatIsMissingOnceAndNoLinks) {
    Manifest manifest;
    manifest.entries = {file("a", "one"), file("b", "two"), file("c", "one"), file("d", "three"), file("e", "two")};
    Entry link;
    link.path = "f";
    link.kind = EntryKind::link;
    link.target = "a";
    manifest.entries.push_back(link);

    std::set<Digest> there;
    const auto is_there = [&](const Digest& digest) { return there.count(digest) != 0; };
    EXPECT_EQ(missing(manifest, is_there), (std::vector<std::size_t>{0, 1, 3}));
    there.insert(manifest.entries[2].digest);
    EXPECT_EQ(missing(manifest, is_there), (std::vector<std::size_t>{1, 3}));
    there.insert(manifest.entries[1].digest);
    there.insert(manifest.entries[3].digest);
    EXPECT_TRUE(missing(manifest, is_there).empty());
}

}  // namespace
}  // namespace rh::sync
