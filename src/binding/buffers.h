#pragma once

// Body parts across the border. Going out, Python's buffers are borrowed and read without a copy; coming in, small
// parts become objects of Python's own and large ones writable memoryviews over the one block that the engine received.

#include <nanobind/nanobind.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/body.h"
#include "base/bytes.h"

namespace rh::binding {

namespace nb = nanobind;

void bind_buffers(nb::module_& module);

// Holds the buffers of a sequence of bytes-like objects. Made and destroyed with the GIL; readable without it.
class BorrowedParts {
public:
    explicit BorrowedParts(nb::handle parts);
    ~BorrowedParts();
    BorrowedParts(const BorrowedParts&) = delete;
    BorrowedParts& operator=(const BorrowedParts&) = delete;

    std::span<const ByteView> views() const { return views_; }
    std::size_t byte_count() const;

private:
    void borrow(PyObject* part);

    std::vector<nb::object> owners_;
    std::vector<Py_buffer> buffers_;
    std::vector<ByteView> views_;
};

// The parts as a list: the first as bytes (or a memoryview where it is large), the others writable and aligned for any
// number. Needs the GIL.
nb::list python_parts(Body body);

// A Body that holds a copy of the parts; lets go of the GIL while it copies much.
Body copy_body(Encoding encoding, nb::handle parts);

// Valid while the string lives.
std::string_view utf8(nb::handle text);
// The bytes or str as text, valid while the object lives.
std::string_view text_or_bytes(nb::handle text);

// 0..3, or a ValueError.
Encoding encoding_from(int number);

}  // namespace rh::binding
