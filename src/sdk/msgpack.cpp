#include "sdk/msgpack.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace rh {

namespace {

using Json = nlohmann::json;
using roundhouse::Array;
using roundhouse::Blob;
using roundhouse::List;
using roundhouse::Map;
using roundhouse::Value;

constexpr std::uint64_t k_array_extension = 1;  // never renumber

template <class... Ts>
struct Overload : Ts... {
    using Ts::operator()...;
};

Json to_json(const Value& value, std::vector<const Blob*>& buffers) {
    return std::visit(Overload{[](std::nullptr_t) { return Json(nullptr); },
                               [](const Blob& blob) {
                                   const auto* bytes = reinterpret_cast<const std::uint8_t*>(blob.data());
                                   return Json::binary({bytes, bytes + blob.size()});
                               },
                               [&](const List& list) {
                                   Json json = Json::array();
                                   for (const Value& element : list) json.push_back(to_json(element, buffers));
                                   return json;
                               },
                               [&](const Map& map) {
                                   Json json = Json::object();
                                   for (const auto& [key, element] : map) json[key] = to_json(element, buffers);
                                   return json;
                               },
                               [&](const Array& array) {
                                   buffers.push_back(&array.data);
                                   Json about = Json::array();
                                   about.push_back(array.dtype);
                                   about.push_back(array.shape);
                                   about.push_back(buffers.size());  // part 0 is the value itself
                                   return Json::binary(Json::to_msgpack(about), k_array_extension);
                               },
                               [](const auto& plain) { return Json(plain); }},
                      value.state());
}

Result<Array> array_of(const Json::binary_t& extension, const std::vector<ByteView>& parts) {
    const Json about = Json::from_msgpack(extension, true, false);
    if (!about.is_array() || about.size() != 3 || !about[0].is_string() || !about[1].is_array() || !about[2].is_number_unsigned())
        return fail(Code::bad_arguments, "an array's description is not [dtype, shape, part]");
    Array array;
    array.dtype = about[0].get<std::string>();
    const std::size_t digits = array.dtype.find_first_of("0123456789");
    std::uint64_t bytes = digits == std::string::npos ? 0 : std::strtoull(array.dtype.c_str() + digits, nullptr, 10);
    for (const Json& side : about[1]) {
        if (!side.is_number_unsigned() || (side.get<std::uint64_t>() != 0 && bytes > UINT64_MAX / side.get<std::uint64_t>()))
            return fail(Code::bad_arguments, "an array's shape is not a list of lengths");
        array.shape.push_back(side.get<std::int64_t>());
        bytes *= side.get<std::uint64_t>();
    }
    const auto part = about[2].get<std::uint64_t>();
    if (part == 0 || part >= parts.size() || parts[part].size() != bytes)
        return fail(Code::bad_arguments, fmt::format("an array of {} bytes refers to part {}, which is not there or not that long", bytes, part));
    array.data.assign(parts[part].begin(), parts[part].end());
    return array;
}

Result<Value> from_json(const Json& json, const std::vector<ByteView>& parts) {
    switch (json.type()) {
        case Json::value_t::null: return Value();
        case Json::value_t::boolean: return Value(json.get<bool>());
        case Json::value_t::number_integer: return Value(json.get<std::int64_t>());
        case Json::value_t::number_unsigned:
            if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) return fail(Code::bad_arguments, "an integer does not fit 64 bits with sign");
            return Value(json.get<std::int64_t>());
        case Json::value_t::number_float: return Value(json.get<double>());
        case Json::value_t::string: return Value(json.get<std::string>());
        case Json::value_t::binary: {
            const Json::binary_t& binary = json.get_binary();
            if (binary.has_subtype() && binary.subtype() == k_array_extension) {
                RH_TRY(Array array, array_of(binary, parts));
                return Value(std::move(array));
            }
            const auto* bytes = reinterpret_cast<const std::byte*>(binary.data());
            return Value(Blob(bytes, bytes + binary.size()));
        }
        case Json::value_t::array: {
            List list;
            for (const Json& element : json) {
                RH_TRY(Value value, from_json(element, parts));
                list.push_back(std::move(value));
            }
            return Value(std::move(list));
        }
        case Json::value_t::object: {
            Map map;
            for (const auto& [key, element] : json.items()) {
                RH_TRY(Value value, from_json(element, parts));
                map.emplace(key, std::move(value));
            }
            return Value(std::move(map));
        }
        case Json::value_t::discarded: break;
    }
    return fail(Code::bad_arguments, "a value is of a kind that cannot be understood");
}

}  // namespace

Body encode_value(const Value& value) {
    std::vector<const Blob*> buffers;
    const std::vector<std::uint8_t> packed = Json::to_msgpack(to_json(value, buffers));
    Body body = Body::one(Encoding::msgpack, {reinterpret_cast<const std::byte*>(packed.data()), packed.size()});
    for (const Blob* buffer : buffers) body.add({buffer->data(), buffer->size()});
    return body;
}

Result<Value> decode_value(const Body& body) {
    if (body.encoding == Encoding::empty) return Value();
    const std::vector<ByteView> parts = body.parts();
    if (parts.empty()) return fail(Code::bad_arguments, "a body has no parts");
    const auto* first = reinterpret_cast<const std::uint8_t*>(parts[0].data());
    Json json;
    if (body.encoding == Encoding::msgpack) {
        json = Json::from_msgpack(first, first + parts[0].size(), true, false);
    } else if (body.encoding == Encoding::json) {
        json = Json::parse(first, first + parts[0].size(), nullptr, false);
    } else {
        return fail(Code::bad_arguments, "a Python pickle cannot be read here: the caller must encode as MessagePack or JSON");
    }
    if (json.is_discarded()) return fail(Code::bad_arguments, "the body is not well formed");
    return from_json(json, parts);
}

Body encode_arguments(List positional, Map named) {
    List both;
    both.emplace_back(std::move(positional));
    both.emplace_back(std::move(named));
    return encode_value(both);
}

Result<std::pair<List, Map>> decode_arguments(const Body& body) {
    if (body.encoding == Encoding::empty) return std::pair<List, Map>();
    RH_TRY(Value value, decode_value(body));
    if (!value.is<List>() || value.get<List>().size() != 2 || !value.get<List>()[0].is<List>() || !value.get<List>()[1].is<Map>())
        return fail(Code::bad_arguments, "the arguments of a call are [positional list, named map]");
    List& both = value.get<List>();
    return std::pair(std::move(both[0].get<List>()), std::move(both[1].get<Map>()));
}

}  // namespace rh
