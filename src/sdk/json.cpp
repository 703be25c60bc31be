#include "sdk/json.h"

#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace rh {

namespace {

using Json = nlohmann::json;
using roundhouse::Array;
using roundhouse::Blob;
using roundhouse::Error;
using roundhouse::List;
using roundhouse::Map;
using roundhouse::Result;
using roundhouse::Value;

constexpr std::size_t k_written_depth_max = 512;

Error wrong(std::string message) { return {"bad_arguments", std::move(message)}; }

// Builds the Value while the text is read, so that nothing deeper than is allowed is ever made.
class Reader final : public nlohmann::json_sax<Json> {
public:
    explicit Reader(const JsonSurroundings& surroundings) : surroundings_(surroundings) {}

    bool null() override { return add(Value()); }
    bool boolean(bool value) override { return add(Value(value)); }
    bool number_integer(number_integer_t value) override { return add(Value(value)); }
    bool number_unsigned(number_unsigned_t value) override {
        if (value > static_cast<number_unsigned_t>(INT64_MAX)) return fail_with("an integer does not fit 64 bits with a sign");
        return add(Value(static_cast<std::int64_t>(value)));
    }
    bool number_float(number_float_t value, const string_t&) override {
        if (!std::isfinite(value)) return fail_with("a number is too large");
        return add(Value(value));
    }
    bool string(string_t& value) override { return add(Value(std::move(value))); }
    bool binary(binary_t&) override { return fail_with("JSON has no binary values"); }
    bool start_object(std::size_t) override { return open(Map()); }
    bool start_array(std::size_t) override { return open(List()); }
    bool key(string_t& value) override {
        if (open_.back().value.get<Map>().count(value) != 0) return fail_with("the key \"" + value + "\" stands there twice");
        open_.back().key = std::move(value);
        return true;
    }
    bool end_array() override { return close(); }
    bool end_object() override {
        Result<Value> meant = meaning(std::move(open_.back().value.get<Map>()));
        if (!meant) {
            error_ = meant.error();
            return false;
        }
        open_.back().value = std::move(*meant);
        return close();
    }
    bool parse_error(std::size_t at, const std::string&, const Json::exception&) override { return fail_with(fmt::format("the JSON is not well formed at byte {}", at)); }

    Result<Value> take(bool whole) {
        if (error_) return *error_;
        if (!whole) return wrong("the JSON is not well formed");
        return std::move(result_);
    }

private:
    struct Open {
        Value value;
        std::string key;
    };

    bool fail_with(std::string message) {
        if (!error_) error_ = wrong(std::move(message));
        return false;
    }
    bool open(Value value) {
        if (open_.size() >= k_json_depth_max) return fail_with(fmt::format("the JSON is nested more than {} levels deep", k_json_depth_max));
        open_.push_back({std::move(value), ""});
        return true;
    }
    bool close() {
        Value value = std::move(open_.back().value);
        open_.pop_back();
        return add(std::move(value));
    }
    bool add(Value value) {
        if (open_.empty()) {
            result_ = std::move(value);
        } else if (Value& into = open_.back().value; into.is<List>()) {
            into.get<List>().push_back(std::move(value));
        } else {
            into.get<Map>().emplace(std::move(open_.back().key), std::move(value));
        }
        return true;
    }

    // An object that stands for something else.
    Result<Value> meaning(Map map) const {
        if (map.empty() || map.begin()->first.front() != '$') return Value(std::move(map));
        const auto& [key, value] = *map.begin();
        if (key == "$bytes" && map.size() == 1 && value.is<std::string>()) {
            Result<Blob> bytes = bytes_from_base64(value.get<std::string>());
            if (!bytes) return bytes.error();
            return Value(std::move(*bytes));
        }
        if (key == "$ref" && map.size() == 1 && value.is<std::string>() && surroundings_.reference) return surroundings_.reference(value.get<std::string>());
        if (key == "$part" && map.size() <= 2 && value.is<std::int64_t>()) return part(value.get<std::int64_t>(), map);
        return Value(std::move(map));
    }

    Result<Value> part(std::int64_t number, const Map& map) const {
        if (number < 1 || static_cast<std::size_t>(number) >= surroundings_.parts.size()) return wrong(fmt::format("there is no part {} in this body", number));
        const ByteView bytes = surroundings_.parts[static_cast<std::size_t>(number)];
        const auto type = map.find("type");
        const std::string media = type != map.end() && type->second.is<std::string>() ? type->second.get<std::string>() : "";
        if (media.starts_with("text/")) return Value(std::string(as_text(bytes)));
        if (media.starts_with("application/x-npy")) {
            Result<Array> array = array_from_npy(bytes, surroundings_.owner);
            if (!array) return array.error();
            return Value(std::move(*array));
        }
        return Value(Blob(bytes.begin(), bytes.end()));
    }

    const JsonSurroundings& surroundings_;
    std::vector<Open> open_;
    Value result_;
    std::optional<Error> error_;
};

std::optional<Error> write(const Value& value, std::string& out, std::size_t depth);

void write_text(std::string_view text, std::string& out) { out += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::optional<Error> write_number(double value, std::string& out) {
    if (!std::isfinite(value)) return Error{"not_serializable", fmt::format("the number {} has no form in JSON: ask for another encoding, such as application/x-npy of an array", value)};
    const std::size_t at = out.size();
    fmt::format_to(std::back_inserter(out), "{}", value);
    // A number with a fraction stays one where it is read.
    if (out.find_first_of(".e", at) == std::string::npos) out += ".0";
    return std::nullopt;
}

std::optional<Error> write_list(const List& list, std::string& out, std::size_t depth) {
    out += '[';
    for (std::size_t index = 0; index < list.size(); ++index) {
        if (index != 0) out += ',';
        if (auto error = write(list[index], out, depth + 1)) return error;
    }
    out += ']';
    return std::nullopt;
}

std::optional<Error> write(const Value& value, std::string& out, std::size_t depth) {
    if (depth > k_written_depth_max) return Error{"not_serializable", fmt::format("a value is nested more than {} levels deep", k_written_depth_max)};
    if (value.is<std::nullptr_t>()) {
        out += "null";
    } else if (value.is<bool>()) {
        out += value.get<bool>() ? "true" : "false";
    } else if (value.is<std::int64_t>()) {
        fmt::format_to(std::back_inserter(out), "{}", value.get<std::int64_t>());
    } else if (value.is<double>()) {
        return write_number(value.get<double>(), out);
    } else if (value.is<std::string>()) {
        write_text(value.get<std::string>(), out);
    } else if (value.is<Blob>()) {
        out += R"({"$bytes":")" + base64_from(value.get<Blob>()) + "\"}";
    } else if (value.is<List>()) {
        return write_list(value.get<List>(), out, depth);
    } else if (value.is<Array>() && value.get<Array>().shape().empty()) {
        const Array& scalar = value.get<Array>();
        const Result<List> list = roundhouse::detail::elements_of(Array(scalar.dtype(), {1}, scalar.bytes(), scalar.owner()));
        if (!list) return Error{"not_serializable", list.error().message};
        return write(list->front(), out, depth);
    } else if (value.is<Array>()) {
        const Result<List> list = roundhouse::detail::elements_of(value);
        if (!list) return Error{"not_serializable", list.error().message};
        return write_list(*list, out, depth);
    } else {
        char separator = '{';
        for (const auto& [key, element] : value.get<Map>()) {
            out += separator;
            separator = ',';
            write_text(key, out);
            out += ':';
            if (auto error = write(element, out, depth + 1)) return error;
        }
        out += separator == '{' ? "{}" : "}";
    }
    return std::nullopt;
}

constexpr std::string_view k_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

roundhouse::Result<Value> value_from_json(std::string_view text, const JsonSurroundings& surroundings) {
    Reader reader(surroundings);
    const bool whole = Json::sax_parse(text, &reader);
    return reader.take(whole);
}

roundhouse::Result<std::string> json_from_value(const Value& value) {
    std::string out;
    if (auto error = write(value, out, 0)) return *error;
    return out;
}

std::string base64_from(ByteView bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i) group = group << 8 | (at + i < bytes.size() ? std::to_integer<std::uint32_t>(bytes[at + i]) : 0);
        for (std::size_t i = 0; i < 4; ++i) text += at + i > bytes.size() ? '=' : k_alphabet[group >> (18 - 6 * i) & 63];
    }
    return text;
}

roundhouse::Result<Blob> bytes_from_base64(std::string_view text) {
    while (text.ends_with('=')) text.remove_suffix(1);
    Blob bytes;
    bytes.reserve(text.size() * 3 / 4);
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char letter : text) {
        const std::size_t digit = k_alphabet.find(letter);
        if (digit == std::string_view::npos) return wrong("the text of $bytes is not base64");
        group = group << 6 | static_cast<std::uint32_t>(digit);
        bits += 6;
        if (bits >= 8) bytes.push_back(static_cast<std::byte>(group >> (bits -= 8) & 0xff));
    }
    if (bits >= 6) return wrong("the text of $bytes is not base64");
    return bytes;
}

}  // namespace rh
