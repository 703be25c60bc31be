#include "sync/manifest.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"

namespace rh::sync {

namespace {

constexpr std::string_view k_magic = "RHSM";
constexpr std::uint32_t k_format = 1;
constexpr std::size_t k_head_bytes = 12;
constexpr std::size_t k_file_bytes = 1 + 2 + 8 + sizeof(Digest::bytes);
constexpr std::size_t k_link_bytes = 1 + 2 + 2;

tl::unexpected<Error> refuse(const std::string& path, std::string_view why) {
    return fail(Code::code_sync, fmt::format("a snapshot may not hold {}: {}", path.empty() ? "an entry without a path" : shown(path), why));
}

// What is wrong with a relative path of plain names; "" when nothing is.
std::string_view wrong_with_path(std::string_view path) {
    if (path.empty()) return "it is empty";
    if (path.size() > limits::k_sync_path_bytes_max) return "its path is too long";
    if (path.find('\0') != path.npos) return "there is a NUL in its path";
    for (std::size_t from = 0; from <= path.size();) {
        const std::size_t to = std::min(path.find('/', from), path.size());
        const std::string_view name = path.substr(from, to - from);
        if (name.empty()) return from == 0 ? "its path is absolute" : "a name in its path is empty";
        if (name == "." || name == "..") return "there is a '.' or '..' in its path";
        if (name.size() > limits::k_sync_name_bytes_max) return "a name in its path is too long";
        from = to + 1;
    }
    return {};
}

// A link's folder is a folder of the snapshot's own, never a link (check() sees to that). "../" at most as often as that is deep and
// then names can end, through whatever other such links, nowhere but beneath the root. A ".." behind a name could: the name may be
// a link to a place that is less deep.
std::string_view wrong_with_target(const Entry& entry) {
    std::string_view target = entry.target;
    if (target == ".") return {};
    auto depth = std::count(entry.path.begin(), entry.path.end(), '/');
    while (target == ".." || target.starts_with("../")) {
        if (depth-- == 0) return "its target is outside the root";
        target.remove_prefix(std::min<std::size_t>(3, target.size()));
        if (target.empty()) return {};
    }
    return wrong_with_path(target).empty() ? std::string_view{} : "its target is not a relative path of the form ../names";
}

// The first of the folders above an entry that is an entry itself. What stands beside `before` in one folder was looked at there.
const Entry* entry_above(const Manifest& manifest, const Entry& entry, std::string_view before) {
    const std::string_view path = entry.path;
    for (std::size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
        if (before.starts_with(path.substr(0, slash + 1))) continue;
        const std::string_view folder = path.substr(0, slash);
        const auto found = std::lower_bound(manifest.entries.begin(), manifest.entries.end(), folder,
                                            [](const Entry& each, std::string_view name) { return each.path < name; });
        if (found != manifest.entries.end() && found->path == folder) return &*found;
    }
    return nullptr;
}

std::size_t encoded_bytes(const Entry& entry) {
    return entry.path.size() + (entry.kind == EntryKind::link ? k_link_bytes + entry.target.size() : k_file_bytes);
}

template <class T>
void put(Bytes& to, T number) {
    for (std::size_t at = 0; at < sizeof(T); ++at) {
        const auto byte = static_cast<std::byte>(number >> (8 * at));
        to.append({&byte, 1});
    }
}

// Takes from the front of what is left; whoever asks for more than that gets nothing, and so does everybody after.
class Reader {
public:
    explicit Reader(ByteView bytes) : bytes_(bytes) {}

    ByteView take(std::size_t count) {
        if (count > bytes_.size()) {
            short_ = true;
            bytes_ = {};
            return {};
        }
        const ByteView taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }
    template <class T>
    T number() {
        T value = 0;
        const ByteView taken = take(sizeof(T));
        for (std::size_t at = 0; at < taken.size(); ++at) value |= static_cast<T>(static_cast<T>(std::to_integer<T>(taken[at])) << (8 * at));
        return value;
    }
    std::string text() { return std::string(as_text(take(number<std::uint16_t>()))); }
    std::size_t left() const { return bytes_.size(); }
    bool is_short() const { return short_; }

private:
    ByteView bytes_;
    bool short_ = false;
};

Entry read_entry(Reader& reader) {
    Entry entry;
    entry.kind = static_cast<EntryKind>(reader.number<std::uint8_t>());
    entry.path = reader.text();
    if (entry.kind == EntryKind::link) {
        entry.target = reader.text();
        return entry;
    }
    entry.bytes = reader.number<std::uint64_t>();
    const ByteView digest = reader.take(entry.digest.bytes.size());
    std::copy(digest.begin(), digest.end(), entry.digest.bytes.begin());
    return entry;
}

// How many bytes of a path's front are one character that a terminal shows; 0 when they are not.
std::size_t printable(std::string_view text) {
    const auto byte = [&](std::size_t at) -> std::uint32_t { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0; };
    const std::uint32_t first = byte(0);
    if (first < 0x80) return first >= 0x20 && first != 0x7f && first != '\\' ? 1 : 0;
    const std::size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    std::uint32_t letter = first & (0xffU >> (count + 1));
    for (std::size_t at = 1; at < count; ++at) {
        if ((byte(at) & 0xc0) != 0x80) return 0;
        letter = letter << 6 | (byte(at) & 0x3f);
    }
    constexpr std::uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};  // those below 0xa0 are controls
    const bool is_surrogate = letter >= 0xd800 && letter < 0xe000;
    return first >= 0xc2 && first < 0xf5 && letter >= least[count] && letter <= 0x10ffff && !is_surrogate ? count : 0;
}

}  // namespace

std::string_view wrong_with(const Entry& entry) {
    if (const std::string_view why = wrong_with_path(entry.path); !why.empty()) return why;
    switch (entry.kind) {
        case EntryKind::file:
        case EntryKind::executable: return entry.target.empty() ? std::string_view{} : "it is a file and has a target";
        case EntryKind::link:
            if (entry.bytes != 0 || entry.digest != Digest{}) return "it is a link and has content";
            if (entry.target.size() > limits::k_sync_path_bytes_max) return "its target is too long";
            return wrong_with_target(entry);
    }
    return "it is of an unknown kind";
}

Result<void> check(const Manifest& manifest) {
    if (manifest.entries.size() > limits::k_sync_entries_max) {
        return fail(Code::code_sync, fmt::format("a snapshot of {} entries is beyond the bound of {}", manifest.entries.size(), limits::k_sync_entries_max));
    }
    std::uint64_t bytes = 0;
    std::size_t encoded = k_head_bytes;
    std::string_view before;
    for (const Entry& entry : manifest.entries) {
        if (const std::string_view why = wrong_with(entry); !why.empty()) return refuse(entry.path, why);
        if (!before.empty() && !(before < entry.path)) return refuse(entry.path, before == entry.path ? "it stands there twice" : "it is out of order");
        if (const Entry* above = entry_above(manifest, entry, before)) return refuse(entry.path, fmt::format("{} is no folder", shown(above->path)));
        if (entry.bytes > limits::k_sync_bytes_max - bytes) {
            return refuse(entry.path, fmt::format("with it the files have more than {} bytes", limits::k_sync_bytes_max));
        }
        bytes += entry.bytes;
        encoded += encoded_bytes(entry);
        before = entry.path;
    }
    if (encoded > limits::k_sync_manifest_bytes_max) {
        return fail(Code::code_sync, fmt::format("a snapshot's list of {} bytes is beyond the bound of {}", encoded, limits::k_sync_manifest_bytes_max));
    }
    return {};
}

Bytes encode(const Manifest& manifest) {
    std::size_t bytes = k_head_bytes;
    for (const Entry& entry : manifest.entries) bytes += encoded_bytes(entry);
    Bytes to;
    to.reserve(bytes);
    to.append(as_byte_view(k_magic));
    put(to, k_format);
    put(to, static_cast<std::uint32_t>(manifest.entries.size()));
    for (const Entry& entry : manifest.entries) {
        put(to, static_cast<std::uint8_t>(entry.kind));
        put(to, static_cast<std::uint16_t>(entry.path.size()));
        to.append(as_byte_view(entry.path));
        if (entry.kind == EntryKind::link) {
            put(to, static_cast<std::uint16_t>(entry.target.size()));
            to.append(as_byte_view(entry.target));
        } else {
            put(to, entry.bytes);
            to.append(entry.digest.bytes);
        }
    }
    return to;
}

Result<Manifest> decode(ByteView encoded) {
    if (encoded.size() > limits::k_sync_manifest_bytes_max) return fail(Code::code_sync, "a snapshot's list is too long");
    Reader reader(encoded);
    if (as_text(reader.take(k_magic.size())) != k_magic) return fail(Code::code_sync, "this is no list of a snapshot's files");
    if (const auto format = reader.number<std::uint32_t>(); format != k_format) {
        return fail(Code::code_sync, fmt::format("a snapshot's list has format {}, and this version reads {}: use the same version on both sides", format, k_format));
    }
    const auto count = reader.number<std::uint32_t>();
    Manifest manifest;
    // The count is only believed as far as there are bytes for it.
    if (count > reader.left() / k_link_bytes) return fail(Code::code_sync, "a snapshot's list claims more entries than it has");
    manifest.entries.reserve(std::min<std::size_t>(count, limits::k_sync_entries_max));
    while (manifest.entries.size() < count && manifest.entries.size() <= limits::k_sync_entries_max && !reader.is_short()) {
        manifest.entries.push_back(read_entry(reader));
    }
    if (reader.is_short()) return fail(Code::code_sync, "a snapshot's list ends within an entry");
    if (manifest.entries.size() == count && reader.left() > 0) return fail(Code::code_sync, "a snapshot's list goes on behind its last entry");
    RH_TRY_VOID(check(manifest));
    return manifest;
}

std::string shown(std::string_view path) {
    std::string text;
    while (!path.empty()) {
        if (const std::size_t count = printable(path); count > 0) {
            text += path.substr(0, count);
            path.remove_prefix(count);
        } else {
            text += path[0] == '\\' ? "\\\\" : fmt::format("\\x{:02x}", static_cast<unsigned char>(path[0]));
            path.remove_prefix(1);
        }
    }
    return text;
}

}  // namespace rh::sync
