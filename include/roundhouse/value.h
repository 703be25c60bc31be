#pragma once

// Values that travel between languages. Standard library only.
//
// A Value holds what MessagePack can: null, bool, integer, double, string, bytes, list, map, and arrays (a NumPy array on
// the Python side) whose elements travel as raw memory. convert.h turns C++ types into Values and back.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include "roundhouse/result.h"

namespace roundhouse {

class Value;
using List = std::vector<Value>;
using Map = std::map<std::string, Value>;
using Blob = std::vector<std::byte>;
using Shape = std::vector<std::int64_t>;

// The numbers that arrays hold.
template <class T>
inline constexpr bool is_element = std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, long double>;

// numpy's name for T: byte order, kind, size.
template <class T>
std::string dtype_of() {
    static_assert(is_element<T> || std::is_same_v<T, bool> || std::is_same_v<T, std::byte>, "arrays hold numbers");
    const char kind = std::is_same_v<T, bool> ? 'b' : std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    return std::string(sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

// Numbers to be read, row by row: a part of memory that it keeps alive, where it can, and their shape. What a function
// takes that wants to see an array without a copy of it.
template <class T>
class ArrayView {
public:
    using Element = std::remove_const_t<T>;

    ArrayView() = default;
    ArrayView(std::span<const Element> elements, Shape shape, std::shared_ptr<const void> owner)
        : elements_(elements), shape_(std::move(shape)), owner_(std::move(owner)) {}

    const Element* data() const { return elements_.data(); }
    std::size_t size() const { return elements_.size(); }
    bool empty() const { return elements_.empty(); }
    const Shape& shape() const { return shape_; }
    auto begin() const { return elements_.begin(); }
    auto end() const { return elements_.end(); }
    const Element& operator[](std::size_t index) const { return elements_[index]; }
    // Of an array of two dimensions.
    const Element& operator()(std::size_t row, std::size_t column) const { return elements_[row * static_cast<std::size_t>(shape_[1]) + column]; }
    std::span<const Element> row(std::size_t index) const {
        const auto width = static_cast<std::size_t>(shape_[1]);
        return elements_.subspan(index * width, width);
    }
    operator std::span<const Element>() const { return elements_; }

private:
    std::span<const Element> elements_;
    Shape shape_;
    std::shared_ptr<const void> owner_;
};

namespace detail {
// Converts `count` numbers of one dtype into another where nothing is lost but precision between floating-point numbers; says
// what does not fit. `wanted` and `from` are dtypes.
Result<Nothing> convert_elements(const std::string& from, const std::byte* elements, std::size_t count, const std::string& wanted, std::byte* to);
// Bytes of one element; 0 for what is no dtype of numbers.
std::size_t element_bytes(std::string_view dtype);
}  // namespace detail

// A dense array in C order, whose memory is shared by its copies and never changes.
class Array {
public:
    Array() : dtype_("<f8"), shape_{0} {}
    Array(std::string dtype, Shape shape, std::span<const std::byte> bytes, std::shared_ptr<const void> owner)
        : dtype_(std::move(dtype)), shape_(std::move(shape)), bytes_(bytes), owner_(std::move(owner)) {}

    // Takes the elements over, without a copy. With a shape it has those sides; throws Failure where they do not fit.
    template <class T>
    static Array of(std::vector<T> elements, Shape shape = {}) {
        auto owner = std::make_shared<const std::vector<T>>(std::move(elements));
        const std::span<const T> all(*owner);
        return made(all, std::move(shape), std::move(owner));
    }
    // Looks at memory of yours, which must stay as it is while the array lives.
    template <class T>
    static Array borrow(std::span<const T> elements, Shape shape = {}) { return made(elements, std::move(shape), nullptr); }

    const std::string& dtype() const { return dtype_; }
    const Shape& shape() const { return shape_; }
    std::size_t size() const { return static_cast<std::size_t>(std::accumulate(shape_.begin(), shape_.end(), std::int64_t{1}, std::multiplies<>())); }
    std::span<const std::byte> bytes() const { return bytes_; }
    const std::shared_ptr<const void>& owner() const { return owner_; }

    // The elements: where they are, if they are of that type and aligned for it, and converted otherwise. An Error where they do not fit it.
    template <class T>
    Result<ArrayView<T>> view() const {
        using Element = std::remove_const_t<T>;
        if (dtype_ == dtype_of<Element>() && reinterpret_cast<std::uintptr_t>(bytes_.data()) % alignof(Element) == 0)
            return ArrayView<T>({reinterpret_cast<const Element*>(bytes_.data()), bytes_.size() / sizeof(Element)}, shape_, owner_);
        Result<std::vector<Element>> converted = as<Element>();
        if (!converted) return converted.error();
        const auto owner = std::make_shared<const std::vector<Element>>(std::move(*converted));
        return ArrayView<T>(std::span<const Element>(*owner), shape_, owner);
    }
    // The same as a copy of one's own.
    template <class T>
    Result<std::vector<T>> as() const {
        std::vector<T> elements(size());
        Result<Nothing> converted = detail::convert_elements(dtype_, bytes_.data(), elements.size(), dtype_of<T>(), reinterpret_cast<std::byte*>(elements.data()));
        if (!converted) return converted.error();
        return elements;
    }

private:
    template <class T>
    static Array made(std::span<const T> elements, Shape shape, std::shared_ptr<const void> owner) {
        if (shape.empty()) shape.push_back(static_cast<std::int64_t>(elements.size()));
        Array array(dtype_of<T>(), std::move(shape), std::as_bytes(elements), std::move(owner));
        if (array.size() != elements.size())
            throw Failure({"bad_arguments", std::to_string(elements.size()) + " elements do not fill a shape of " + std::to_string(array.size())});
        return array;
    }

    std::string dtype_;
    Shape shape_;
    std::span<const std::byte> bytes_;
    std::shared_ptr<const void> owner_;  // of those bytes
};

class Value {
public:
    using State = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Blob, List, Map, Array>;

    // Out of line, as is what copies and destroys them: that would cost every program that is compiled.
    Value() noexcept;
    Value(std::nullptr_t) noexcept;
    Value(bool value) noexcept;
    template <class T, class = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
    Value(T value) noexcept : Value(Integer{static_cast<std::int64_t>(value)}) {}
    Value(double value) noexcept;
    Value(const char* value);
    Value(std::string value) noexcept;
    Value(Blob value) noexcept;
    Value(List value) noexcept;
    Value(Map value) noexcept;
    Value(Array value) noexcept;
    Value(const Value& other);
    Value(Value&& other) noexcept;
    Value& operator=(const Value& other);
    Value& operator=(Value&& other) noexcept;
    ~Value();

    template <class T>
    bool is() const { return std::holds_alternative<T>(state_); }
    template <class T>
    const T& get() const { return std::get<T>(state_); }
    template <class T>
    T& get() { return std::get<T>(state_); }
    const State& state() const { return state_; }
    // "null", "bool", "integer", "number", "text", "bytes", "list", "map", "array"
    std::string_view type() const;
    // Of a map: what has that key; null where nothing has, or this is no map.
    const Value& operator[](const std::string& key) const;
    // Turns it into a T, as convert.h has it.
    template <class T>
    Result<T> as() const;

private:
    struct Integer {
        std::int64_t value;
    };
    explicit Value(Integer integer) noexcept;

    State state_;
};

}  // namespace roundhouse
