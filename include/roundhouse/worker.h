#pragma once

// Serving C++ functions and classes. Standard library only; link with roundhouse::roundhouse.
//
//     double dot(std::span<const double> a, std::span<const double> b);
//     struct Counter { explicit Counter(int start); int add(int n); };
//
//     int main() {
//         roundhouse::Worker worker;
//         worker.function("dot", dot, {"a", "b"});
//         worker.cls<Counter>("Counter").constructor<int>({{"start", 0}}).method("add", &Counter::add, {{"n", 1}});
//         return worker.run();
//     }
//
// The node starts the program; run() finds it in the environment. Calls run on several threads at once, on one object too.
// An exception that a function throws reaches the caller with its type and message.

#include <iosfwd>

#include "roundhouse/bind.h"
#include "roundhouse/fields.h"

namespace roundhouse {

// --- inside a call -------------------------------------------------------------------------------------------------

// Sends text to whoever made the call that this thread runs; outside a call, to this process's stdout or stderr.
void print(std::string_view text);
void print_error(std::string_view text);
// The same as a stream, one for each thread; what it is given goes with each end of a line, and at the end of the call. In a worker
// std::cout and std::cerr do the same.
std::ostream& log();

// True once the caller of the call that this thread runs does not want its result any more: long loops ask and return early.
bool cancelled();
// Thrown by check_cancelled(); let it go by.
class Cancelled : public std::runtime_error {
public:
    Cancelled() : std::runtime_error("the call was cancelled") {}
};
inline void check_cancelled() {
    if (cancelled()) throw Cancelled();
}

// The call that this thread runs, for threads that it starts: what they print then belongs to it, and they hear of its cancel.
//
//     std::jthread other([call = roundhouse::CurrentCall()] { const auto inside = call.enter(); ... });
class CurrentCall {
public:
    struct State;
    class Inside {
    public:
        explicit Inside(std::shared_ptr<State> state);
        ~Inside();
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;

    private:
        std::shared_ptr<State> before_;
    };

    CurrentCall();
    Inside enter() const { return Inside(state_); }

private:
    std::shared_ptr<State> state_;
};

// --- what is served ------------------------------------------------------------------------------------------------

namespace detail {

struct Property {
    TypeText type;
    std::function<Result<Value>(void* self)> get;
    std::function<std::optional<Error>(void* self, const Value&)> set;  // empty: read only
};
struct Constructor {
    std::vector<Parameter> parameters;
    // As Callable::run; the object comes out of the last.
    std::function<std::optional<Error>(const Arguments&, std::shared_ptr<void>&)> run;
};
struct Function {
    std::vector<Callable> overloads;  // the first that fits is called
    std::size_t max_concurrency = 0;
};
struct Class {
    std::string name;
    std::string doc;
    std::vector<Constructor> constructors;
    std::map<std::string, std::vector<Callable>> methods;
    std::map<std::string, Property> properties;
    std::size_t max_concurrency = 0;
};

}  // namespace detail

// What worker.function() returns, to say more of it.
class FunctionBuilder {
public:
    explicit FunctionBuilder(detail::Function& function) : function_(function) {}
    // At most that many of its calls run at once; others wait. 0: as many as there are threads.
    FunctionBuilder& max_concurrency(std::size_t calls) {
        function_.max_concurrency = calls;
        return *this;
    }
    // It changes nothing, so an HTTP GET may call it.
    FunctionBuilder& readonly() {
        function_.overloads.back().readonly = true;
        return *this;
    }

private:
    detail::Function& function_;
};

// What worker.cls<T>() returns; each call adds to the class. A class without any constructor has its default one.
template <class T>
class ClassBuilder {
public:
    explicit ClassBuilder(detail::Class& made) : class_(made) {}

    // T(Args...). There may be several: the first that the arguments fit makes the object.
    template <class... Args>
    ClassBuilder& constructor(Params names = {}) {
        return add_constructor<void(Args...)>([](auto&&... args) { return std::make_shared<T>(std::forward<decltype(args)>(args)...); }, names);
    }
    // What `make` returns: a T, or a std::unique_ptr or std::shared_ptr to one.
    template <class F>
    ClassBuilder& factory(F make, Params names = {}) {
        using S = detail::Signature<F>;
        return add_constructor<S>(
            [make](auto&&... args) -> std::shared_ptr<T> {
                auto made = make(std::forward<decltype(args)>(args)...);
                if constexpr (std::is_convertible_v<decltype(made), std::shared_ptr<T>>) {
                    return std::shared_ptr<T>(std::move(made));
                } else {
                    return std::make_shared<T>(std::move(made));
                }
            },
            names);
    }
    // A member function, or anything that takes a T& first. A name may have several, of which the first that fits is called.
    template <class F>
    ClassBuilder& method(const std::string& name, F function, Params names = {}, std::string doc = "") {
        if constexpr (std::is_member_function_pointer_v<F>) {
            using S = typename detail::MemberSignature<F>::Type;
            add<S>(name, [function](void* self, auto&&... args) -> decltype(auto) { return (static_cast<T*>(self)->*function)(std::forward<decltype(args)>(args)...); }, names, std::move(doc));
        } else {
            using S = typename detail::WithoutFirst<detail::Signature<F>>::Type;
            add<S>(name, [function](void* self, auto&&... args) mutable -> decltype(auto) { return function(*static_cast<T*>(self), std::forward<decltype(args)>(args)...); }, names, std::move(doc));
        }
        return *this;
    }
    // A static member function, or any other: callable on the class as well.
    template <class F>
    ClassBuilder& static_method(const std::string& name, F function, Params names = {}, std::string doc = "") {
        add<detail::Signature<F>>(name, [function](void*, auto&&... args) mutable -> decltype(auto) { return function(std::forward<decltype(args)>(args)...); }, names, std::move(doc));
        last_->is_static = true;
        return *this;
    }
    // A data member, or a member function that returns a value, with one that sets it. It is read as `object.name`.
    template <class G>
    ClassBuilder& property(const std::string& name, G get) {
        using V = std::decay_t<std::invoke_result_t<G, T&>>;
        detail::Property property{describe_type<V>(), [get](void* self) -> Result<Value> { return to_value(V(std::invoke(get, *static_cast<T*>(self)))); }, {}};
        if constexpr (std::is_member_object_pointer_v<G>) {
            if constexpr (std::is_assignable_v<std::invoke_result_t<G, T&>, V>) set_by<V>(property, [get](T& self, V value) { std::invoke(get, self) = std::move(value); });
        }
        class_.properties[name] = std::move(property);
        return *this;
    }
    template <class G, class S>
    ClassBuilder& property(const std::string& name, G get, S set) {
        using V = std::decay_t<std::invoke_result_t<G, T&>>;
        property(name, get);
        set_by<V>(class_.properties[name], [set](T& self, V value) { std::invoke(set, self, std::move(value)); });
        return *this;
    }
    // Of the method that was added last: it changes nothing, so an HTTP GET may call it.
    ClassBuilder& readonly() {
        if (last_ != nullptr) last_->readonly = true;
        return *this;
    }
    // At most that many calls of one instance run at once; others wait. With 1 an object needs no lock of its own.
    ClassBuilder& max_concurrency(std::size_t calls) {
        class_.max_concurrency = calls;
        return *this;
    }

private:
    template <class S, class F>
    void add(const std::string& name, F function, const Params& names, std::string doc) {
        std::vector<detail::Callable>& all = class_.methods[name];
        all.push_back(detail::Bound<S>::callable(std::move(function), names, std::move(doc)));
        last_ = &all.back();
    }
    template <class V, class F>
    void set_by(detail::Property& property, F set) {
        property.set = [set](void* self, const Value& value) -> std::optional<Error> {
            Result<V> made = from_value<V>(value);
            if (!made) return made.error();
            set(*static_cast<T*>(self), std::move(*made));
            return std::nullopt;
        };
    }
    template <class S, class F>
    ClassBuilder& add_constructor(F make, const Params& names);

    detail::Class& class_;
    detail::Callable* last_ = nullptr;
};

class Worker {
public:
    Worker();
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // A function, lambda or functor. Of a name that it has already it is another overload; worker.function<double(double)>("area", area)
    // says which of C++'s own overloads is meant.
    template <class F>
    FunctionBuilder function(const std::string& name, F callable, Params names = {}, std::string doc = "") {
        detail::Function& function = function_called(name);
        function.overloads.push_back(detail::Bound<detail::Signature<F>>::callable(
            [callable = std::move(callable)](void*, auto&&... args) mutable -> decltype(auto) { return callable(std::forward<decltype(args)>(args)...); }, names, std::move(doc)));
        return FunctionBuilder(function);
    }
    template <class T>
    ClassBuilder<T> cls(const std::string& name, std::string doc = "") {
        detail::Class& made = class_called(name);
        made.doc = std::move(doc);
        if constexpr (std::is_default_constructible_v<T>) default_constructor(made, [] { return std::static_pointer_cast<void>(std::make_shared<T>()); });
        return ClassBuilder<T>(made);
    }

    // Serves until the node ends this worker; the exit code for main(). From here on a crash says where it was.
    int run();

private:
    struct Impl;

    detail::Function& function_called(const std::string& name);
    detail::Class& class_called(const std::string& name);
    void default_constructor(detail::Class& of, std::function<std::shared_ptr<void>()> make);

    std::unique_ptr<Impl> impl_;
};

namespace detail {

class NoEmitter final : public Emitter {
public:
    bool wait() override { return false; }
    bool send(Value) override { return false; }
};

template <class S>
struct Makes;
template <class R, class... P>
struct Makes<R(P...)> {
    using Type = Value(P...);  // the object goes another way
};

}  // namespace detail

template <class T>
template <class S, class F>
ClassBuilder<T>& ClassBuilder<T>::add_constructor(F make, const Params& names) {
    using Bound = detail::Bound<typename detail::Makes<S>::Type>;
    detail::Constructor constructor{Bound::parameters(names), {}};
    constructor.run = [make, parameters = constructor.parameters](const detail::Arguments& arguments, std::shared_ptr<void>& object) -> std::optional<Error> {
        const auto keep = [&](void*, auto&&... args) {
            object = make(std::forward<decltype(args)>(args)...);
            return Value();
        };
        detail::NoEmitter none;
        Result<Value> out{Value()};
        return Bound::run(keep, nullptr, arguments, parameters, none, out);
    };
    class_.constructors.push_back(std::move(constructor));
    return *this;
}

}  // namespace roundhouse
