#include "roundhouse/value.h"

namespace roundhouse {

Value::Value() noexcept : state_(nullptr) {}
Value::Value(std::nullptr_t) noexcept : state_(nullptr) {}
Value::Value(bool value) noexcept : state_(value) {}
Value::Value(Integer integer) noexcept : state_(integer.value) {}
Value::Value(double value) noexcept : state_(value) {}
Value::Value(const char* value) : state_(std::string(value)) {}
Value::Value(std::string value) noexcept : state_(std::move(value)) {}
Value::Value(Blob value) noexcept : state_(std::move(value)) {}
Value::Value(List value) noexcept : state_(std::move(value)) {}
Value::Value(Map value) noexcept : state_(std::move(value)) {}
Value::Value(Array value) noexcept : state_(std::move(value)) {}
Value::Value(const Value& other) = default;
Value::Value(Value&& other) noexcept = default;
Value& Value::operator=(const Value& other) = default;
Value& Value::operator=(Value&& other) noexcept = default;
Value::~Value() = default;

std::string_view Value::type() const {
    static constexpr std::string_view k_names[] = {"null", "bool", "integer", "number", "text", "bytes", "list", "map", "array"};
    return k_names[state_.index()];
}

const Value& Value::operator[](const std::string& key) const {
    static const Value k_null;
    const Map* map = std::get_if<Map>(&state_);
    const auto found = map == nullptr ? Map::const_iterator() : map->find(key);
    return map == nullptr || found == map->end() ? k_null : found->second;
}

}  // namespace roundhouse
