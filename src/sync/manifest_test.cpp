#include "sync/manifest.h"

#include <functional>
#include <gtest/gtest.h>

#include "base/golden_test.h"
#include "base/limits.h"

namespace rh::sync {
namespace {

Entry file(const std::string& path, std::string_view content = "x", EntryKind kind = EntryKind::file) {
    Entry entry;
    entry.path = path;
    entry.kind = kind;
    entry.bytes = content.size();
    entry.digest = digest_of(as_byte_view(content));
    return entry;
}

Entry link(const std::string& path, const std::string& target) {
    Entry entry;
    entry.path = path;
    entry.kind = EntryKind::link;
    entry.target = target;
    return entry;
}

Manifest of(std::vector<Entry> entries) {
    Manifest manifest;
    manifest.entries = std::move(entries);
    return manifest;
}

Manifest example() {
    return of({file("bin/train", "#!/bin/sh\n", EntryKind::executable), link("data", "pkg/data"), file("pkg/__init__.py", ""), link("pkg/sub/up", "../../bin/train")});
}

std::string refusal(const Manifest& manifest) {
    const Result<void> checked = check(manifest);
    if (checked) return {};
    EXPECT_EQ(checked.error().code, Code::code_sync);
    return checked.error().message;
}

bool says(const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; }

TEST(Manifest, HasItsGoldenBytes) {
    const Bytes encoded = encode(example());
    EXPECT_EQ(hex(encoded.view()), hex(golden("sync/manifest").view()));
    EXPECT_EQ(id_of(encoded.view()).hex(), "9ce214149816f169641da4359b7cbb8545b1162ec59f94cb0eb96a52bc6efc0d");
    const Result<Manifest> decoded = decode(golden("sync/manifest").view());
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, example());
}

TEST(Manifest, AnEmptyOneIsOne) {
    const Result<Manifest> decoded = decode(encode({}).view());
    ASSERT_TRUE(decoded);
    EXPECT_TRUE(decoded->entries.empty());
}

TEST(Manifest, PathsStayBeneathTheRoot) {
    EXPECT_EQ(refusal(of({file("a"), file("a.py"), file("b/c"), file("b/..c"), file("...")})), "a snapshot may not hold b/..c: it is out of order");
    EXPECT_EQ(refusal(of({file("..."), file("a"), file("b/..c")})), "");
    const std::pair<std::string, std::string_view> wrong[] = {
        {"", "without a path"},    {"/etc/passwd", "absolute"}, {"..", "'..'"},    {"../x", "'..'"},
        {"a/../../x", "'..'"},     {"./a", "'.'"},              {"a/.", "'.'"},    {"a//b", "empty"},
        {"a/", "empty"},           {std::string("a\0b", 3), "NUL"}, {std::string(256, 'n'), "a name in its path is too long"},
        {std::string("aa/", 3) + std::string(1'022, 'b'), "its path is too long"},
    };
    for (const auto& [path, why] : wrong) EXPECT_TRUE(says(refusal(of({file(path)})), why)) << shown(path) << ": " << refusal(of({file(path)}));
}

TEST(Manifest, NoPathIsTwiceNorAFileAndAFolder) {
    EXPECT_TRUE(says(refusal(of({file("a"), file("a")})), "twice"));
    EXPECT_TRUE(says(refusal(of({file("a"), file("a/b")})), "a is no folder"));
    EXPECT_TRUE(says(refusal(of({file("a"), file("a-"), file("a.py"), file("a/b/c")})), "a is no folder"));
    EXPECT_TRUE(says(refusal(of({link("a", "b"), file("a/x"), file("b/x")})), "a is no folder"));
    EXPECT_TRUE(says(refusal(of({file("p/a/x"), link("p/b", "a"), file("p/b-"), file("p/b/y")})), "p/b is no folder"));
    EXPECT_EQ(refusal(of({file("a"), file("a-/b"), file("ab/c")})), "");
}

TEST(Manifest, LinksEndBeneathTheRoot) {
    for (const std::string target : {"a", "a/b", ".", "..", "../..", "../../x/y", "../sub", "../"}) {
        EXPECT_EQ(refusal(of({link("p/sub/l", target)})), "") << target;
    }
    // The last but one would be within by its words, but not once p is a link itself.
    for (const std::string target : {"/etc/passwd", "../../..", "../../../x", "a/../b", "", "./a", "a/", "..//a", "a\n/../../../x", "../.."}) {
        const std::string path = target == "../.." ? "p/l" : "p/sub/l";
        EXPECT_NE(refusal(of({link(path, target)})), "") << target;
    }
    EXPECT_NE(refusal(of({link("l", "..")})), "");
    EXPECT_NE(refusal(of({link("l", std::string(2'000, 'x'))})), "");
    Entry with_content = link("l", "a");
    with_content.bytes = 1;
    EXPECT_NE(refusal(of({with_content})), "");
    Entry with_target = file("f");
    with_target.target = "a";
    EXPECT_NE(refusal(of({with_target})), "");
    Entry unknown = file("f");
    unknown.kind = static_cast<EntryKind>(3);
    EXPECT_TRUE(says(refusal(of({unknown})), "unknown kind"));
}

TEST(Manifest, IsBounded) {
    Entry big = file("big");
    big.bytes = limits::k_sync_bytes_max;
    EXPECT_EQ(refusal(of({big})), "");
    EXPECT_TRUE(says(refusal(of({big, file("more")})), "more"));
    big.bytes = UINT64_MAX;  // what would be few bytes if the sum went around
    EXPECT_NE(refusal(of({file("a"), big})), "");

    std::vector<Entry> many;
    for (std::size_t at = 0; at <= limits::k_sync_entries_max; ++at) many.push_back(file(std::to_string(1'000'000 + at)));
    EXPECT_TRUE(says(refusal(of(many)), "100001"));
    const Bytes encoded = encode(of(many));
    EXPECT_FALSE(decode(encoded.view()));
    many.pop_back();
    EXPECT_EQ(refusal(of(many)), "");
    for (Entry& entry : many) entry.path += "/" + std::string(255, 'a') + "/" + std::string(255, 'a');
    EXPECT_TRUE(says(refusal(of(many)), "list"));
}

TEST(Manifest, BrokenBytesAreRefused) {
    const Bytes whole = encode(example());
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
        const Result<Manifest> decoded = decode(whole.view().first(bytes));
        ASSERT_FALSE(decoded) << bytes;
        EXPECT_EQ(decoded.error().code, Code::code_sync);
    }
    const auto with = [&](const std::function<void(Bytes&)>& change) {
        Bytes bytes(whole.view());
        change(bytes);
        const Result<Manifest> decoded = decode(bytes.view());
        return decoded ? std::string() : decoded.error().message;
    };
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.append(as_byte_view("x")); }), "goes on"));
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.data()[0] = std::byte{'X'}; }), "no list"));
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.data()[4] = std::byte{2}; }), "format 2"));
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.data()[11] = std::byte{0xff}; }), "claims more"));
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.data()[8] = std::byte{3}; }), "goes on"));
    EXPECT_TRUE(says(with([](Bytes& bytes) { bytes.data()[12] = std::byte{9}; }), "unknown kind"));
}

TEST(Manifest, PathsAreShownAsText) {
    EXPECT_EQ(shown("src/caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d.py"), "src/caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d.py");
    EXPECT_EQ(shown("caf\xe9"), "caf\\xe9");
    EXPECT_EQ(shown(std::string_view("a\0b\x1b[2J\n\\x", 10)), "a\\x00b\\x1b[2J\\x0a\\\\x");
    // Half a letter, one in too many bytes, a surrogate, beyond the last, a control.
    EXPECT_EQ(shown("\xe2\x82"), "\\xe2\\x82");
    EXPECT_EQ(shown("\xc0\xaf"), "\\xc0\\xaf");
    EXPECT_EQ(shown("\xed\xa0\x80"), "\\xed\\xa0\\x80");
    EXPECT_EQ(shown("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    EXPECT_EQ(shown("\xc2\x9b"), "\\xc2\\x9b");
}

}  // namespace
}  // namespace rh::sync
