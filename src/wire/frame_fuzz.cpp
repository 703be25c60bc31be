// The decoder takes any bytes, in any pieces: it gives the same messages and the same verdict as in one piece, within
// its bounds, and what it gives can be encoded and decoded again.

#include <cstdio>
#include <cstdlib>
#include <google/protobuf/stubs/logging.h>

#include "base/limits.h"
#include "wire/convert.h"
#include "wire/frame.h"

namespace {

void expect(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "frame_fuzz: broken: %s\n", what);
    std::abort();
}

class Collector final : public rh::wire::FrameDecoder::Sink {
public:
    rh::Result<void> on_message(rh::wire::Message& message, rh::ByteView body) override {
        expect(body.size() <= rh::limits::k_chunk_bytes, "a message brings more than a chunk");
        expect(body.size() == message.body_bytes(), "a message has the body that it claims");
        ++count;
        text += message.SerializeAsString();
        text += rh::as_text(body);
        if (const auto whole = rh::wire::whole_body_bytes(message)) expect(*whole <= rh::limits::k_body_bytes_max, "a body is bounded");
        const rh::Error error = rh::wire::error_of(message);
        rh::wire::Message again;
        rh::wire::set_error(again, error);
        expect(again.ByteSizeLong() <= rh::limits::k_frame_header_bytes_max, "an error fits a header");
        return {};
    }
    std::size_t count = 0;
    std::string text;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    google::protobuf::SetLogHandler(nullptr);  // a line per broken string would be most of the work
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const rh::ByteView input(reinterpret_cast<const std::byte*>(bytes), size);
    rh::wire::FrameDecoder whole;
    Collector expected;
    const bool accepted = whole.feed(input, expected).has_value();
    // A message costs at least two bytes of a header, and each frame at least its prefix and one more.
    expect(expected.count <= (size / (rh::wire::k_prefix_bytes + 1) + 1) * rh::limits::k_frame_messages_max, "no more messages than allowed");
    expect(expected.count * 2 <= size, "each message has its bytes");

    // The pieces' sizes come from the input itself, so that every input stays one test.
    std::uint64_t state = 0xcbf29ce484222325;
    for (std::size_t i = 0; i < size; ++i) state = (state ^ bytes[i]) * 0x100000001b3;
    rh::wire::FrameDecoder decoder;
    Collector sink;
    bool accepted_in_pieces = true;
    for (rh::ByteView rest = input; accepted_in_pieces && !rest.empty();) {
        state = state * 6364136223846793005 + 1442695040888963407;
        const std::size_t wanted = (state >> 40) % ((state >> 33) % 4 == 0 ? 4096 : 24) + 1;
        const std::size_t count = wanted < rest.size() ? wanted : rest.size();
        accepted_in_pieces = decoder.feed(rest.first(count), sink).has_value();
        rest = rest.subspan(count);
    }
    expect(accepted == accepted_in_pieces, "the verdict does not depend on the pieces");
    expect(expected.text == sink.text, "the messages do not depend on the pieces");
    if (accepted) expect(whole.at_boundary() == decoder.at_boundary(), "nor does where a connection may end");
    return 0;
}
