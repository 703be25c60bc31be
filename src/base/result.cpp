#include "base/result.h"

#include <cstring>
#include <fmt/format.h>
#include <iterator>

namespace rh {

namespace {

// All that is fixed about a code. Python, HTTP and the command line read these, so that they cannot disagree.
struct Row {
    Code code;
    std::string_view name;
    std::string_view type;
    int http_status;
    int exit_code;
};

constexpr Row k_rows[] = {
    {Code::unknown, "unknown", "RoundhouseError", 500, 1},
    {Code::not_found, "not_found", "NotFound", 404, 3},
    {Code::invalid_name, "invalid_name", "InvalidName", 400, 2},
    {Code::name_taken, "name_taken", "NameTaken", 409, 1},
    {Code::bad_arguments, "bad_arguments", "WrongArguments", 422, 2},
    {Code::not_serializable, "not_serializable", "NotSerializable", 422, 1},
    {Code::limit_exceeded, "limit_exceeded", "LimitExceeded", 429, 1},
    {Code::not_allowed, "not_allowed", "NotAllowed", 403, 1},
    {Code::worker_died, "worker_died", "WorkerDied", 502, 1},
    {Code::node_lost, "node_lost", "NodeLost", 503, 1},
    {Code::cancelled, "cancelled", "CallCancelled", 409, 1},
    {Code::timeout, "timeout", "CallTimeout", 504, 124},
    {Code::launch_failed, "launch_failed", "LaunchError", 500, 1},
    {Code::setup_failed, "setup_failed", "SetupError", 500, 1},
    {Code::protocol, "protocol", "ProtocolError", 400, 1},
    {Code::internal, "internal", "InternalError", 500, 1},
    {Code::io, "io", "HostError", 500, 1},
    {Code::out_of_memory, "out_of_memory", "OutOfMemory", 502, 1},
    {Code::unsupported, "unsupported", "Unsupported", 501, 1},
    {Code::run_conflict, "run_conflict", "RunConflict", 409, 1},
    {Code::damaged, "damaged", "RecordDamaged", 500, 1},
    {Code::code_sync, "code_sync", "CodeSyncError", 422, 1},
};

constexpr bool each_stands_at_its_number() {
    for (std::size_t at = 0; at < std::size(k_rows); ++at) {
        if (static_cast<std::size_t>(k_rows[at].code) != at) return false;
    }
    return true;
}
static_assert(each_stands_at_its_number());

const Row& row_of(Code code) { return k_rows[static_cast<std::size_t>(code_from_number(static_cast<std::uint32_t>(code)))]; }

}  // namespace

std::string_view code_name(Code code) { return row_of(code).name; }
std::string_view code_type(Code code) { return row_of(code).type; }
int code_http_status(Code code) { return row_of(code).http_status; }
int code_exit(Code code) { return row_of(code).exit_code; }

Code code_from_number(std::uint32_t number) { return number < std::size(k_rows) ? static_cast<Code>(number) : Code::unknown; }

std::string_view Error::fact(std::string_view key) const {
    for (const auto& [name, value] : context) {
        if (name == key) return value;
    }
    return {};
}

Error os_error(std::string_view what, int error_number) {
    char words[128];
    // The GNU strerror_r returns the text and may leave the buffer alone; it is safe between threads, strerror is not.
    return Error(Code::io, fmt::format("{}: {}", what, strerror_r(error_number, words, sizeof words)))
        .with("errno", std::to_string(error_number));
}

}  // namespace rh
