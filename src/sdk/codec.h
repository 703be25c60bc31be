#pragma once

// Values of the public C++ API as bodies. MessagePack: part 0 is one value, and each array in it an extension of type 1 holding [dtype,
// shape, elements], whose elements are the index of a further part, or the bytes themselves where they are few (protocol/wire.md). JSON
// is for callers over HTTP (json.h).

#include <string>
#include <vector>

#include "base/body.h"
#include "roundhouse/bind.h"
#include "sdk/json.h"

namespace rh {

// A value on its way out: its own bytes, and views into the value's memory, which must live as long.
struct Encoded {
    Encoding encoding = Encoding::empty;
    std::string head;
    std::vector<ByteView> rest;  // the parts behind the head
    std::string lead;            // stands before the last of those, within that part

    std::vector<ByteView> parts() const;
    // All of it in one piece: the one copy that is made of an array.
    Body body() const;
};

roundhouse::Result<Encoded> encode_value(const roundhouse::Value& value);
// "bad_arguments" when the body is not one such value, or an array refers to a part that is not there or does not fit. Arrays look
// into the body, which they keep alive.
roundhouse::Result<roundhouse::Value> decode_value(Body body);

// The arguments of a call.
struct Call {
    roundhouse::detail::Arguments arguments;
    Encoding encoding = Encoding::msgpack;  // that the caller understands
    std::string accept;                     // the media type that it wants most, "" for any
};
roundhouse::Result<Encoded> encode_arguments(const roundhouse::List& positional, const roundhouse::Map& named);
roundhouse::Result<Call> decode_arguments(Body body, std::function<roundhouse::Result<roundhouse::Value>(const std::string&)> reference = {});

// A result or an item, as that caller understands it.
roundhouse::Result<Encoded> encode_answer(const roundhouse::Value& value, Encoding encoding, std::string_view accept);

// The public API's error as the engine's, and the other way round.
Error engine_error(const roundhouse::Error& error);
roundhouse::Error public_error(const Error& error);

}  // namespace rh
