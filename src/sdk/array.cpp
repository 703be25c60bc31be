// Numbers of one kind as another, and lists as arrays (roundhouse/value.h, convert.h).

#include <cstring>
#include <utility>

#include "roundhouse/convert.h"

namespace roundhouse::detail {

namespace {

struct Dtype {
    char kind = 0;
    std::size_t bytes = 0;
};

// "<f8" and its like; kind 0 for what is none, or has its bytes the other way round.
Dtype parse(std::string_view dtype) {
    constexpr std::string_view k_kinds = "biufc";
    if (dtype.size() < 3 || dtype.size() > 4 || k_kinds.find(dtype[1]) == std::string_view::npos) return {};
    std::size_t bytes = 0;
    for (const char digit : dtype.substr(2)) {
        if (digit < '0' || digit > '9') return {};
        bytes = 10 * bytes + static_cast<std::size_t>(digit - '0');
    }
    const bool ours = dtype[0] == '<' || dtype[0] == '=' || (dtype[0] == '|' && bytes == 1);
    if (!ours || bytes == 0 || bytes > 32) return {};
    return {dtype[1], bytes};
}

// Calls use(T{}) with the type of that name; false where C++ has none.
template <class Use>
bool with_type(const Dtype& dtype, Use use) {
    const auto sized = [&]<class A, class B, class C, class D>(std::type_identity<A>, std::type_identity<B>, std::type_identity<C>, std::type_identity<D>) {
        switch (dtype.bytes) {
            case 1: use(A{}); return true;
            case 2: use(B{}); return true;
            case 4: use(C{}); return true;
            case 8: use(D{}); return true;
            default: return false;
        }
    };
    switch (dtype.kind) {
        case 'b': use(bool{}); return dtype.bytes == 1;
        case 'i': return sized(std::type_identity<std::int8_t>{}, std::type_identity<std::int16_t>{}, std::type_identity<std::int32_t>{}, std::type_identity<std::int64_t>{});
        case 'u': return sized(std::type_identity<std::uint8_t>{}, std::type_identity<std::uint16_t>{}, std::type_identity<std::uint32_t>{}, std::type_identity<std::uint64_t>{});
        case 'f':
            if (dtype.bytes == 4) use(float{});
            if (dtype.bytes == 8) use(double{});
            return dtype.bytes == 4 || dtype.bytes == 8;
        default: return false;
    }
}

template <class To, class From>
bool fits(From value) {
    if constexpr (std::is_integral_v<To> && std::is_integral_v<From> && !std::is_same_v<To, bool> && !std::is_same_v<From, bool>) {
        return std::in_range<To>(value);
    } else {
        return true;
    }
}

Error cannot(const std::string& wanted, const std::string& from) {
    return {"bad_arguments", "expected an array of " + wanted + ", got one of " + from};
}

// Elements that stand unaligned are read by memcpy.
template <class From, class To>
std::optional<Error> convert(const std::byte* elements, std::size_t count, std::byte* to) {
    for (std::size_t index = 0; index < count; ++index) {
        From value;
        std::memcpy(&value, elements + index * sizeof(From), sizeof(From));
        if constexpr (!std::is_same_v<From, bool>) {
            if (!fits<To>(value)) return Error{"bad_arguments", "element " + std::to_string(index) + ", " + std::to_string(value) + ", does not fit " + dtype_of<To>()};
        }
        const To made = static_cast<To>(value);
        std::memcpy(to + index * sizeof(To), &made, sizeof(To));
    }
    return std::nullopt;
}

// Of nested lists: their sides, found on the way down the first elements, and their numbers.
struct Gathered {
    Shape shape;
    std::vector<double> numbers;
    std::vector<std::int64_t> integers;
    bool all_integers = true;
    bool all_bools = true;

    std::optional<Error> add(const Value& value, std::size_t depth) {
        if (value.is<List>()) {
            const List& list = value.get<List>();
            const auto side = static_cast<std::int64_t>(list.size());
            if (depth == shape.size() && numbers.empty()) shape.push_back(side);
            if (depth >= shape.size() || shape[depth] != side) return Error{"bad_arguments", "the lists within lists are not of one length, so they make no array"};
            for (const Value& element : list) {
                if (auto error = add(element, depth + 1)) return error;
            }
            return std::nullopt;
        }
        if (depth != shape.size()) return Error{"bad_arguments", "the lists within lists are not of one depth, so they make no array"};
        if (value.is<bool>()) {
            numbers.push_back(value.get<bool>() ? 1 : 0);
            integers.push_back(value.get<bool>() ? 1 : 0);
        } else if (value.is<std::int64_t>()) {
            numbers.push_back(static_cast<double>(value.get<std::int64_t>()));
            integers.push_back(value.get<std::int64_t>());
            all_bools = false;
        } else if (value.is<double>()) {
            numbers.push_back(value.get<double>());
            all_integers = all_bools = false;
        } else {
            return wrong_type("an array, or lists of numbers", value);
        }
        return std::nullopt;
    }
};

}  // namespace

std::size_t element_bytes(std::string_view dtype) { return parse(dtype).bytes; }

Result<Nothing> convert_elements(const std::string& from, const std::byte* elements, std::size_t count, const std::string& wanted, std::byte* to) {
    const Dtype source = parse(from);
    const Dtype target = parse(wanted);
    if (count == 0) return Nothing{};
    if (source.kind == target.kind && source.bytes == target.bytes && source.kind != 0) {
        std::memcpy(to, elements, count * source.bytes);
        return Nothing{};
    }
    // Fractions are not cut off unasked, and numbers are no truth values.
    const bool loses = (source.kind == 'f' && target.kind != 'f') || target.kind == 'b' || source.kind == 'c';
    std::optional<Error> wrong = cannot(wanted, from);
    if (!loses) {
        with_type(source, [&]<class From>(From) {
            with_type(target, [&]<class To>(To) { wrong = convert<From, To>(elements, count, to); });
        });
    }
    if (wrong) return *wrong;
    return Nothing{};
}

Result<List> elements_of(const Value& value) {
    if (value.is<List>()) return value.get<List>();
    if (!value.is<Array>() || value.get<Array>().shape().empty()) return wrong_type("list", value);
    const Array& array = value.get<Array>();
    const auto count = static_cast<std::size_t>(array.shape().front());
    List list;
    list.reserve(count);
    if (array.shape().size() == 1) {
        bool fit = true;
        const bool known = with_type(parse(array.dtype()), [&]<class T>(T element) {
            for (std::size_t index = 0; index < count; ++index) {
                std::memcpy(&element, array.bytes().data() + index * sizeof(T), sizeof(T));
                if constexpr (std::is_floating_point_v<T>) {
                    list.emplace_back(static_cast<double>(element));
                } else {
                    if constexpr (!std::is_same_v<T, bool>) fit = fit && std::in_range<std::int64_t>(element);
                    list.emplace_back(element);
                }
            }
        });
        if (!known || !fit) return cannot("numbers of at most 64 bits with a sign", array.dtype());
        return list;
    }
    const Shape shape(array.shape().begin() + 1, array.shape().end());
    const std::size_t bytes = count == 0 ? 0 : array.bytes().size() / count;
    for (std::size_t index = 0; index < count; ++index) list.emplace_back(Array(array.dtype(), shape, array.bytes().subspan(index * bytes, bytes), array.owner()));
    return list;
}

Result<Array> array_of(const Value& value, const std::string&) {
    if (!value.is<List>()) return wrong_type("an array, or lists of numbers", value);
    Gathered gathered;
    if (auto error = gathered.add(value, 0)) return *error;
    if (gathered.numbers.empty() || !gathered.all_integers) return Array::of(std::move(gathered.numbers), std::move(gathered.shape));
    if (!gathered.all_bools) return Array::of(std::move(gathered.integers), std::move(gathered.shape));
    std::vector<std::uint8_t> truths(gathered.integers.begin(), gathered.integers.end());
    const Array array = Array::of(std::move(truths), std::move(gathered.shape));
    return Array("|b1", array.shape(), array.bytes(), array.owner());
}

}  // namespace roundhouse::detail
