#pragma once

// Values that travel between languages, and results that may be errors. Standard library only.
//
// A Value holds what MessagePack can: null, bool, integer, double, string, bytes, list, map, and arrays (a numpy array on
// the Python side) whose elements travel as raw memory. to_value and from_value convert C++ types; specialise
// roundhouse::Convert<T> for your own.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace roundhouse {

// What went wrong, as a value. `code` is one of the words that all of Roundhouse uses: "not_found", "worker_died",
// "bad_arguments", "cancelled", ... and "raised" for an exception of the service's own code, whose type and traceback
// stand among the facts.
struct Error {
    std::string code;
    std::string message;
    std::map<std::string, std::string> facts;
};

// Thrown only by Result::value(), for callers who prefer exceptions.
class Failure : public std::runtime_error {
public:
    explicit Failure(Error error) : std::runtime_error(error.code + ": " + error.message), error_(std::move(error)) {}
    const Error& error() const { return error_; }

private:
    Error error_;
};

// A T, or the Error that stands in its place.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }
    T& operator*() { return std::get<0>(state_); }
    const T& operator*() const { return std::get<0>(state_); }
    T* operator->() { return &std::get<0>(state_); }
    const T* operator->() const { return &std::get<0>(state_); }
    const Error& error() const { return std::get<1>(state_); }
    // The value; throws Failure where there is none. Of a temporary it is moved out, so that a loop may run over it.
    T& value() & {
        if (!ok()) throw Failure(error());
        return **this;
    }
    T value() && {
        if (!ok()) throw Failure(error());
        return std::move(**this);
    }

private:
    std::variant<T, Error> state_;
};

struct Nothing {};

class Value;
using List = std::vector<Value>;
using Map = std::map<std::string, Value>;
using Blob = std::vector<std::byte>;

// A dense array in C order. `dtype` is numpy's array-protocol string ("<f8", "<i4", "|u1").
struct Array {
    std::string dtype;
    std::vector<std::int64_t> shape;
    Blob data;

    // Copies `count` elements, one-dimensional.
    template <class T>
    static Array of(const T* elements, std::size_t count);
    template <class T>
    static Array of(const std::vector<T>& elements) { return of(elements.data(), elements.size()); }
    // The elements; an Error when the dtype is another one.
    template <class T>
    Result<std::vector<T>> as() const;
};

class Value {
public:
    using State = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Blob, List, Map, Array>;

    Value() : state_(nullptr) {}
    Value(std::nullptr_t) : state_(nullptr) {}
    Value(bool value) : state_(value) {}
    template <class T, class = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
    Value(T value) : state_(static_cast<std::int64_t>(value)) {}
    Value(double value) : state_(value) {}
    Value(const char* value) : state_(std::string(value)) {}
    Value(std::string value) : state_(std::move(value)) {}
    Value(Blob value) : state_(std::move(value)) {}
    Value(List value) : state_(std::move(value)) {}
    Value(Map value) : state_(std::move(value)) {}
    Value(Array value) : state_(std::move(value)) {}

    template <class T>
    bool is() const { return std::holds_alternative<T>(state_); }
    template <class T>
    const T& get() const { return std::get<T>(state_); }
    template <class T>
    T& get() { return std::get<T>(state_); }
    const State& state() const { return state_; }
    // "null", "bool", "integer", "double", "string", "bytes", "list", "map", "array"
    std::string_view type() const {
        static constexpr std::string_view k_names[] = {"null", "bool", "integer", "double", "string", "bytes", "list", "map", "array"};
        return k_names[state_.index()];
    }

private:
    State state_;
};

// --- conversion ----------------------------------------------------------------------------------------------------

template <class T, class = void>
struct Convert;

template <class T>
Value to_value(T&& value) { return Convert<std::decay_t<T>>::to(std::forward<T>(value)); }
template <class T>
Result<T> from_value(const Value& value) { return Convert<T>::from(value); }

inline Error wrong_type(std::string_view wanted, const Value& got) {
    return Error{"bad_arguments", "expected " + std::string(wanted) + ", got " + std::string(got.type()), {}};
}

template <>
struct Convert<Value> {
    static Value to(Value value) { return value; }
    static Result<Value> from(const Value& value) { return value; }
};
template <>
struct Convert<Nothing> {
    static Value to(Nothing) { return {}; }
    static Result<Nothing> from(const Value&) { return Nothing{}; }
};
template <>
struct Convert<bool> {
    static Value to(bool value) { return value; }
    static Result<bool> from(const Value& value) { return value.is<bool>() ? Result<bool>(value.get<bool>()) : wrong_type("bool", value); }
};
template <class T>
struct Convert<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
    static Value to(T value) { return static_cast<std::int64_t>(value); }
    static Result<T> from(const Value& value) {
        if (!value.is<std::int64_t>()) return wrong_type("integer", value);
        const std::int64_t wide = value.get<std::int64_t>();
        if (static_cast<std::int64_t>(static_cast<T>(wide)) != wide || (std::is_unsigned_v<T> && wide < 0))
            return Error{"bad_arguments", std::to_string(wide) + " does not fit the integer type", {}};
        return static_cast<T>(wide);
    }
};
template <class T>
struct Convert<T, std::enable_if_t<std::is_floating_point_v<T>>> {
    static Value to(T value) { return static_cast<double>(value); }
    static Result<T> from(const Value& value) {
        if (value.is<double>()) return static_cast<T>(value.get<double>());
        if (value.is<std::int64_t>()) return static_cast<T>(value.get<std::int64_t>());
        return wrong_type("number", value);
    }
};
template <>
struct Convert<std::string> {
    static Value to(std::string value) { return value; }
    static Result<std::string> from(const Value& value) {
        if (!value.is<std::string>()) return wrong_type("string", value);
        return value.get<std::string>();
    }
};
template <>
struct Convert<const char*> {
    static Value to(const char* value) { return value; }
};
template <>
struct Convert<std::string_view> {
    static Value to(std::string_view value) { return std::string(value); }
};
template <>
struct Convert<Array> {
    static Value to(Array value) { return value; }
    static Result<Array> from(const Value& value) {
        if (!value.is<Array>()) return wrong_type("array", value);
        return value.get<Array>();
    }
};
template <>
struct Convert<Blob> {
    static Value to(Blob value) { return value; }
    static Result<Blob> from(const Value& value) {
        if (!value.is<Blob>()) return wrong_type("bytes", value);
        return value.get<Blob>();
    }
};
template <class T>
struct Convert<std::optional<T>> {
    static Value to(const std::optional<T>& value) { return value ? to_value(*value) : Value(); }
    static Result<std::optional<T>> from(const Value& value) {
        if (value.is<std::nullptr_t>()) return std::optional<T>();
        Result<T> inner = from_value<T>(value);
        if (!inner) return inner.error();
        return std::optional<T>(std::move(*inner));
    }
};
template <class T>
struct Convert<std::vector<T>> {
    static Value to(const std::vector<T>& values) {
        List list;
        for (const T& value : values) list.push_back(to_value(value));
        return list;
    }
    static Result<std::vector<T>> from(const Value& value) {
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
            if (value.is<Array>()) return value.get<Array>().template as<T>();
        }
        if (!value.is<List>()) return wrong_type("list", value);
        std::vector<T> values;
        for (const Value& element : value.get<List>()) {
            Result<T> inner = from_value<T>(element);
            if (!inner) return inner.error();
            values.push_back(std::move(*inner));
        }
        return values;
    }
};
template <class T>
struct Convert<std::map<std::string, T>> {
    static Value to(const std::map<std::string, T>& values) {
        Map map;
        for (const auto& [key, value] : values) map.emplace(key, to_value(value));
        return map;
    }
    static Result<std::map<std::string, T>> from(const Value& value) {
        if (!value.is<Map>()) return wrong_type("map", value);
        std::map<std::string, T> values;
        for (const auto& [key, element] : value.get<Map>()) {
            Result<T> inner = from_value<T>(element);
            if (!inner) return inner.error();
            values.emplace(key, std::move(*inner));
        }
        return values;
    }
};

// numpy's name for T: byte order, kind, size.
template <class T>
std::string dtype_of() {
    static_assert(std::is_arithmetic_v<T>, "arrays hold numbers");
    const char kind = std::is_same_v<T, bool> ? 'b' : std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    return std::string(sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

template <class T>
Array Array::of(const T* elements, std::size_t count) {
    Array array{dtype_of<T>(), {static_cast<std::int64_t>(count)}, Blob(count * sizeof(T))};
    if (count != 0) std::memcpy(array.data.data(), elements, array.data.size());
    return array;
}

template <class T>
Result<std::vector<T>> Array::as() const {
    if (dtype != dtype_of<T>()) return Error{"bad_arguments", "expected an array of " + dtype_of<T>() + ", got " + dtype, {}};
    std::vector<T> elements(data.size() / sizeof(T));
    if (!elements.empty()) std::memcpy(elements.data(), data.data(), elements.size() * sizeof(T));
    return elements;
}

}  // namespace roundhouse
