#pragma once

// Calling services from C++. Standard library only; link with roundhouse::roundhouse.
//
//     auto box = roundhouse::Cluster::up("demo").value();
//     auto dot = box.get("dot").value();
//     double product = dot.call<double>("call", std::vector<double>{1, 2}, std::vector<double>{3, 4}).value();
//
// Errors are values (Result<T>); value() turns one into an exception. A Cluster is a shared handle to one connection, and
// it and everything made from it may be used from any thread.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "roundhouse/value.h"

namespace roundhouse {

// What a call printed, as it prints it. `is_error` tells stderr from stdout. The default writes to this process's own.
using OnOutput = std::function<void(bool is_error, std::string_view text)>;

// A call on its way. Dropping it neither waits nor cancels.
class Pending {
public:
    struct Impl;
    explicit Pending(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    bool done() const;
    // Waits for the result, at most `timeout` (none: as long as it takes); code "timeout" when that passes, and the call
    // goes on. The result can be taken once.
    Result<Value> get(std::optional<std::chrono::milliseconds> timeout = {});
    template <class T>
    Result<T> get_as(std::optional<std::chrono::milliseconds> timeout = {}) {
        Result<Value> value = get(timeout);
        if (!value) return value.error();
        return from_value<T>(*value);
    }
    void cancel();

private:
    std::shared_ptr<Impl> impl_;
};

// A function, class or instance that can be called by name, in whatever language it is written.
class Service {
public:
    struct Impl;
    explicit Service(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    const std::string& name() const;

    // Calls a method ("call" for a function) with positional arguments and waits for the result.
    template <class R = Value, class... Args>
    Result<R> call(std::string_view method, Args&&... args) const {
        Result<Pending> pending = submit(method, std::forward<Args>(args)...);
        if (!pending) return pending.error();
        return pending->template get_as<R>();
    }
    template <class... Args>
    Result<Pending> submit(std::string_view method, Args&&... args) const {
        List list;
        (list.push_back(to_value(std::forward<Args>(args))), ...);
        return submit_values(method, std::move(list), {});
    }
    Result<Pending> submit_values(std::string_view method, List positional, Map named) const;

    // Of a class: makes an instance that stays there, under `instance_name` or one that is made up.
    template <class... Args>
    Result<Service> create(const std::string& instance_name, Args&&... args) const {
        List list;
        (list.push_back(to_value(std::forward<Args>(args))), ...);
        return create_values(instance_name, std::move(list), {});
    }
    Result<Service> create_values(const std::string& instance_name, List positional, Map named) const;

private:
    std::shared_ptr<Impl> impl_;
};

class Cluster {
public:
    struct Impl;
    explicit Cluster(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    // The local cluster of that name, started if it does not run. The daemon is $ROUNDHOUSE_DAEMON, else roundhoused in PATH.
    static Result<Cluster> up(const std::string& name);
    // The same, but it must run already.
    static Result<Cluster> connect(const std::string& name);

    // Starts a program that serves (worker.h) and gives the function or class `name` in it that name here.
    Result<Service> deploy(const std::string& name, const std::vector<std::string>& command, bool is_class = false);
    Result<Service> get(const std::string& name) const;
    // Round trip to the daemon.
    Result<std::chrono::microseconds> ping() const;
    // Where output of calls goes from now on.
    void on_output(OnOutput on_output);
    // Ends the cluster and everything on it.
    Result<Nothing> down();

private:
    std::shared_ptr<Impl> impl_;
};

}  // namespace roundhouse
