#pragma once

// Calling services from C++. Standard library only; link with roundhouse::roundhouse.
//
//     auto box = roundhouse::Cluster::up("demo").value();
//     auto dot = box.get("dot").value();
//     double product = dot.call<double>("call", std::vector{1.0, 2.0}, std::vector{3.0, 4.0}).value();
//
// Errors are values (Result<T>); value() turns one into an exception. A Cluster is a shared handle to one connection, and
// it and everything made from it may be used from any thread.

#include <functional>
#include <iterator>

#include "roundhouse/fields.h"

namespace roundhouse {

using Timeout = std::optional<std::chrono::milliseconds>;  // none: as long as it takes

// What a call printed, as it prints it. `is_error` tells stderr from stdout. The default writes to this process's own.
using OnOutput = std::function<void(bool is_error, std::string_view text)>;

// How calls are made: service.with({.timeout = 5s}).
struct CallOptions {
    Timeout timeout{};                        // then the node ends the call, whose error is "timeout"
    bool kill = false;                        // and its worker with it, where nothing else ends it
    std::optional<std::uint32_t> prefetch{};  // of a stream: how many items may come before they are taken; 0: each is asked for
    OnOutput on_output{};                     // where what it prints goes, instead of the cluster's
};

// An argument that is passed by name: named("rate", 0.1).
template <class T>
struct Named {
    std::string name;
    T value;
};
template <class T>
Named<T> named(std::string name, T&& value) { return {std::move(name), std::forward<T>(value)}; }

namespace detail {

// A call that was started, or why it could not be.
class Started {
public:
    struct Impl;
    explicit Started(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    bool done() const;
    bool wait(Timeout timeout) const;
    Result<Value> result(Timeout timeout) const;
    Result<std::optional<Value>> next(Timeout timeout) const;
    void cancel(bool kill) const;
    void abandon() const;

private:
    std::shared_ptr<Impl> impl_;
};

// Numbers in one piece of memory that can be looked at while a call starts.
template <class T>
inline constexpr bool is_numbers = false;
template <class T>
inline constexpr bool is_numbers<std::vector<T>> = is_element<T>;
template <class T>
inline constexpr bool is_numbers<std::span<T>> = is_element<std::remove_const_t<T>>;
template <class T, std::size_t N>
inline constexpr bool is_numbers<T[N]> = is_element<T> && !std::is_same_v<T, char>;

template <class T>
inline constexpr bool is_span = false;
template <class T>
inline constexpr bool is_span<std::span<T>> = true;

// An argument as a Value, which lives until the call has started: numbers that are somebody's own are looked at, not copied.
template <class T>
Value argument(T&& value) {
    using Plain = std::remove_cvref_t<T>;
    if constexpr (is_numbers<Plain> && (std::is_lvalue_reference_v<T> || is_span<Plain>)) {
        return Array::borrow(std::span<const typename decltype(std::span(value))::value_type>(value));
    } else {
        return to_value(std::forward<T>(value));
    }
}
template <class T>
void add_argument(List& positional, Map&, T&& value) { positional.push_back(argument(std::forward<T>(value))); }
template <class T>
void add_argument(List&, Map& named, Named<T>&& value) { named.insert_or_assign(std::move(value.name), argument(value.value)); }
template <class T>
void add_argument(List&, Map& named, Named<T>& value) { named.insert_or_assign(value.name, argument(value.value)); }

}  // namespace detail

// A call on its way. Dropping it neither waits nor cancels; copies are of the same call.
template <class T = Value>
class Pending {
public:
    explicit Pending(detail::Started call) : call_(std::move(call)) {}

    bool done() const { return call_.done(); }
    // Waits for its end, at most that long: whether it has ended.
    bool wait(Timeout timeout = {}) const { return call_.wait(timeout); }
    // Waits for the result; code "timeout" when that takes longer, and the call goes on. May be asked again.
    Result<T> get(Timeout timeout = {}) const {
        Result<Value> value = call_.result(timeout);
        if (!value) return value.error();
        return from_value<T>(*value);
    }
    // Asks the call to stop; with `kill` its worker is ended where it does not. What comes of it is its result.
    void cancel(bool kill = false) const { call_.cancel(kill); }

private:
    detail::Started call_;
};

// The results of all of them, in their order, or the first error of them.
template <class T>
Result<std::vector<T>> when_all(const std::vector<Pending<T>>& calls) {
    std::vector<T> results;
    for (const Pending<T>& call : calls) {
        Result<T> result = call.get();
        if (!result) return result.error();
        results.push_back(std::move(*result));
    }
    return results;
}

// What a generator gives, one value after the other. The service runs ahead by `prefetch` values (1024) and then waits; dropping the
// stream ends it. A loop over it throws Failure where the generator fails; next() says so in its Result.
template <class T>
class Stream {
public:
    explicit Stream(detail::Started call) : call_(std::make_unique<detail::Started>(std::move(call))) {}
    Stream(Stream&&) noexcept = default;
    Stream& operator=(Stream&&) noexcept = default;
    ~Stream() {
        if (call_ != nullptr) call_->abandon();
    }

    // The next value; nothing when there are no more.
    Result<std::optional<T>> next(Timeout timeout = {}) {
        Result<std::optional<Value>> item = call_->next(timeout);
        if (!item) return item.error();
        if (!*item) return std::optional<T>();
        Result<T> value = from_value<T>(**item);
        if (!value) return value.error();
        return std::optional<T>(std::move(*value));
    }
    void cancel(bool kill = false) { call_->cancel(kill); }

    class Iterator {
    public:
        explicit Iterator(Stream& stream) : stream_(&stream) { ++*this; }
        T& operator*() { return *item_; }
        Iterator& operator++() {
            item_ = stream_->next().value();
            return *this;
        }
        bool operator==(std::default_sentinel_t) const { return !item_; }

    private:
        Stream* stream_;
        std::optional<T> item_;
    };
    Iterator begin() { return Iterator(*this); }
    std::default_sentinel_t end() { return {}; }

private:
    std::unique_ptr<detail::Started> call_;
};

template <class Signature>
class Remote;

// A function, class or instance that can be called by name, in whatever language it is written.
class Service {
public:
    struct Impl;
    explicit Service(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    const std::string& name() const;
    // "function", "class", "instance" or "object".
    std::string kind() const;
    // What the node knows of it (protocol/node.md): "language", "pid", "methods" with their signatures, ...
    const Value& description() const;

    // Calls a method ("call" for a function) and waits for the result.
    template <class R = Value, class... Args>
    Result<R> call(std::string_view method, Args&&... args) const { return submit<R>(method, std::forward<Args>(args)...).get(); }
    // Starts a call; why it could not be started is its result.
    template <class R = Value, class... Args>
    Pending<R> submit(std::string_view method, Args&&... args) const { return Pending<R>(start(method, false, std::forward<Args>(args)...)); }
    // Starts a generator: `for (double loss : trainer.stream<double>("fit", 10)) ...`
    template <class T, class... Args>
    Stream<T> stream(std::string_view method, Args&&... args) const { return Stream<T>(start(method, true, std::forward<Args>(args)...)); }
    // One method as a function object, which throws Failure: `auto dot = service.as<double(Array, Array)>();`
    template <class Signature>
    Remote<Signature> as(std::string method = "call") const { return Remote<Signature>(*this, std::move(method)); }
    // The same service, whose calls are made so.
    Service with(CallOptions options) const;

    // Of a class: makes an instance that stays there, under that name; "" has one made up.
    template <class... Args>
    Result<Service> create(const std::string& instance_name, Args&&... args) const {
        List positional;
        Map named;
        (detail::add_argument(positional, named, std::forward<Args>(args)), ...);
        return create_values(instance_name, positional, named);
    }
    // Of an instance: its properties.
    template <class T>
    Result<T> property(const std::string& property_name) const { return call<T>("@get", property_name); }
    template <class T>
    Result<Nothing> set(const std::string& property_name, T&& value) const { return call<Nothing>("@set", property_name, std::forward<T>(value)); }

private:
    template <class... Args>
    detail::Started start(std::string_view method, bool stream, Args&&... args) const {
        List positional;
        Map named;
        (detail::add_argument(positional, named, std::forward<Args>(args)), ...);
        return start_values(method, stream, positional, named);
    }
    detail::Started start_values(std::string_view method, bool stream, const List& positional, const Map& named) const;
    Result<Service> create_values(const std::string& instance_name, const List& positional, const Map& named) const;

    std::shared_ptr<Impl> impl_;
};

template <class R, class... Args>
class Remote<R(Args...)> {
public:
    Remote(Service service, std::string method) : service_(std::move(service)), method_(std::move(method)) {}
    R operator()(const Args&... args) const {
        if constexpr (std::is_void_v<R>) {
            service_.call<Nothing>(method_, args...).value();
        } else {
            return service_.call<R>(method_, args...).value();
        }
    }

private:
    Service service_;
    std::string method_;
};

// Where and how a program's service is to live.
struct Placement {
    std::string callable{};     // its name in the program, where that is not the service's
    std::string process{};      // beside what lives in that process, which is started with the program where there is none
    std::uint64_t workers = 1;  // of a function: how many processes share its calls
    std::uint64_t max_concurrency = 0;
    std::uint64_t max_queue = 0;
    std::uint64_t cpus = 0;
    std::uint64_t gpus = 0;
    std::uint64_t memory = 0;  // bytes
    bool replace = false;      // take the name from whoever has it
};

// What reaches a cluster beyond this machine: a token that it made, and its certificate's pin ("sha256/...").
struct Access {
    std::string token{};
    std::string pin{};
};

// What a cluster has of its machine to give to its workers; absent: what the machine shows.
struct Sizes {
    std::optional<std::uint64_t> cpus{};
    std::optional<std::uint64_t> gpus{};
    std::optional<std::uint64_t> memory{};  // bytes
};

class Cluster {
public:
    struct Impl;
    explicit Cluster(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    // The local cluster of that name, started if it does not run. The daemon is $ROUNDHOUSE_DAEMON, else roundhoused in PATH. One
    // that $ROUNDHOUSE_CLUSTER_NAME tells of is connected to.
    static Result<Cluster> up(const std::string& name, Sizes sizes = {});
    // One that runs: by its name on this machine or in $ROUNDHOUSE_CLUSTER_NAME, or by an endpoint ("unix:/path/to/socket",
    // "tcp://127.0.0.1:8080", "tls://box.example:8443", or the URL of a listener). What `access` has wins over the variable.
    static Result<Cluster> connect(const std::string& name_or_endpoint, Access access = {});
    // Inside a worker: the cluster that it belongs to.
    static Result<Cluster> here();

    const std::string& name() const;

    // Starts a program that serves (worker.h) and gives the function, or the class, of that name in it that name here.
    Result<Service> deploy(const std::string& name, const std::vector<std::string>& command, const Placement& placement = {});
    Result<Service> deploy_class(const std::string& name, const std::vector<std::string>& command, const Placement& placement = {});
    // Whatever has that name, in any language.
    Result<Service> get(const std::string& name) const;
    // The names of everything that is there.
    Result<std::vector<std::string>> services() const;
    Result<Nothing> remove(const std::string& name);

    // Keeps a value under a key, in a process of the cluster; any program, in any language, fetches it.
    template <class T>
    Result<Nothing> put(const std::string& key, T&& value, const std::string& process) { return put_value(key, detail::argument(std::forward<T>(value)), process); }
    template <class T = Value>
    Result<T> fetch(const std::string& key) const {
        Result<Service> object = get(key);
        if (!object) return object.error();
        return object->call<T>("@fetch");
    }

    // Round trip to the daemon.
    Result<std::chrono::microseconds> ping() const;
    // What the node says of itself (protocol/node.md): "services", "workers", "resources", ...
    Result<Value> status() const;
    // Where output of calls goes from now on.
    void on_output(OnOutput on_output);
    // Ends the cluster and everything on it.
    Result<Nothing> down();

private:
    Result<Service> deploy_as(const char* kind, const std::string& name, const std::vector<std::string>& command, const Placement& placement);
    Result<Nothing> put_value(const std::string& key, const Value& value, const std::string& process);

    std::shared_ptr<Impl> impl_;
};

}  // namespace roundhouse
