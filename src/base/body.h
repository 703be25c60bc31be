#pragma once

// What a call carries in and out, as every layer above the wire sees it. Numbers equal those of protocol/messages.proto.

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace rh {

enum class Encoding : std::uint8_t { empty = 0, pickle = 1, json = 2, msgpack = 3 };
enum class Channel : std::uint8_t { body = 0, out = 1, err = 2 };

// An encoded value: its parts stand one after the other in `bytes`.
struct Body {
    Encoding encoding = Encoding::empty;
    std::vector<std::uint64_t> part_bytes;
    Bytes bytes;

    static Body one(Encoding encoding, ByteView content) {
        Body body;
        body.encoding = encoding;
        body.add(content);
        return body;
    }
    void add(ByteView part) {
        part_bytes.push_back(part.size());
        bytes.append(part);
    }
    // The parts as views into `bytes`.
    std::vector<ByteView> parts() const {
        std::vector<ByteView> views;
        std::size_t at = 0;
        for (const std::uint64_t size : part_bytes) {
            views.push_back(bytes.view().subspan(at, size));
            at += size;
        }
        return views;
    }
};

// The user's exception, for readers that cannot or may not load it from the body.
struct Raised {
    std::string type;
    std::string message;
    std::string traceback;
};

// How a call ended. `raised` goes with Kind::raised (its body is the exception itself, where it could be encoded),
// `error` with Kind::failed.
struct Outcome {
    enum class Kind : std::uint8_t { returned = 0, raised = 1, failed = 2 };

    Kind kind = Kind::returned;
    Body body;
    Raised raised;
    Error error;

    static Outcome returned(Body body) {
        Outcome outcome;
        outcome.body = std::move(body);
        return outcome;
    }
    static Outcome failed(Error error) {
        Outcome outcome;
        outcome.kind = Kind::failed;
        outcome.error = std::move(error);
        return outcome;
    }
};

}  // namespace rh
