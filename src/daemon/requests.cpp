#include "daemon/requests.h"

#include <cmath>

namespace rh::daemon {

namespace {

// Up to here each whole number is a double of its own.
constexpr double k_exact_max = 9007199254740992.0;

}  // namespace

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Outcome json_outcome(const Json& json) { return Outcome::returned(Body::one(Encoding::json, as_byte_view(dump(json)))); }

Result<Json> parse_request(const Body& body) {
    if (body.encoding == Encoding::empty) return Json::object();
    if (body.encoding != Encoding::json || body.part_bytes.empty()) return fail(Code::bad_arguments, "a control call's body must be JSON");
    Json json = Json::parse(as_text(body.parts().front()), nullptr, false);
    if (!json.is_object()) return fail(Code::bad_arguments, "a control call's body must be one JSON object");
    return json;
}

Json parse_answer(const Body& body) {
    Json json = body.part_bytes.empty() ? Json() : Json::parse(as_text(body.parts().front()), nullptr, false);
    return json.is_object() ? json : Json::object();
}

Result<std::uint64_t> amount(const Json& request, const char* key, std::uint64_t fallback, std::uint64_t most) {
    const auto found = request.find(key);
    if (found == request.end() || found->is_null()) return fallback;
    // Not get<>() alone, which would cut 1.5 to 1 and wrap -1 around. 2.0 is a whole number, however it is written.
    if (found->is_number_unsigned() && found->get<std::uint64_t>() <= most) return found->get<std::uint64_t>();
    const double real = found->is_number_float() ? found->get<double>() : -1;
    if (real >= 0 && real <= k_exact_max && real == std::floor(real) && static_cast<std::uint64_t>(real) <= most) return static_cast<std::uint64_t>(real);
    return fail(Code::bad_arguments, fmt::format("the field \"{}\" must be a whole number from 0 to {}", key, most));
}

Body control_body(const Json& request, const Body& attachments) {
    Body body = Body::one(Encoding::json, as_byte_view(dump(request)));
    const std::vector<ByteView> parts = attachments.parts();
    for (std::size_t i = 1; i < parts.size(); ++i) body.add(parts[i]);
    return body;
}

Body copy_of(const Body& body) {
    Body copy = Body::one(body.encoding, body.bytes.view());
    copy.part_bytes = body.part_bytes;
    return copy;
}

}  // namespace rh::daemon
