// The decoder takes any bytes: what it gives passes check(), and is encoded as it came, so that no two lists have one meaning.

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/limits.h"
#include "sync/manifest.h"

namespace {

void expect(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "manifest_fuzz: broken: %s\n", what);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const rh::ByteView input(reinterpret_cast<const std::byte*>(bytes), size);
    const auto manifest = rh::sync::decode(input);
    if (!manifest) {
        expect(manifest.error().code == rh::Code::code_sync, "a refusal is typed");
        expect(rh::sync::shown(manifest.error().message) == manifest.error().message || manifest.error().message.find('\\') != std::string::npos,
               "a message is text");
        return 0;
    }
    expect(rh::sync::check(*manifest).has_value(), "what is decoded passes its check");
    const rh::Bytes again = rh::sync::encode(*manifest);
    expect(again.size() == size && std::memcmp(again.data(), bytes, size) == 0, "it is encoded as it came");
    for (const auto& entry : manifest->entries) expect(entry.path.size() <= rh::limits::k_sync_path_bytes_max, "paths are bounded");
    return 0;
}
