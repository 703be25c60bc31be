#pragma once

// An owned, growable run of bytes that is never zero-filled: a 100 MB body would pay for its pages twice in a
// std::vector. Growth is realloc, which moves large blocks by remapping them.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <utility>

namespace rh {

using ByteView = std::span<const std::byte>;

inline ByteView as_byte_view(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }
inline std::string_view as_text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

class Bytes {
public:
    Bytes() = default;
    explicit Bytes(ByteView from) { append(from); }
    Bytes(Bytes&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, 0)) {}
    Bytes& operator=(Bytes&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    Bytes(const Bytes&) = delete;
    Bytes& operator=(const Bytes&) = delete;
    ~Bytes() { std::free(data_); }

    std::byte* data() { return data_; }
    const std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    ByteView view() const { return {data_, size_}; }

    void reserve(std::size_t capacity) {
        if (capacity <= capacity_) return;
        auto* grown = static_cast<std::byte*>(std::realloc(data_, capacity));
        if (grown == nullptr) throw std::bad_alloc();
        data_ = grown;
        capacity_ = capacity;
    }
    // Makes room for `count` more bytes and returns where they go; their content is whatever was there.
    std::byte* extend(std::size_t count) {
        if (size_ + count > capacity_) reserve(size_ + count > 2 * capacity_ ? size_ + count : 2 * capacity_);
        size_ += count;
        return data_ + (size_ - count);
    }
    void append(ByteView more) {
        if (!more.empty()) std::memcpy(extend(more.size()), more.data(), more.size());
    }
    void truncate(std::size_t size) { size_ = size < size_ ? size : size_; }
    void clear() { size_ = 0; }
    // Gives back memory beyond `keep` bytes once empty, so that an idle connection is small.
    void shrink_if_empty(std::size_t keep) {
        if (size_ == 0 && capacity_ > keep) {
            std::free(std::exchange(data_, nullptr));
            capacity_ = 0;
        }
    }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace rh
