#include "sdk/msgpack.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

namespace rh {

namespace {

using roundhouse::Array;
using roundhouse::Blob;
using roundhouse::Error;
using roundhouse::List;
using roundhouse::Map;
using roundhouse::Nothing;
using roundhouse::Result;
using roundhouse::Shape;
using roundhouse::Value;

constexpr std::uint8_t k_array_extension = 1;  // never renumber
constexpr std::size_t k_dimensions_max = 64;
constexpr std::size_t k_reserve_max = 4096;

// --- writing -------------------------------------------------------------------------------------------------------

class Writer {
public:
    Writer(std::string& out, std::vector<ByteView>& parts) : out_(out), parts_(parts) {}

    std::optional<Error> write(const Value& value, std::size_t depth) {
        if (depth > k_msgpack_depth_max) return Error{"not_serializable", fmt::format("a value is nested more than {} levels deep", k_msgpack_depth_max)};
        if (value.is<std::nullptr_t>()) {
            byte(0xc0);
        } else if (value.is<bool>()) {
            byte(value.get<bool>() ? 0xc3 : 0xc2);
        } else if (value.is<std::int64_t>()) {
            integer(value.get<std::int64_t>());
        } else if (value.is<double>()) {
            byte(0xcb);
            number(std::bit_cast<std::uint64_t>(value.get<double>()), 8);
        } else if (value.is<std::string>()) {
            return text(value.get<std::string>());
        } else if (value.is<Blob>()) {
            const Blob& blob = value.get<Blob>();
            return bytes(blob);
        } else if (value.is<Array>()) {
            return array(value.get<Array>());
        } else if (value.is<List>()) {
            const List& list = value.get<List>();
            if (!count(list.size(), 0x90, 15, 0, 0xdc, 0xdd)) return too_long();
            for (const Value& element : list) {
                if (auto error = write(element, depth + 1)) return error;
            }
        } else {
            const Map& map = value.get<Map>();
            if (!count(map.size(), 0x80, 15, 0, 0xde, 0xdf)) return too_long();
            for (const auto& [key, element] : map) {
                if (auto error = text(key)) return error;
                if (auto error = write(element, depth + 1)) return error;
            }
        }
        return std::nullopt;
    }

private:
    static Error too_long() { return {"limit_exceeded", "a text, bytes, list or map has more than 2^32 - 1 elements: send it as an array"}; }

    void byte(std::uint8_t value) { out_ += static_cast<char>(value); }
    void number(std::uint64_t value, int size) {
        for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) byte(static_cast<std::uint8_t>(value >> shift));
    }
    void integer(std::int64_t value) {
        const auto bits = static_cast<std::uint64_t>(value);
        if (value >= -32 && value < 128) return byte(static_cast<std::uint8_t>(bits));
        const bool positive = value >= 0;
        if (positive ? value < 0x100 : value >= -0x80) {
            byte(positive ? 0xcc : 0xd0);
            number(bits, 1);
        } else if (positive ? value < 0x10000 : value >= -0x8000) {
            byte(positive ? 0xcd : 0xd1);
            number(bits, 2);
        } else if (positive ? value < 0x100000000 : value >= -0x80000000LL) {
            byte(positive ? 0xce : 0xd2);
            number(bits, 4);
        } else {
            byte(positive ? 0xcf : 0xd3);
            number(bits, 8);
        }
    }
    // A length, in the shortest of the forms that there are: within the first byte, in one (0: there is none), two or four bytes.
    bool count(std::size_t size, std::uint8_t small, std::size_t small_max, std::uint8_t one, std::uint8_t two, std::uint8_t four) {
        if (small != 0 && size <= small_max) {
            byte(static_cast<std::uint8_t>(small | size));
        } else if (one != 0 && size < 0x100) {
            byte(one);
            number(size, 1);
        } else if (size < 0x10000) {
            byte(two);
            number(size, 2);
        } else if (size < 0x100000000) {
            byte(four);
            number(size, 4);
        } else {
            return false;
        }
        return true;
    }
    std::optional<Error> text(std::string_view value) {
        if (!count(value.size(), 0xa0, 31, 0xd9, 0xda, 0xdb)) return too_long();
        out_ += value;
        return std::nullopt;
    }
    std::optional<Error> bytes(ByteView value) {
        if (!count(value.size(), 0, 0, 0xc4, 0xc5, 0xc6)) return too_long();
        out_ += as_text(value);
        return std::nullopt;
    }
    std::optional<Error> array(const Array& array) {
        std::string about;
        Writer head(about, parts_);
        head.byte(0x93);
        head.text(array.dtype());
        head.count(array.shape().size(), 0x90, 15, 0, 0xdc, 0xdd);
        for (const std::int64_t side : array.shape()) head.integer(side);
        if (array.bytes().size() <= k_inline_array_bytes_max) {
            head.bytes(array.bytes());
        } else {
            parts_.push_back(array.bytes());
            // The part's index: 0 is the value itself. codec.cpp knows where parts are put between these.
            head.integer(static_cast<std::int64_t>(2 * parts_.size()));
        }
        if (!count(about.size(), 0, 0, 0xc7, 0xc8, 0xc9)) return too_long();
        byte(k_array_extension);
        out_ += about;
        return std::nullopt;
    }

    std::string& out_;
    std::vector<ByteView>& parts_;
};

// --- reading -------------------------------------------------------------------------------------------------------

class Reader {
public:
    Reader(ByteView bytes, const std::vector<ByteView>& parts, const std::shared_ptr<const void>& owner) : bytes_(bytes), parts_(parts), owner_(owner) {}

    bool at_end() const { return bytes_.empty(); }
    std::optional<Error> error() const { return error_; }

    Value read(std::size_t depth) {
        if (depth > k_msgpack_depth_max) return fail(fmt::format("it is nested more than {} levels deep", k_msgpack_depth_max));
        const auto first = static_cast<std::uint8_t>(number(1));
        if (error_) return {};
        if (first < 0x80) return static_cast<std::int64_t>(first);
        if (first < 0x90) return map(first & 15, depth);
        if (first < 0xa0) return list(first & 15, depth);
        if (first < 0xc0) return text(first & 31);
        if (first >= 0xe0) return static_cast<std::int64_t>(static_cast<std::int8_t>(first));
        switch (first) {
            case 0xc0: return {};
            case 0xc2: return false;
            case 0xc3: return true;
            case 0xc4: return blob(number(1));
            case 0xc5: return blob(number(2));
            case 0xc6: return blob(number(4));
            case 0xc7: return extension(number(1));
            case 0xc8: return extension(number(2));
            case 0xc9: return extension(number(4));
            case 0xca: return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(number(4))));
            case 0xcb: return std::bit_cast<double>(number(8));
            case 0xcc: return number(1);
            case 0xcd: return number(2);
            case 0xce: return number(4);
            case 0xcf: return large(number(8));
            case 0xd0: return static_cast<std::int8_t>(number(1));
            case 0xd1: return static_cast<std::int16_t>(number(2));
            case 0xd2: return static_cast<std::int32_t>(number(4));
            case 0xd3: return static_cast<std::int64_t>(number(8));
            case 0xd4: return extension(1);
            case 0xd5: return extension(2);
            case 0xd6: return extension(4);
            case 0xd7: return extension(8);
            case 0xd8: return extension(16);
            case 0xd9: return text(number(1));
            case 0xda: return text(number(2));
            case 0xdb: return text(number(4));
            case 0xdc: return list(number(2), depth);
            case 0xdd: return list(number(4), depth);
            case 0xde: return map(number(2), depth);
            case 0xdf: return map(number(4), depth);
            default: return fail("it has a byte that begins nothing");
        }
    }

private:
    Value fail(std::string why) {
        if (!error_) error_ = Error{"bad_arguments", "the MessagePack cannot be read: " + std::move(why)};
        bytes_ = {};
        return {};
    }
    ByteView take(std::uint64_t size) {
        if (size > bytes_.size()) {
            fail("it ends too early");
            return {};
        }
        const ByteView taken = bytes_.first(size);
        bytes_ = bytes_.subspan(size);
        return taken;
    }
    std::uint64_t number(std::size_t size) {
        std::uint64_t value = 0;
        for (const std::byte each : take(size)) value = value << 8 | std::to_integer<std::uint64_t>(each);
        return value;
    }
    Value large(std::uint64_t value) {
        if (value > static_cast<std::uint64_t>(INT64_MAX)) return fail("an integer does not fit 64 bits with a sign");
        return static_cast<std::int64_t>(value);
    }
    Value text(std::uint64_t size) { return std::string(as_text(take(size))); }
    Value blob(std::uint64_t size) {
        const ByteView bytes = take(size);
        return Blob(bytes.begin(), bytes.end());
    }
    Value list(std::uint64_t size, std::size_t depth) {
        if (size > bytes_.size()) return fail("it ends too early");
        List list;
        list.reserve(std::min<std::uint64_t>(size, k_reserve_max));
        for (; size > 0 && !error_; --size) list.push_back(read(depth + 1));
        return list;
    }
    Value map(std::uint64_t size, std::size_t depth) {
        if (size > bytes_.size() / 2) return fail("it ends too early");
        Map map;
        for (; size > 0 && !error_; --size) {
            Value key = read(depth + 1);
            if (error_) break;
            if (!key.is<std::string>()) return fail(fmt::format("a map has a key that is no text but {}", key.type()));
            map.insert_or_assign(std::move(key.get<std::string>()), read(depth + 1));
        }
        return map;
    }
    Value extension(std::uint64_t size) {
        const auto type = static_cast<std::uint8_t>(number(1));
        const ByteView content = take(size);
        if (error_) return {};
        if (type != k_array_extension) return fail(fmt::format("it has an extension of type {}, which is not known here", static_cast<std::int8_t>(type)));
        Reader head(content, parts_, owner_);
        const Value about = head.read(k_msgpack_depth_max - 2);
        if (head.error() || !head.at_end() || !about.is<List>() || about.get<List>().size() != 3 || !about.get<List>()[0].is<std::string>() || !about.get<List>()[1].is<List>())
            return fail("an array's description is not [dtype, shape, elements]");
        return array(about.get<List>()[0].get<std::string>(), about.get<List>()[1].get<List>(), about.get<List>()[2]);
    }
    Value array(const std::string& dtype, const List& sides, const Value& elements) {
        std::uint64_t bytes = roundhouse::detail::element_bytes(dtype);
        if (bytes == 0) return fail(fmt::format("an array's dtype is \"{:.32}\", which is not known here", dtype));
        if (sides.size() > k_dimensions_max) return fail("an array has too many dimensions");
        Shape shape;
        for (const Value& side : sides) {
            if (!side.is<std::int64_t>() || side.get<std::int64_t>() < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(side.get<std::int64_t>()), &bytes))
                return fail("an array's shape is not one");
            shape.push_back(side.get<std::int64_t>());
        }
        if (elements.is<Blob>()) {
            const auto owner = std::make_shared<const Blob>(elements.get<Blob>());
            if (owner->size() != bytes) return fail("an array's elements are not as many as its shape says");
            return Array(dtype, std::move(shape), *owner, owner);
        }
        const std::int64_t part = elements.is<std::int64_t>() ? elements.get<std::int64_t>() : 0;
        if (part < 1 || static_cast<std::size_t>(part) >= parts_.size() || parts_[static_cast<std::size_t>(part)].size() != bytes)
            return fail(fmt::format("an array of {} bytes refers to part {}, which is not there or not that long", bytes, part));
        return Array(dtype, std::move(shape), parts_[static_cast<std::size_t>(part)], owner_);
    }

    ByteView bytes_;
    const std::vector<ByteView>& parts_;
    const std::shared_ptr<const void>& owner_;
    std::optional<Error> error_;
};

}  // namespace

roundhouse::Result<Nothing> write_msgpack(const Value& value, std::string& out, std::vector<ByteView>& parts) {
    if (auto error = Writer(out, parts).write(value, 0)) return *error;
    return Nothing{};
}

roundhouse::Result<Value> read_msgpack(const std::vector<ByteView>& parts, const std::shared_ptr<const void>& owner) {
    Reader reader(parts.front(), parts, owner);
    Value value = reader.read(0);
    if (const auto error = reader.error()) return *error;
    if (!reader.at_end()) return roundhouse::Error{"bad_arguments", "the MessagePack cannot be read: something follows the value"};
    return value;
}

}  // namespace rh
