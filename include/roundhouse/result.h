#pragma once

// Results that may be errors. Standard library only.

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace roundhouse {

// What went wrong, as a value. `code` is one of the words that all of Roundhouse uses: "not_found", "worker_died",
// "bad_arguments", "cancelled", ... and "raised" for an exception of the service's own code. Facts are what is known besides:
// "type" and "traceback" of an exception; "signal" or "exit_code", "stderr_tail" and "backtrace" of a worker that died; "started".
struct Error {
    std::string code;
    std::string message;
    std::map<std::string, std::string> facts{};

    bool is(std::string_view word) const { return code == word; }
    // The fact, or "" where it is not known.
    std::string fact(const std::string& name) const {
        const auto found = facts.find(name);
        return found == facts.end() ? std::string() : found->second;
    }
};

// Thrown by Result::value() and by everything that has no Result to return.
class Failure : public std::runtime_error {
public:
    explicit Failure(Error error) : std::runtime_error(error.code + ": " + error.message), error_(std::move(error)) {}
    const Error& error() const { return error_; }

private:
    Error error_;
};

// A T, or the Error that stands in its place.
template <class T>
class [[nodiscard]] Result {
public:
    using Type = T;

    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }
    T& operator*() & { return std::get<0>(state_); }
    const T& operator*() const& { return std::get<0>(state_); }
    T&& operator*() && { return std::get<0>(std::move(state_)); }
    T* operator->() { return &std::get<0>(state_); }
    const T* operator->() const { return &std::get<0>(state_); }
    const Error& error() const { return std::get<1>(state_); }
    // The value; throws Failure where there is none. Of a temporary it is moved out, so that a loop may run over it.
    T& value() & {
        if (!ok()) throw Failure(error());
        return std::get<0>(state_);
    }
    const T& value() const& {
        if (!ok()) throw Failure(error());
        return std::get<0>(state_);
    }
    T value() && {
        if (!ok()) throw Failure(error());
        return std::get<0>(std::move(state_));
    }
    T value_or(T other) && { return ok() ? std::get<0>(std::move(state_)) : std::move(other); }

private:
    std::variant<T, Error> state_;
};

// What a call returns that returns nothing.
struct Nothing {};

}  // namespace roundhouse
