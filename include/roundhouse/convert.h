#pragma once

// C++ types as Values and back. For a struct of your own write ROUNDHOUSE_FIELDS (fields.h) beside it; for anything else
// specialise Convert<T>: to() makes a Value of it, from() reads one, and describe(), which may be left out, says in a
// description what it is: a type as Python writes it, and its JSON Schema.

#include <array>
#include <chrono>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

#include "roundhouse/value.h"

namespace roundhouse {

struct TypeText {
    std::string name;    // "float"
    std::string schema;  // {"type":"number"}
};

template <class T, class = void>
struct Convert;

template <class T>
Value to_value(T&& value) { return Convert<std::decay_t<T>>::to(std::forward<T>(value)); }
template <class T>
Result<T> from_value(const Value& value) { return Convert<T>::from(value); }

template <class T>
Result<T> Value::as() const { return from_value<T>(*this); }

template <class T>
TypeText describe_type() {
    if constexpr (std::is_void_v<T>) {
        return {"None", R"({"type":"null"})"};
    } else if constexpr (requires { Convert<T>::describe(); }) {
        return Convert<T>::describe();
    } else {
        return {"object", "{}"};
    }
}

inline Error wrong_type(std::string_view wanted, const Value& got) {
    return Error{"bad_arguments", "expected " + std::string(wanted) + ", got " + std::string(got.type())};
}

namespace detail {

// Says where in a value the error is.
inline Error within(Error error, const std::string& place) {
    const bool goes_on = error.message.starts_with('[') || error.message.starts_with('.');
    error.message = place + (goes_on ? "" : ": ") + error.message;
    return error;
}

template <class Container>
Value list_of(const Container& values) {
    List list;
    for (const auto& value : values) list.push_back(to_value(value));
    return list;
}

// The elements of a list, or the rows of an array of several dimensions.
Result<List> elements_of(const Value& value);

// Calls take(element) for each element of a list or array.
template <class T, class Take>
Result<Nothing> each_of(const Value& value, Take take) {
    Result<List> made(List{});
    if (!value.is<List>()) {
        made = elements_of(value);
        if (!made) return made.error();
    }
    const List& list = value.is<List>() ? value.get<List>() : *made;
    for (std::size_t index = 0; index < list.size(); ++index) {
        Result<T> element = from_value<T>(list[index]);
        if (!element) return within(element.error(), "[" + std::to_string(index) + "]");
        take(std::move(*element));
    }
    return Nothing{};
}

inline TypeText list_text(const std::string& element, const std::string& schema, const std::string& more = "") {
    return {"list[" + element + "]", R"({"type":"array","items":)" + schema + more + "}"};
}

// Nested lists of numbers as the elements of an array; their shape is that of the nesting.
Result<Array> array_of(const Value& value, const std::string& dtype);

// An array of T, whether an array, bytes or nested lists have come.
template <class T>
Result<ArrayView<T>> view_of(const Value& value) {
    using Element = std::remove_const_t<T>;
    if (value.is<Array>()) return value.get<Array>().template view<T>();
    if constexpr (sizeof(Element) == 1) {
        if (value.is<Blob>()) {
            const auto owner = std::make_shared<const Blob>(value.get<Blob>());
            return ArrayView<T>({reinterpret_cast<const Element*>(owner->data()), owner->size()}, {static_cast<std::int64_t>(owner->size())}, owner);
        }
    }
    Result<Array> made = array_of(value, dtype_of<Element>());
    if (!made) return made.error();
    return made->template view<T>();
}

}  // namespace detail

// --- plain values --------------------------------------------------------------------------------------------------

template <>
struct Convert<Value> {
    static Value to(Value value) { return value; }
    static Result<Value> from(const Value& value) { return value; }
    static TypeText describe() { return {"object", "{}"}; }
};
template <>
struct Convert<Nothing> {
    static Value to(Nothing) { return {}; }
    static Result<Nothing> from(const Value&) { return Nothing{}; }
    static TypeText describe() { return describe_type<void>(); }
};
template <>
struct Convert<std::nullptr_t> {
    static Value to(std::nullptr_t) { return {}; }
    static Result<std::nullptr_t> from(const Value& value) {
        if (!value.is<std::nullptr_t>()) return wrong_type("null", value);
        return nullptr;
    }
    static TypeText describe() { return describe_type<void>(); }
};
template <>
struct Convert<std::nullopt_t> : Convert<std::nullptr_t> {
    static Value to(std::nullopt_t) { return {}; }
};
template <>
struct Convert<bool> {
    static Value to(bool value) { return value; }
    static Result<bool> from(const Value& value) {
        if (!value.is<bool>()) return wrong_type("bool", value);
        return value.get<bool>();
    }
    static TypeText describe() { return {"bool", R"({"type":"boolean"})"}; }
};
template <class T>
struct Convert<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
    static Value to(T value) { return static_cast<std::int64_t>(value); }
    static Result<T> from(const Value& value) {
        if (!value.is<std::int64_t>()) return wrong_type("integer", value);
        const std::int64_t wide = value.get<std::int64_t>();
        if (static_cast<std::int64_t>(static_cast<T>(wide)) != wide || (std::is_unsigned_v<T> && wide < 0))
            return Error{"bad_arguments", std::to_string(wide) + " does not fit " + std::to_string(8 * sizeof(T)) + (std::is_unsigned_v<T> ? " bits without" : " bits with") + " a sign"};
        return static_cast<T>(wide);
    }
    static TypeText describe() { return {"int", std::is_unsigned_v<T> ? R"({"type":"integer","minimum":0})" : R"({"type":"integer"})"}; }
};
template <class T>
struct Convert<T, std::enable_if_t<std::is_floating_point_v<T>>> {
    static Value to(T value) { return static_cast<double>(value); }
    static Result<T> from(const Value& value) {
        if (value.is<double>()) return static_cast<T>(value.get<double>());
        if (value.is<std::int64_t>()) return static_cast<T>(value.get<std::int64_t>());
        return wrong_type("number", value);
    }
    static TypeText describe() { return {"float", R"({"type":"number"})"}; }
};
template <>
struct Convert<std::string> {
    static Value to(std::string value) { return value; }
    static Result<std::string> from(const Value& value) {
        if (!value.is<std::string>()) return wrong_type("text", value);
        return value.get<std::string>();
    }
    static TypeText describe() { return {"str", R"({"type":"string"})"}; }
};
template <>
struct Convert<const char*> {
    static Value to(const char* value) { return value; }
};
template <>
struct Convert<char*> : Convert<const char*> {};
template <>
struct Convert<std::string_view> {
    static Value to(std::string_view value) { return std::string(value); }
};
template <>
struct Convert<Blob> {
    static Value to(Blob value) { return value; }
    static Result<Blob> from(const Value& value) {
        if (!value.is<Blob>()) return wrong_type("bytes", value);
        return value.get<Blob>();
    }
    static TypeText describe() { return {"bytes", R"({"type":"object","properties":{"$bytes":{"type":"string","contentEncoding":"base64"}},"required":["$bytes"]})"}; }
};
template <>
struct Convert<List> {
    static Value to(List value) { return value; }
    static Result<List> from(const Value& value) { return detail::elements_of(value); }
    static TypeText describe() { return {"list", R"({"type":"array"})"}; }
};
template <>
struct Convert<Map> {
    static Value to(Map value) { return value; }
    static Result<Map> from(const Value& value) {
        if (!value.is<Map>()) return wrong_type("map", value);
        return value.get<Map>();
    }
    static TypeText describe() { return {"dict", R"({"type":"object"})"}; }
};
// Travels as seconds.
template <class Rep, class Period>
struct Convert<std::chrono::duration<Rep, Period>> {
    using Duration = std::chrono::duration<Rep, Period>;
    static Value to(Duration value) { return std::chrono::duration<double>(value).count(); }
    static Result<Duration> from(const Value& value) {
        const Result<double> seconds = from_value<double>(value);
        if (!seconds) return wrong_type("seconds", value);
        return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
    }
    static TypeText describe() { return {"float", R"({"type":"number","description":"seconds"})"}; }
};
// An enumeration that fields.h does not name travels as its number.
template <class T>
struct Convert<T, std::enable_if_t<std::is_enum_v<T> && !std::is_same_v<T, std::byte> && !requires { roundhouse_names(static_cast<const T*>(nullptr)); }>> {
    using Number = std::underlying_type_t<T>;
    static Value to(T value) { return to_value(static_cast<Number>(value)); }
    static Result<T> from(const Value& value) {
        const Result<Number> number = from_value<Number>(value);
        if (!number) return number.error();
        return static_cast<T>(*number);
    }
    static TypeText describe() { return describe_type<Number>(); }
};

// --- arrays --------------------------------------------------------------------------------------------------------

namespace detail {
inline TypeText array_text() { return {"numpy.ndarray", R"({"type":"array","items":{"type":["number","array","boolean"]}})"}; }
}  // namespace detail

template <>
struct Convert<Array> {
    static Value to(Array value) { return value; }
    static Result<Array> from(const Value& value) {
        if (value.is<Array>()) return value.get<Array>();
        return detail::array_of(value, "");
    }
    static TypeText describe() { return detail::array_text(); }
};
template <class T>
struct Convert<ArrayView<T>> {
    static Value to(const ArrayView<T>& view) {
        const auto bytes = std::as_bytes(std::span(view.data(), view.size()));
        return Array(dtype_of<typename ArrayView<T>::Element>(), view.shape(), bytes, std::make_shared<const ArrayView<T>>(view));
    }
    static Result<ArrayView<T>> from(const Value& value) { return detail::view_of<T>(value); }
    static TypeText describe() { return detail::array_text(); }
};
template <class T>
struct Convert<std::span<T>> {
    using Element = std::remove_const_t<T>;
    static Value to(std::span<const Element> values) { return Array::of(std::vector<Element>(values.begin(), values.end())); }
    static TypeText describe() { return detail::array_text(); }
};
template <class T>
struct Convert<std::vector<T>> {
    static Value to(std::vector<T> values) {
        if constexpr (is_element<T>) {
            return Array::of(std::move(values));
        } else {
            List list;
            list.reserve(values.size());
            for (auto&& value : values) list.push_back(to_value(static_cast<T>(std::move(value))));
            return list;
        }
    }
    static Result<std::vector<T>> from(const Value& value) {
        std::vector<T> values;
        if constexpr (is_element<T>) {
            if (value.is<Array>()) return value.get<Array>().template as<T>();
            if (!value.is<List>()) return wrong_type("an array or list of numbers", value);
        }
        Result<Nothing> done = detail::each_of<T>(value, [&](T element) { values.push_back(std::move(element)); });
        if (!done) return done.error();
        return values;
    }
    static TypeText describe() {
        if constexpr (is_element<T>) return detail::array_text();
        const TypeText element = describe_type<T>();
        return detail::list_text(element.name, element.schema);
    }
};

// --- containers ----------------------------------------------------------------------------------------------------

template <class T, std::size_t N>
struct Convert<std::array<T, N>> {
    static Value to(const std::array<T, N>& values) { return detail::list_of(values); }
    static Result<std::array<T, N>> from(const Value& value) {
        const Result<std::vector<T>> all = from_value<std::vector<T>>(value);
        if (!all) return all.error();
        if (all->size() != N) return Error{"bad_arguments", "expected " + std::to_string(N) + " elements, got " + std::to_string(all->size())};
        std::array<T, N> values{};
        for (std::size_t index = 0; index < N; ++index) values[index] = (*all)[index];
        return values;
    }
    static TypeText describe() {
        const TypeText element = describe_type<T>();
        const std::string count = std::to_string(N);
        return detail::list_text(element.name, element.schema, ",\"minItems\":" + count + ",\"maxItems\":" + count);
    }
};
template <class T>
struct Convert<std::set<T>> {
    static Value to(const std::set<T>& values) { return detail::list_of(values); }
    static Result<std::set<T>> from(const Value& value) {
        std::set<T> values;
        Result<Nothing> done = detail::each_of<T>(value, [&](T element) { values.insert(std::move(element)); });
        if (!done) return done.error();
        return values;
    }
    static TypeText describe() {
        const TypeText element = describe_type<T>();
        return {"set[" + element.name + "]", R"({"type":"array","uniqueItems":true,"items":)" + element.schema + "}"};
    }
};
template <class... Ts>
struct Convert<std::tuple<Ts...>> {
    static Value to(const std::tuple<Ts...>& values) {
        return std::apply([](const Ts&... each) { return Value(List{to_value(each)...}); }, values);
    }
    static Result<std::tuple<Ts...>> from(const Value& value) {
        Result<List> list = detail::elements_of(value);
        if (!list) return list.error();
        if (list->size() != sizeof...(Ts)) return Error{"bad_arguments", "expected " + std::to_string(sizeof...(Ts)) + " elements, got " + std::to_string(list->size())};
        return read(*list, std::index_sequence_for<Ts...>{});
    }
    static TypeText describe() {
        TypeText text{"tuple[", R"({"type":"array","prefixItems":[)"};
        const char* comma = "";
        const auto add = [&](const TypeText& element) {
            text.name += (*comma == 0 ? "" : ", ") + element.name;
            text.schema += comma + element.schema;
            comma = ",";
        };
        (add(describe_type<Ts>()), ...);
        const std::string count = std::to_string(sizeof...(Ts));
        return {text.name + "]", text.schema + "],\"minItems\":" + count + ",\"maxItems\":" + count + "}"};
    }

private:
    template <std::size_t... I>
    static Result<std::tuple<Ts...>> read(const List& list, std::index_sequence<I...>) {
        std::optional<Error> wrong;
        const auto one = [&]<class T>(std::size_t index, std::type_identity<T>) -> std::optional<T> {
            if (wrong) return std::nullopt;
            Result<T> element = from_value<T>(list[index]);
            if (element) return std::move(*element);
            wrong = detail::within(element.error(), "[" + std::to_string(index) + "]");
            return std::nullopt;
        };
        std::tuple<std::optional<Ts>...> all{one(I, std::type_identity<Ts>{})...};
        if (wrong) return *wrong;
        return std::tuple<Ts...>(std::move(*std::get<I>(all))...);
    }
};
template <class A, class B>
struct Convert<std::pair<A, B>> {
    static Value to(const std::pair<A, B>& values) { return List{to_value(values.first), to_value(values.second)}; }
    static Result<std::pair<A, B>> from(const Value& value) {
        Result<std::tuple<A, B>> both = from_value<std::tuple<A, B>>(value);
        if (!both) return both.error();
        return std::pair<A, B>(std::move(std::get<0>(*both)), std::move(std::get<1>(*both)));
    }
    static TypeText describe() { return describe_type<std::tuple<A, B>>(); }
};

namespace detail {
template <class M>
struct ConvertMap {
    using T = typename M::mapped_type;
    static Value to(const M& values) {
        Map map;
        for (const auto& [key, value] : values) map.emplace(key, to_value(value));
        return map;
    }
    static Result<M> from(const Value& value) {
        if (!value.is<Map>()) return wrong_type("map", value);
        M values;
        for (const auto& [key, element] : value.get<Map>()) {
            Result<T> inner = from_value<T>(element);
            if (!inner) return within(inner.error(), "[\"" + key + "\"]");
            values.emplace(key, std::move(*inner));
        }
        return values;
    }
    static TypeText describe() {
        const TypeText element = describe_type<T>();
        return {"dict[str, " + element.name + "]", R"({"type":"object","additionalProperties":)" + element.schema + "}"};
    }
};
}  // namespace detail

template <class T>
struct Convert<std::map<std::string, T>, std::enable_if_t<!std::is_same_v<T, Value>>> : detail::ConvertMap<std::map<std::string, T>> {};
template <class T>
struct Convert<std::unordered_map<std::string, T>> : detail::ConvertMap<std::unordered_map<std::string, T>> {};

template <class T>
struct Convert<std::optional<T>> {
    static Value to(const std::optional<T>& value) { return value ? to_value(*value) : Value(); }
    static Result<std::optional<T>> from(const Value& value) {
        if (value.is<std::nullptr_t>()) return std::optional<T>();
        Result<T> inner = from_value<T>(value);
        if (!inner) return inner.error();
        return std::optional<T>(std::move(*inner));
    }
    static TypeText describe() {
        const TypeText inner = describe_type<T>();
        return {inner.name + " | None", R"({"anyOf":[)" + inner.schema + R"(,{"type":"null"}]})"};
    }
};
// The first alternative that a value fits.
template <class... Ts>
struct Convert<std::variant<Ts...>> {
    using Variant = std::variant<Ts...>;
    static Value to(const Variant& value) {
        return std::visit([](const auto& held) { return to_value(held); }, value);
    }
    static Result<Variant> from(const Value& value) {
        std::optional<Variant> made;
        const auto attempt = [&]<class T>(std::type_identity<T>) {
            if (made) return;
            if (Result<T> inner = from_value<T>(value)) made.emplace(std::in_place_type<T>, std::move(*inner));
        };
        (attempt(std::type_identity<Ts>{}), ...);
        if (made) return std::move(*made);
        return wrong_type(describe().name, value);
    }
    static TypeText describe() {
        TypeText text{"", R"({"anyOf":[)"};
        const char* comma = "";
        const auto add = [&](const TypeText& each) {
            text.name += (*comma == 0 ? "" : " | ") + each.name;
            text.schema += comma + each.schema;
            comma = ",";
        };
        (add(describe_type<Ts>()), ...);
        return {text.name, text.schema + "]}"};
    }
};
template <>
struct Convert<std::monostate> : Convert<std::nullptr_t> {
    static Value to(std::monostate) { return {}; }
    static Result<std::monostate> from(const Value& value) {
        if (!value.is<std::nullptr_t>()) return wrong_type("null", value);
        return std::monostate{};
    }
};

}  // namespace roundhouse
