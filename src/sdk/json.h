#pragma once

// Values of the public C++ API as JSON (protocol/http.md, In the worker): bytes are {"$bytes": base64}, arrays nested lists, and raw
// parts of a body {"$part": n, "type": media type}. Strict: no NaN, no duplicate keys, at most k_json_depth_max levels.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/body.h"
#include "roundhouse/convert.h"

namespace rh {

inline constexpr std::size_t k_json_depth_max = 64;

// What a JSON text may refer to.
struct JsonSurroundings {
    std::vector<ByteView> parts;
    std::shared_ptr<const void> owner;  // of the parts' memory
    // What stands for {"$ref": key}; where there is none, that is a map like any other.
    std::function<roundhouse::Result<roundhouse::Value>(const std::string& key)> reference;
};

roundhouse::Result<roundhouse::Value> value_from_json(std::string_view text, const JsonSurroundings& surroundings);
// Code "not_serializable" for what JSON cannot say: NaN and infinities.
roundhouse::Result<std::string> json_from_value(const roundhouse::Value& value);

// The file format of numpy.save.
roundhouse::Result<roundhouse::Array> array_from_npy(ByteView file, std::shared_ptr<const void> owner);
std::string npy_head(const roundhouse::Array& array);

std::string base64_from(ByteView bytes);
roundhouse::Result<roundhouse::Blob> bytes_from_base64(std::string_view text);

}  // namespace rh
