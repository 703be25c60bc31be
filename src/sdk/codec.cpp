#include "sdk/codec.h"

#include <array>
#include <fmt/format.h>

#include "base/limits.h"
#include "sdk/msgpack.h"

namespace rh {

using roundhouse::Array;
using roundhouse::Blob;
using roundhouse::List;
using roundhouse::Map;
using roundhouse::Value;
template <class T>
using PublicResult = roundhouse::Result<T>;

namespace {

// Where a part begins in the block that is received decides whether its numbers can be used where they are.
constexpr std::size_t k_alignment = 64;
constexpr std::array<std::byte, k_alignment> k_padding{};

// Every array's part has one of padding before it, which may be empty: so write_msgpack knows their indices beforehand.
std::vector<ByteView> aligned(std::size_t head_bytes, const std::vector<ByteView>& arrays) {
    std::vector<ByteView> parts;
    std::size_t at = head_bytes;
    for (const ByteView array : arrays) {
        const std::size_t padding = (k_alignment - at % k_alignment) % k_alignment;
        parts.push_back(ByteView(k_padding).first(padding));
        parts.push_back(array);
        at += padding + array.size();
    }
    return parts;
}

PublicResult<Value> decode(Body body, const JsonSurroundings& given) {
    if (body.encoding == Encoding::empty || body.part_bytes.empty()) return Value();
    const Encoding encoding = body.encoding;
    auto owner = std::make_shared<const Body>(std::move(body));
    if (encoding == Encoding::msgpack) return read_msgpack(owner->parts(), owner);
    if (encoding != Encoding::json) return roundhouse::Error{"bad_arguments", "a Python pickle cannot be read here: the caller must encode as MessagePack or JSON"};
    const JsonSurroundings surroundings{owner->parts(), owner, given.reference};
    return value_from_json(as_text(surroundings.parts.front()), surroundings);
}

PublicResult<Encoded> encode_json(const Value& value, std::string_view accept) {
    Encoded encoded;
    encoded.encoding = Encoding::json;
    if (value.is<Blob>()) {
        encoded.head = R"({"$part":1,"type":"application/octet-stream"})";
        encoded.rest.emplace_back(value.get<Blob>());
        return encoded;
    }
    if (value.is<Array>() && accept.find("application/x-npy") != std::string_view::npos) {
        encoded.head = R"({"$part":1,"type":"application/x-npy"})";
        encoded.lead = npy_head(value.get<Array>());
        encoded.rest.push_back(value.get<Array>().bytes());
        return encoded;
    }
    PublicResult<std::string> text = json_from_value(value);
    if (!text) return text.error();
    encoded.head = std::move(*text);
    return encoded;
}

}  // namespace

std::vector<ByteView> Encoded::parts() const {
    if (encoding == Encoding::empty) return {};
    std::vector<ByteView> all{as_byte_view(head)};
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
}

Body Encoded::body() const {
    Body body;
    body.encoding = encoding;
    const std::vector<ByteView> all = parts();
    std::size_t bytes = lead.size();
    for (const ByteView part : all) bytes += part.size();
    body.bytes.reserve(bytes);
    for (std::size_t index = 0; index < all.size(); ++index) {
        const bool led = index + 1 == all.size() && !lead.empty();
        if (led) body.bytes.append(as_byte_view(lead));
        body.add(all[index]);
        if (led) body.part_bytes.back() += lead.size();
    }
    return body;
}

PublicResult<Encoded> encode_value(const Value& value) {
    Encoded encoded;
    encoded.encoding = Encoding::msgpack;
    std::vector<ByteView> arrays;
    const auto written = write_msgpack(value, encoded.head, arrays);
    if (!written) return written.error();
    if (1 + 2 * arrays.size() > limits::k_body_parts_max)
        return roundhouse::Error{"limit_exceeded", fmt::format("a value holds {} arrays, more than the {} that it may: put them together", arrays.size(), (limits::k_body_parts_max - 1) / 2)};
    encoded.rest = aligned(encoded.head.size(), arrays);
    return encoded;
}

PublicResult<Value> decode_value(Body body) { return decode(std::move(body), {}); }

PublicResult<Encoded> encode_arguments(const List& positional, const Map& named) { return encode_value(List{positional, named}); }

PublicResult<Call> decode_arguments(Body body, std::function<PublicResult<Value>(const std::string&)> reference) {
    Call call;
    if (body.encoding == Encoding::empty) return call;
    call.encoding = body.encoding;
    PublicResult<Value> value = decode(std::move(body), {{}, nullptr, std::move(reference)});
    if (!value) return value.error();
    Value positional = List();
    Value named = Map();
    if (value->is<List>() && value->get<List>().size() == 2) {
        positional = std::move(value->get<List>()[0]);
        named = std::move(value->get<List>()[1]);
    } else if (value->is<Map>() && call.encoding == Encoding::json) {
        for (auto& [key, entry] : value->get<Map>()) {
            if (key == "args") positional = std::move(entry);
            if (key == "kwargs") named = std::move(entry);
            if (key == "texts") call.arguments.texts = entry.is<bool>() && entry.get<bool>();
            if (key == "accept" && entry.is<std::string>()) call.accept = std::move(entry.get<std::string>());
        }
    } else {
        positional = Value();
    }
    if (!positional.is<List>() || !named.is<Map>()) return roundhouse::Error{"bad_arguments", "the arguments of a call are [positional list, named map]"};
    call.arguments.positional = std::move(positional.get<List>());
    call.arguments.named = std::move(named.get<Map>());
    return call;
}

PublicResult<Encoded> encode_answer(const Value& value, Encoding encoding, std::string_view accept) { return encoding == Encoding::json ? encode_json(value, accept) : encode_value(value); }

Error engine_error(const roundhouse::Error& error) {
    Error made(Code::unknown, error.message);
    for (std::uint32_t number = 1; number < 64; ++number) {
        if (code_name(code_from_number(number)) == error.code) made.code = code_from_number(number);
    }
    made.context.assign(error.facts.begin(), error.facts.end());
    return made;
}

roundhouse::Error public_error(const Error& error) { return {std::string(code_name(error.code)), error.message, {error.context.begin(), error.context.end()}}; }

}  // namespace rh
