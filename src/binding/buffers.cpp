#include "binding/buffers.h"

#include <cstdint>

#include "binding/gil.h"

namespace rh::binding {

namespace {

// Below this a copy is cheaper than an object that shares.
constexpr std::size_t k_share_bytes_min = 16 * 1024;
// What malloc guarantees, and what every number of a machine can live with.
constexpr std::size_t k_alignment = 16;
constexpr std::size_t k_copy_without_gil_bytes = 256 * 1024;

// One received block; the memoryviews made of it keep it alive.
struct Block {
    Bytes bytes;
};

int block_buffer(PyObject* self, Py_buffer* view, int flags) {
    Block* block = nb::inst_ptr<Block>(self);
    return PyBuffer_FillInfo(view, self, block->bytes.data(), static_cast<Py_ssize_t>(block->bytes.size()), 0, flags);
}

PyType_Slot block_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(block_buffer)}, {0, nullptr}};

nb::object checked(PyObject* object) {
    if (object == nullptr) throw nb::python_error();
    return nb::steal(object);
}

nb::object view_of(nb::handle block) { return checked(PyMemoryView_FromObject(block.ptr())); }

}  // namespace

void bind_buffers(nb::module_& module) { nb::class_<Block>(module, "Block", nb::type_slots(block_slots)); }

BorrowedParts::BorrowedParts(nb::handle parts) {
    const nb::object sequence = checked(PySequence_Fast(parts.ptr(), "parts must be a sequence of bytes-like objects"));
    const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()));
    owners_.reserve(count);
    views_.reserve(count);
    try {
        for (std::size_t i = 0; i < count; ++i)
            borrow(PySequence_Fast_GET_ITEM(sequence.ptr(), static_cast<Py_ssize_t>(i)));
    } catch (...) {
        for (Py_buffer& buffer : buffers_) PyBuffer_Release(&buffer);
        throw;
    }
}

void BorrowedParts::borrow(PyObject* part) {
    if (PyBytes_CheckExact(part)) {
        owners_.push_back(nb::borrow(part));
        views_.emplace_back(reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(part)),
                            static_cast<std::size_t>(PyBytes_GET_SIZE(part)));
        return;
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(part, &buffer, PyBUF_ANY_CONTIGUOUS) != 0) throw nb::python_error();
    buffers_.push_back(buffer);
    views_.emplace_back(static_cast<const std::byte*>(buffer.buf), static_cast<std::size_t>(buffer.len));
}

BorrowedParts::~BorrowedParts() {
    for (Py_buffer& buffer : buffers_) PyBuffer_Release(&buffer);
}

std::size_t BorrowedParts::byte_count() const {
    std::size_t sum = 0;
    for (const ByteView view : views_) sum += view.size();
    return sum;
}

nb::list python_parts(Body body) {
    nb::list list;
    nb::object shared;  // made for the first large part
    const std::vector<ByteView> parts = body.parts();
    const std::byte* const base = body.bytes.data();
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const ByteView part = parts[i];
        const auto* text = reinterpret_cast<const char*>(part.data());
        const auto size = static_cast<Py_ssize_t>(part.size());
        const bool aligned = reinterpret_cast<std::uintptr_t>(part.data()) % k_alignment == 0;
        if (part.size() >= k_share_bytes_min && (i == 0 || aligned)) {
            if (!shared.is_valid()) shared = nb::cast(Block{std::move(body.bytes)});
            const Py_ssize_t begin = part.data() - base;
            list.append(checked(PySequence_GetSlice(view_of(shared).ptr(), begin, begin + size)));
        } else if (i == 0) {
            list.append(checked(PyBytes_FromStringAndSize(text, size)));
        } else {
            list.append(checked(PyByteArray_FromStringAndSize(text, size)));
        }
    }
    return list;
}

Body copy_body(Encoding encoding, nb::handle parts) {
    const BorrowedParts borrowed(parts);
    Body body;
    body.encoding = encoding;
    const std::size_t byte_count = borrowed.byte_count();
    body.bytes.reserve(byte_count);
    const auto copy = [&] {
        for (const ByteView view : borrowed.views()) body.add(view);
    };
    if (byte_count >= k_copy_without_gil_bytes) {
        const WithoutGil released;
        copy();
    } else {
        copy();
    }
    return body;
}

std::string_view utf8(nb::handle text) {
    Py_ssize_t size = 0;
    const char* characters = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (characters == nullptr) throw nb::python_error();
    return {characters, static_cast<std::size_t>(size)};
}

std::string_view text_or_bytes(nb::handle text) {
    if (PyBytes_Check(text.ptr())) {
        return {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
    }
    return utf8(text);
}

Encoding encoding_from(int number) {
    if (number < 0 || number > static_cast<int>(Encoding::msgpack))
        throw nb::value_error("an encoding is 0, 1, 2 or 3");
    return static_cast<Encoding>(number);
}

}  // namespace rh::binding
