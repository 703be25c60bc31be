#pragma once

// Values of the public C++ API as bodies with Encoding::msgpack: part 0 is one MessagePack value, and each array in it is
// an extension of type 1 holding [dtype, shape, part], whose elements are that further part (protocol/wire.md).

#include <vector>

#include "base/body.h"
#include "roundhouse/value.h"

namespace rh {

Body encode_value(const roundhouse::Value& value);
// Code::bad_arguments when the body is not one such value, or an array refers to a part that is not there or does not fit.
Result<roundhouse::Value> decode_value(const Body& body);

// The arguments of a call: [positional list, named map]. A JSON body of the same form is understood as well.
Body encode_arguments(roundhouse::List positional, roundhouse::Map named);
Result<std::pair<roundhouse::List, roundhouse::Map>> decode_arguments(const Body& body);

}  // namespace rh
