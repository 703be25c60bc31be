#pragma once

// Functions that give their caller one value after the other. A Generator is a coroutine; a Yield is a parameter that a function calls
// with each value. Either waits where the caller does not take more for the moment, so nothing runs ahead without bound.
//
//     roundhouse::Generator<int> count(int n) {
//         for (int i = 0; i < n; ++i) co_yield i;
//     }
//     void count(int n, roundhouse::Yield<int> yield) {
//         for (int i = 0; i < n && yield(i); ++i) {}
//     }

#include <coroutine>
#include <exception>
#include <iterator>

#include "roundhouse/convert.h"

namespace roundhouse {

template <class T>
class [[nodiscard]] Generator {
public:
    struct promise_type {
        std::optional<T> item;
        std::exception_ptr thrown;

        Generator get_return_object() { return Generator(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        template <class U>
        std::suspend_always yield_value(U&& value) {
            item.emplace(std::forward<U>(value));
            return {};
        }
        void return_void() {}
        void unhandled_exception() { thrown = std::current_exception(); }
        void await_transform() = delete;  // nothing here waits for others
    };

    Generator(Generator&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
    Generator& operator=(Generator&& other) noexcept {
        std::swap(coroutine_, other.coroutine_);
        return *this;
    }
    // Ends the coroutine where it stands: what it has on its stack is destroyed.
    ~Generator() {
        if (coroutine_) coroutine_.destroy();
    }

    // The next value; nothing once it has returned. Throws what it throws.
    std::optional<T> next() {
        if (!coroutine_ || coroutine_.done()) return std::nullopt;
        coroutine_.promise().item.reset();
        coroutine_.resume();
        if (coroutine_.promise().thrown) std::rethrow_exception(std::exchange(coroutine_.promise().thrown, nullptr));
        if (coroutine_.done()) return std::nullopt;
        return std::move(coroutine_.promise().item);
    }

private:
    explicit Generator(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}

    std::coroutine_handle<promise_type> coroutine_;
};

namespace detail {

// Where the values go.
class Emitter {
public:
    // Waits until another value is wanted; false when none ever will be.
    virtual bool wait() = 0;
    // Sends one, and waits as wait() does.
    virtual bool send(Value item) = 0;

protected:
    ~Emitter() = default;
};

}  // namespace detail

// As the type of a parameter: callers do not pass it.
template <class T>
class Yield {
public:
    explicit Yield(detail::Emitter& emitter) : emitter_(&emitter) {}
    // Sends a value. False once nobody wants another: time to return.
    bool operator()(T item) const { return emitter_->send(to_value(std::move(item))); }

private:
    detail::Emitter* emitter_;
};

}  // namespace roundhouse
