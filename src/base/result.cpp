#include "base/result.h"

#include <cstring>
#include <fmt/format.h>

namespace rh {

std::string_view code_name(Code code) {
    switch (code) {
        case Code::unknown: return "unknown";
        case Code::not_found: return "not_found";
        case Code::invalid_name: return "invalid_name";
        case Code::name_taken: return "name_taken";
        case Code::bad_arguments: return "bad_arguments";
        case Code::not_serializable: return "not_serializable";
        case Code::limit_exceeded: return "limit_exceeded";
        case Code::not_allowed: return "not_allowed";
        case Code::worker_died: return "worker_died";
        case Code::node_lost: return "node_lost";
        case Code::cancelled: return "cancelled";
        case Code::timeout: return "timeout";
        case Code::launch_failed: return "launch_failed";
        case Code::setup_failed: return "setup_failed";
        case Code::protocol: return "protocol";
        case Code::internal: return "internal";
        case Code::io: return "io";
        case Code::out_of_memory: return "out_of_memory";
        case Code::unsupported: return "unsupported";
        case Code::run_conflict: return "run_conflict";
        case Code::damaged: return "damaged";
    }
    return "unknown";
}

std::string_view code_type(Code code) {
    switch (code) {
        case Code::not_found: return "NotFound";
        case Code::invalid_name: return "InvalidName";
        case Code::name_taken: return "NameTaken";
        case Code::bad_arguments: return "WrongArguments";
        case Code::not_serializable: return "NotSerializable";
        case Code::limit_exceeded: return "LimitExceeded";
        case Code::not_allowed: return "NotAllowed";
        case Code::worker_died: return "WorkerDied";
        case Code::node_lost: return "NodeLost";
        case Code::cancelled: return "CallCancelled";
        case Code::timeout: return "CallTimeout";
        case Code::launch_failed: return "LaunchError";
        case Code::setup_failed: return "SetupError";
        case Code::protocol: return "ProtocolError";
        case Code::out_of_memory: return "OutOfMemory";
        case Code::unsupported: return "Unsupported";
        case Code::run_conflict: return "RunConflict";
        case Code::damaged: return "RecordDamaged";
        case Code::io: return "OSError";
        case Code::unknown:
        case Code::internal: return "InternalError";
    }
    return "InternalError";
}

Code code_from_number(std::uint32_t number) {
    constexpr auto k_last = static_cast<std::uint32_t>(Code::damaged);
    return number <= k_last ? static_cast<Code>(number) : Code::unknown;
}

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
