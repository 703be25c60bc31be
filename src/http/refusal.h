#pragma once

// Why a request is not answered with what it asked for: a status, and the error that the answer's body tells
// (protocol/http.md, Errors).

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "base/result.h"

namespace rh::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Refusal {
    int status = 500;
    Error error;
    Headers headers;    // that the answer has besides
    bool ends = false;  // the connection cannot go on behind it

    Refusal() = default;
    Refusal(int status_in, Code code, std::string message) : status(status_in), error(code, std::move(message)) {}
    // With the status that its code has.
    explicit Refusal(Error error_in);
    // A request that breaks HTTP's own rules: where the next one begins is not known.
    static Refusal broken(int status, std::string message);

    Refusal&& with(std::string name, std::string value) && {
        headers.emplace_back(std::move(name), std::move(value));
        return std::move(*this);
    }
};

template <class T = void>
using Try = tl::expected<T, Refusal>;

inline tl::unexpected<Refusal> refuse(Refusal refusal) { return tl::unexpected<Refusal>(std::move(refusal)); }
inline tl::unexpected<Refusal> refuse(int status, std::string message) { return refuse(Refusal(status, Code::protocol, std::move(message))); }

int status_of(const Error& error);
std::string_view reason_of(int status);

}  // namespace rh::http
