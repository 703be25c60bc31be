// Bodies put together from any bytes: within the announced sizes, granted no more than came, and never handed out in parts.

#include <cstdio>
#include <cstdlib>
#include <google/protobuf/stubs/logging.h>

#include "base/limits.h"
#include "rpc/inbound.h"

namespace {

void expect(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "inbound_fuzz: broken: %s\n", what);
    std::abort();
}

class Checker final : public rh::rpc::Inbound::Handler {
public:
    rh::Result<void> on_message(rh::rpc::Message& message, rh::Body body) override {
        expect(message.kind() != rh::wire::CHUNK, "a chunk is never handed out");
        if (message.kind() == rh::wire::CALL || message.kind() == rh::wire::RESULT || message.kind() == rh::wire::ITEM) {
            std::uint64_t sum = 0;
            for (const std::uint64_t part : body.part_bytes) sum += part;
            expect(sum == body.bytes.size(), "a body is as long as its parts");
            expect(body.parts().size() == body.part_bytes.size(), "the parts are inside it");
        }
        taken += body.bytes.size();
        return {};
    }
    void on_room(std::uint64_t, std::uint64_t bytes) override { granted += bytes; }
    std::uint64_t taken = 0;
    std::uint64_t granted = 0;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    google::protobuf::SetLogHandler(nullptr);  // a line per broken string would be most of the work
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const rh::ByteView input(reinterpret_cast<const std::byte*>(bytes), size);
    Checker whole_checker;
    rh::rpc::Inbound whole(whole_checker);
    const bool accepted = whole.feed(input).has_value();
    expect(whole_checker.taken + whole_checker.granted <= 2 * size, "no more is taken or granted than came");

    Checker checker;
    rh::rpc::Inbound inbound(checker);
    bool accepted_in_pieces = true;
    std::size_t piece = size % 61 + 1;
    for (rh::ByteView rest = input; accepted_in_pieces && !rest.empty();) {
        const std::size_t count = piece < rest.size() ? piece : rest.size();
        accepted_in_pieces = inbound.feed(rest.first(count)).has_value();
        rest = rest.subspan(count);
        piece = piece * 5 % 4099 + 1;
    }
    expect(accepted == accepted_in_pieces, "the verdict does not depend on the pieces");
    expect(checker.taken == whole_checker.taken && checker.granted == whole_checker.granted, "nor does what was taken");
    return 0;
}
