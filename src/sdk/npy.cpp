// numpy.save's file format, version 1.0 to 3.0: a magic word, the length of a header that is a Python literal, the elements.

#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "sdk/json.h"

namespace rh {

namespace {

using roundhouse::Array;
using roundhouse::Error;
using roundhouse::Result;
using roundhouse::Shape;

constexpr std::string_view k_magic = "\x93NUMPY";

Error wrong(const char* what) { return {"bad_arguments", fmt::format("this is no array as numpy.save writes it: {}", what)}; }

// What stands behind 'key': in the header.
std::string_view entry(std::string_view header, std::string_view key) {
    const std::size_t at = header.find(fmt::format("'{}'", key));
    if (at == std::string_view::npos) return {};
    std::string_view rest = header.substr(at + key.size() + 2);
    const std::size_t begin = rest.find_first_not_of(": ");
    return begin == std::string_view::npos ? std::string_view() : rest.substr(begin);
}

}  // namespace

roundhouse::Result<Array> array_from_npy(ByteView file, std::shared_ptr<const void> owner) {
    const std::string_view text = as_text(file);
    if (text.size() < 10 || !text.starts_with(k_magic)) return wrong("its first bytes are others");
    const bool wide = text[6] != 1;
    if (wide && text.size() < 12) return wrong("it is too short");
    std::size_t length = 0;
    for (std::size_t i = 0; i < (wide ? 4u : 2u); ++i) length |= std::size_t{static_cast<unsigned char>(text[8 + i])} << (8 * i);
    const std::size_t start = wide ? 12 : 10;
    if (length > text.size() - start) return wrong("it is too short");
    const std::string_view header = text.substr(start, length);
    std::string_view dtype = entry(header, "descr");
    if (!dtype.starts_with('\'') || dtype.find('\'', 1) == std::string_view::npos) return wrong("its elements are no plain numbers");
    dtype = dtype.substr(1, dtype.find('\'', 1) - 1);
    if (!entry(header, "fortran_order").starts_with("False")) return wrong("it is in Fortran's order: save numpy.ascontiguousarray of it");
    std::string_view sides = entry(header, "shape");
    if (!sides.starts_with('(') || sides.find(')') == std::string_view::npos) return wrong("it has no shape");
    sides = sides.substr(1, sides.find(')') - 1);
    Shape shape;
    const std::size_t size = roundhouse::detail::element_bytes(dtype);
    if (size == 0) return wrong("its elements are no plain numbers in this machine's order");
    std::uint64_t bytes = size;
    while (!sides.empty()) {
        std::int64_t side = 0;
        const auto [end, error] = std::from_chars(sides.data(), sides.data() + sides.size(), side);
        if (error != std::errc() || side < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(side), &bytes)) return wrong("its shape is not one");
        shape.push_back(side);
        sides.remove_prefix(static_cast<std::size_t>(end - sides.data()));
        while (sides.starts_with(',') || sides.starts_with(' ')) sides.remove_prefix(1);
    }
    const ByteView elements = file.subspan(start + length);
    if (elements.size() != bytes) return wrong("its elements are not as many as its shape says");
    return Array(std::string(dtype), std::move(shape), elements, std::move(owner));
}

std::string npy_head(const Array& array) {
    std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", array.dtype(), fmt::join(array.shape(), ", "), array.shape().size() == 1 ? "," : "");
    // The elements begin at a multiple of 64.
    header.append(63 - (10 + header.size()) % 64, ' ');
    header += '\n';
    std::string head(k_magic);
    head += {'\x01', '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
    return head + header;
}

}  // namespace rh
