#pragma once

// Structs and enumerations of your own as arguments and results.
//
//     struct Point { double x = 0, y = 0; };
//     ROUNDHOUSE_FIELDS(Point, x, y)          // travels as {"x": .., "y": ..}
//
//     enum class Colour { red, green };
//     ROUNDHOUSE_NAMES(Colour, red, green)    // travels as "red" or "green"
//
// Both stand behind the type, in its own namespace. A struct must have a default constructor. Fields that a caller leaves out keep what
// that gives them; one that the struct does not have is refused. At most 64 fields or names.

#include "roundhouse/convert.h"

namespace roundhouse::detail {

template <class T, class M>
struct Field {
    const char* name;
    M T::*member;
};
template <class T, class M>
Field<T, M> field(const char* name, M T::*member) { return {name, member}; }

template <class T>
concept HasFields = requires { roundhouse_fields(static_cast<const T*>(nullptr)); };
template <class T>
concept HasNames = requires { roundhouse_names(static_cast<const T*>(nullptr)); };

Error unknown_field(const std::string& key, const std::string& known);

}  // namespace roundhouse::detail

template <class T>
struct roundhouse::Convert<T, std::enable_if_t<roundhouse::detail::HasFields<T>>> {
    static auto fields() { return roundhouse_fields(static_cast<const T*>(nullptr)); }
    static Value to(const T& value) {
        Map map;
        std::apply([&](const auto&... field) { (map.emplace(field.name, to_value(value.*field.member)), ...); }, fields());
        return map;
    }
    static Result<T> from(const Value& value) {
        if (!value.is<Map>()) return wrong_type("map", value);
        const Map& map = value.get<Map>();
        T made{};
        std::optional<Error> wrong;
        std::size_t known = 0;
        const auto read = [&]<class M>(const detail::Field<T, M>& field) {
            const auto found = map.find(field.name);
            if (found == map.end() || wrong) return;
            ++known;
            Result<M> inner = from_value<M>(found->second);
            if (inner) {
                made.*field.member = std::move(*inner);
            } else {
                wrong = detail::within(inner.error(), std::string(".") + field.name);
            }
        };
        std::apply([&](const auto&... field) { (read(field), ...); }, fields());
        if (wrong) return *wrong;
        if (known != map.size()) return stranger(map);
        return made;
    }
    static TypeText describe() {
        std::string schema = R"({"type":"object","properties":{)";
        const char* comma = "";
        const auto add = [&]<class M>(const detail::Field<T, M>& field) {
            schema += std::string(comma) + '"' + field.name + "\":" + describe_type<M>().schema;
            comma = ",";
        };
        std::apply([&](const auto&... field) { (add(field), ...); }, fields());
        return {"dict", schema + R"(},"additionalProperties":false})"};
    }

private:
    static Error stranger(const Map& map) {
        std::string known;
        std::set<std::string> names;
        std::apply([&](const auto&... field) { ((names.insert(field.name), known += (known.empty() ? "" : ", ") + std::string(field.name)), ...); }, fields());
        for (const auto& [key, element] : map) {
            if (names.count(key) == 0) return detail::unknown_field(key, known);
        }
        return {"bad_arguments", "it has fields that are not known"};
    }
};

template <class T>
struct roundhouse::Convert<T, std::enable_if_t<roundhouse::detail::HasNames<T>>> {
    static auto names() { return roundhouse_names(static_cast<const T*>(nullptr)); }
    static Value to(T value) {
        for (const auto& [name, each] : names()) {
            if (each == value) return name;
        }
        return to_value(static_cast<std::underlying_type_t<T>>(value));
    }
    static Result<T> from(const Value& value) {
        if (!value.is<std::string>()) return wrong_type("one of " + listed(), value);
        for (const auto& [name, each] : names()) {
            if (value.get<std::string>() == name) return each;
        }
        return Error{"bad_arguments", "expected one of " + listed() + ", got \"" + value.get<std::string>() + "\""};
    }
    static TypeText describe() { return {"str", R"({"enum":[)" + listed() + "]}"}; }

private:
    static std::string listed() {
        std::string all;
        for (const auto& [name, each] : names()) all += (all.empty() ? "\"" : ",\"") + std::string(name) + '"';
        return all;
    }
};

// What follows applies a macro to each of a list, at most 64 of them; `of` goes along.
#define ROUNDHOUSE_PARENS_ ()
#define ROUNDHOUSE_EXPAND_(...) ROUNDHOUSE_EXPAND3_(ROUNDHOUSE_EXPAND3_(ROUNDHOUSE_EXPAND3_(ROUNDHOUSE_EXPAND3_(__VA_ARGS__))))
#define ROUNDHOUSE_EXPAND3_(...) ROUNDHOUSE_EXPAND2_(ROUNDHOUSE_EXPAND2_(ROUNDHOUSE_EXPAND2_(ROUNDHOUSE_EXPAND2_(__VA_ARGS__))))
#define ROUNDHOUSE_EXPAND2_(...) ROUNDHOUSE_EXPAND1_(ROUNDHOUSE_EXPAND1_(ROUNDHOUSE_EXPAND1_(ROUNDHOUSE_EXPAND1_(__VA_ARGS__))))
#define ROUNDHOUSE_EXPAND1_(...) __VA_ARGS__
#define ROUNDHOUSE_EACH_(macro, of, ...) __VA_OPT__(ROUNDHOUSE_EXPAND_(ROUNDHOUSE_EACH_STEP_(macro, of, __VA_ARGS__)))
#define ROUNDHOUSE_EACH_STEP_(macro, of, first, ...) macro(of, first) __VA_OPT__(, ROUNDHOUSE_EACH_AGAIN_ ROUNDHOUSE_PARENS_(macro, of, __VA_ARGS__))
#define ROUNDHOUSE_EACH_AGAIN_() ROUNDHOUSE_EACH_STEP_
#define ROUNDHOUSE_FIELD_(type, name) ::roundhouse::detail::field(#name, &type::name)
#define ROUNDHOUSE_NAME_(type, name) std::pair<const char*, type>(#name, type::name)

#define ROUNDHOUSE_FIELDS(type, ...) \
    [[maybe_unused]] inline auto roundhouse_fields(const type*) { return std::make_tuple(ROUNDHOUSE_EACH_(ROUNDHOUSE_FIELD_, type, __VA_ARGS__)); }
#define ROUNDHOUSE_NAMES(type, ...) \
    [[maybe_unused]] inline auto roundhouse_names(const type*) { return std::array{ROUNDHOUSE_EACH_(ROUNDHOUSE_NAME_, type, __VA_ARGS__)}; }
