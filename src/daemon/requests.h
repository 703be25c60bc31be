#pragma once

// The JSON of control calls, in and out (protocol/node.md).

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/body.h"
#include "base/result.h"

namespace rh::daemon {

using Json = nlohmann::json;

std::string dump(const Json& json);
Outcome json_outcome(const Json& json);

// The request of a control call: part 0, an object.
Result<Json> parse_request(const Body& body);
// What a worker answered; an empty object where it is none.
Json parse_answer(const Body& body);

// A field of the type that is asked for; the fallback where it is absent, Code::bad_arguments where it is something else.
template <class T>
Result<T> field(const Json& request, const char* key, std::optional<T> fallback = {}) {
    const auto found = request.find(key);
    if (found == request.end() || found->is_null()) {
        if (fallback) return *fallback;
        return fail(Code::bad_arguments, fmt::format("the field \"{}\" is missing", key));
    }
    try {
        return found->get<T>();
    } catch (const Json::exception&) {
        return fail(Code::bad_arguments, fmt::format("the field \"{}\" has the wrong type", key));
    }
}

// A whole number from 0 to `most`; the fallback where it is absent.
Result<std::uint64_t> amount(const Json& request, const char* key, std::uint64_t fallback, std::uint64_t most);

// A call to the worker's own service, with the attachments of the client's.
Body control_body(const Json& request, const Body& attachments);
Body copy_of(const Body& body);

}  // namespace rh::daemon
