#pragma once

// Serving C++ functions and classes. Standard library only; link with roundhouse::roundhouse.
//
//     double dot(std::vector<double> a, std::vector<double> b);
//     struct Counter { explicit Counter(int start); int add(int n); };
//
//     int main() {
//         roundhouse::Worker worker;
//         worker.function("dot", dot);
//         worker.cls<Counter>("Counter").constructor<int>().method("add", &Counter::add);
//         return worker.run();
//     }
//
// The node starts the program; run() finds it in the environment. Calls run on several threads at once, on one object too.
// A std::exception that a function throws reaches the caller with its type and message.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "roundhouse/value.h"

namespace roundhouse {

using Method = std::function<Result<Value>(const List& positional, const Map& named)>;

// An instance as the worker keeps it: its methods, bound to it.
using Methods = std::map<std::string, Method>;
using Constructor = std::function<Result<Methods>(const List& positional, const Map& named)>;

// Sends text to whoever made the call that this thread runs; outside a call, to this process's stdout.
void print(std::string_view text);
// True once the caller of the call that this thread runs has cancelled it: long loops ask and return early.
bool cancelled();

namespace detail {

template <class... Args, std::size_t... I>
Result<std::tuple<Args...>> unpack(const List& positional, const Map& named, std::index_sequence<I...>) {
    if (positional.size() != sizeof...(Args) || !named.empty())
        return Error{"bad_arguments", "expected " + std::to_string(sizeof...(Args)) + " positional arguments, got " + std::to_string(positional.size()) +
                                          (named.empty() ? "" : " and named ones, which C++ services do not take"), {}};
    std::optional<Error> wrong;
    [[maybe_unused]] const auto one = [&]<class T>(std::size_t index, std::type_identity<T>) -> T {
        if (wrong) return T{};
        Result<T> converted = from_value<T>(positional[index]);
        if (converted) return std::move(*converted);
        wrong = converted.error();
        wrong->message = "argument " + std::to_string(index + 1) + ": " + wrong->message;
        return T{};
    };
    std::tuple<Args...> args{one(I, std::type_identity<Args>{})...};
    if (wrong) return *wrong;
    return args;
}

template <class R, class... Args, class F>
Result<Value> invoke(F&& function, const List& positional, const Map& named) {
    auto args = unpack<std::decay_t<Args>...>(positional, named, std::index_sequence_for<Args...>{});
    if (!args) return args.error();
    if constexpr (std::is_void_v<R>) {
        std::apply(function, std::move(*args));
        return Value();
    } else {
        return to_value(std::apply(function, std::move(*args)));
    }
}

}  // namespace detail

class Worker;

// What worker.cls<T>() returns; each call adds to the class.
template <class T>
class ClassBuilder {
public:
    ClassBuilder(Worker& worker, std::string name) : worker_(worker), name_(std::move(name)) {}

    template <class... Args>
    ClassBuilder& constructor();
    template <class R, class... Args>
    ClassBuilder& method(std::string name, R (T::*member)(Args...)) { return bind<R, Args...>(std::move(name), member); }
    template <class R, class... Args>
    ClassBuilder& method(std::string name, R (T::*member)(Args...) const) { return bind<R, Args...>(std::move(name), member); }

private:
    using Bind = std::function<Method(std::shared_ptr<T>)>;

    template <class R, class... Args, class Member>
    ClassBuilder& bind(std::string name, Member member) {
        (*binds_)[std::move(name)] = [member](std::shared_ptr<T> object) -> Method {
            return [member, object](const List& positional, const Map& named) {
                return detail::invoke<R, Args...>([&](auto&&... args) -> R { return ((*object).*member)(std::forward<decltype(args)>(args)...); }, positional, named);
            };
        };
        return *this;
    }

    Worker& worker_;
    std::string name_;
    std::shared_ptr<std::map<std::string, Bind>> binds_ = std::make_shared<std::map<std::string, Bind>>();
};

class Worker {
public:
    Worker();
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    template <class R, class... Args>
    void function(std::string name, R (*callable)(Args...)) {
        add_function(std::move(name), [callable](const List& positional, const Map& named) { return detail::invoke<R, Args...>(callable, positional, named); });
    }
    // Anything that takes Values as they are.
    void add_function(std::string name, Method function);
    template <class T>
    ClassBuilder<T> cls(std::string name) { return ClassBuilder<T>(*this, std::move(name)); }
    void add_class(std::string name, Constructor constructor);

    // Serves until the node ends this worker; the exit code for main().
    int run();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

template <class T>
template <class... Args>
ClassBuilder<T>& ClassBuilder<T>::constructor() {
    worker_.add_class(name_, [binds = binds_](const List& positional, const Map& named) -> Result<Methods> {
        auto args = detail::unpack<std::decay_t<Args>...>(positional, named, std::index_sequence_for<Args...>{});
        if (!args) return args.error();
        const auto object = std::apply([](auto&&... values) { return std::make_shared<T>(std::forward<decltype(values)>(values)...); }, std::move(*args));
        Methods methods;
        for (const auto& [name, bind] : *binds) methods.emplace(name, bind(object));
        return methods;
    });
    return *this;
}

}  // namespace roundhouse
