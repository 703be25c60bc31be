// Ignore files may say anything: whatever stands in one, it gives a verdict about any path, and a pattern whose bytes are all escaped
// matches those bytes and no others.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sync/ignore.h"

namespace {

void expect(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "ignore_fuzz: broken: %s\n", what);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(bytes), size);
    const std::string_view path = input.substr(0, input.find('\n'));
    const rh::sync::Patterns patterns(input.substr(path.size()));
    const rh::sync::Verdict file = patterns.verdict(path, false);
    expect(patterns.empty() ? file == rh::sync::Verdict::none : true, "no pattern, no verdict");

    std::string escaped;
    for (const char letter : path) escaped.append("\\").push_back(letter);
    const auto glob = rh::sync::Glob::compile(escaped);
    expect(glob && glob->matches(path), "an escaped text matches itself");
    expect(!glob->matches(std::string(path) + "x"), "and nothing longer");
    if (const auto raw = rh::sync::Glob::compile(path)) raw->matches(input.substr(path.size()));
    return 0;
}
