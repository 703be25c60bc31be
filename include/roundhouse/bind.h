#pragma once

// How a call's arguments find a C++ function's parameters: by place or by name, with defaults, each converted to its type. worker.h
// shows what of this is to be used; Param is all that one writes oneself.

#include <functional>
#include <initializer_list>

#include "roundhouse/generator.h"

namespace roundhouse {

// A parameter's name, by which a caller may pass it, and what it is where a caller leaves it out: "rate" or {"rate", 0.1}.
class Param {
public:
    Param(const char* name) : name_(name) {}
    template <class T>
    Param(const char* name, T&& fallback) : name_(name), fallback_(to_value(std::forward<T>(fallback))) {}

    const std::string& name() const { return name_; }
    const std::optional<Value>& fallback() const { return fallback_; }

private:
    std::string name_;
    std::optional<Value> fallback_;
};
using Params = std::initializer_list<Param>;

namespace detail {

struct Arguments {
    List positional;
    Map named;
    bool texts = false;  // texts among them may stand for other values
};

struct Parameter {
    std::string name;  // "" when it has none
    TypeText type;
    std::optional<Value> fallback;
};

// What can be called, and what there is to say of it.
struct Callable {
    std::vector<Parameter> parameters;
    TypeText returns;
    std::string doc;
    bool generator = false;
    bool readonly = false;
    bool is_static = false;
    // Nothing when it was called, with what came of it in the last; an Error when the arguments do not fit, and nothing has run.
    std::function<std::optional<Error>(void* self, const Arguments&, Emitter&, Result<Value>&)> run;
};

// The value for each parameter. An Error says which argument is missing, unknown or too many.
Result<std::vector<const Value*>> place(const Arguments& arguments, const std::vector<Parameter>& parameters);
std::vector<Parameter> name_parameters(std::vector<Parameter> parameters, const Params& names);
Error in_argument(Error error, std::size_t index, const std::string& name);
// What a text says, read as JSON; of a list, of each of its texts.
Value reread(const Value& value);

// What a parameter is kept as while the function runs.
template <class P>
struct Slot {
    using Kept = P;
    static constexpr bool is_argument = true;
};
template <>
struct Slot<std::string_view> {
    using Kept = std::string;
    static constexpr bool is_argument = true;
};
template <class T>
struct Slot<std::span<T>> {
    static_assert(std::is_const_v<T>, "arguments are read only: take std::span<const T>");
    using Kept = ArrayView<T>;
    static constexpr bool is_argument = true;
};
template <class T>
struct Slot<Yield<T>> {
    using Kept = Yield<T>;
    using Item = T;
    static constexpr bool is_argument = false;
};

template <class T>
struct Yielded;
template <class T>
struct Yielded<Generator<T>> {
    using Item = T;
};
template <class T>
concept IsGenerator = requires { typename Yielded<T>::Item; };
template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<Result<T>> = true;

template <class T>
Result<T> convert_argument(const Value& value, bool texts) {
    Result<T> made = from_value<T>(value);
    if (made || !texts) return made;
    // A query or a form has texts only, and lists by repetition.
    for (const Value& other : {reread(value), Value(List{value}), Value(List{reread(value)})}) {
        if (Result<T> again = from_value<T>(other)) return again;
    }
    return made;
}

template <class R>
TypeText describe_result() {
    if constexpr (std::is_void_v<R>) {
        return describe_type<void>();
    } else if constexpr (is_result<R>) {
        return describe_type<typename R::Type>();
    } else if constexpr (IsGenerator<R>) {
        const TypeText item = describe_type<typename Yielded<R>::Item>();
        return {"Iterator[" + item.name + "]", R"({"type":"array","items":)" + item.schema + "}"};
    } else {
        return describe_type<R>();
    }
}

template <class R>
Result<Value> finish(R&& result, Emitter& emitter) {
    using Plain = std::decay_t<R>;
    if constexpr (is_result<Plain>) {
        if (!result) return result.error();
        return to_value(*std::forward<R>(result));
    } else if constexpr (IsGenerator<Plain>) {
        for (bool wanted = emitter.wait(); wanted;) {
            auto item = result.next();
            if (!item) break;
            wanted = emitter.send(to_value(std::move(*item)));
        }
        return Value();
    } else {
        return to_value(std::forward<R>(result));
    }
}

// A function of this signature, as a Callable.
template <class Signature>
struct Bound;
template <class R, class... P>
struct Bound<R(P...)> {
    template <class T>
    static std::optional<typename Slot<std::decay_t<T>>::Kept> take(const std::vector<const Value*>& values, std::size_t& index, const std::vector<Parameter>& parameters, bool texts,
                                                                    Emitter& emitter, std::optional<Error>& wrong) {
        using Kept = typename Slot<std::decay_t<T>>::Kept;
        if constexpr (!Slot<std::decay_t<T>>::is_argument) {
            return Kept(emitter);
        } else {
            const std::size_t mine = index++;
            if (wrong) return std::nullopt;
            Result<Kept> made = convert_argument<Kept>(*values[mine], texts);
            if (made) return std::move(*made);
            wrong = in_argument(made.error(), mine, parameters[mine].name);
            return std::nullopt;
        }
    }

    // `function` gets self and the arguments.
    template <class F>
    static std::optional<Error> run(F& function, void* self, const Arguments& arguments, const std::vector<Parameter>& parameters, Emitter& emitter, Result<Value>& out) {
        const Result<std::vector<const Value*>> values = place(arguments, parameters);
        if (!values) return values.error();
        std::optional<Error> wrong;
        [[maybe_unused]] std::size_t index = 0;
        // Braces: in this order. value() below cannot throw, but shows the compiler that all of them are there.
        std::tuple<std::optional<typename Slot<std::decay_t<P>>::Kept>...> kept{take<P>(*values, index, parameters, arguments.texts, emitter, wrong)...};
        if (wrong) return wrong;
        if constexpr (yields()) {
            if (!emitter.wait()) return std::nullopt;
        }
        if constexpr (std::is_void_v<R>) {
            call(function, self, kept, std::index_sequence_for<P...>{});
            out = Value();
        } else {
            out = finish(call(function, self, kept, std::index_sequence_for<P...>{}), emitter);
        }
        return std::nullopt;
    }
    template <class F, class Kept, std::size_t... I>
    static R call(F& function, void* self, [[maybe_unused]] Kept& kept, std::index_sequence<I...>) {
        return function(self, static_cast<pass_t<P>>(std::get<I>(kept).value())...);
    }

    template <class F>
    static Callable callable(F function, const Params& names, std::string doc) {
        Callable made;
        made.parameters = parameters(names);
        made.returns = describe_result<R>();
        (describe_yield<P>(made), ...);
        made.generator = made.generator || IsGenerator<R>;
        made.doc = std::move(doc);
        made.run = [function = std::move(function), parameters = made.parameters](void* self, const Arguments& arguments, Emitter& emitter, Result<Value>& out) mutable {
            return run(function, self, arguments, parameters, emitter, out);
        };
        return made;
    }

    static std::vector<Parameter> parameters(const Params& names) {
        std::vector<Parameter> all;
        (add<P>(all), ...);
        return name_parameters(std::move(all), names);
    }

private:
    // What is kept goes to a reference as it is, and is moved into a value.
    template <class T>
    using pass_t = std::conditional_t<std::is_lvalue_reference_v<T>, typename Slot<std::decay_t<T>>::Kept&, typename Slot<std::decay_t<T>>::Kept&&>;

    template <class T>
    static void add(std::vector<Parameter>& all) {
        using Plain = std::decay_t<T>;
        if constexpr (Slot<Plain>::is_argument) all.push_back({"", describe_type<typename Slot<Plain>::Kept>(), std::nullopt});
    }
    template <class T>
    static void describe_yield(Callable& made) {
        using Plain = std::decay_t<T>;
        if constexpr (!Slot<Plain>::is_argument) {
            made.generator = true;
            made.returns = describe_result<Generator<typename Slot<Plain>::Item>>();
        }
    }
    static constexpr bool yields() { return (!Slot<std::decay_t<P>>::is_argument || ...); }
};

// The signature of anything that is called without an object.
template <class F>
struct SignatureOf;
template <class S>
struct SignatureOf<std::function<S>> {
    using Type = S;
};
template <class F>
using Signature = typename SignatureOf<decltype(std::function(std::declval<F>()))>::Type;

// The same without the first parameter, which is the object.
template <class S>
struct WithoutFirst;
template <class R, class T, class... P>
struct WithoutFirst<R(T, P...)> {
    using Type = R(P...);
};

template <class M>
struct MemberSignature;
#define ROUNDHOUSE_MEMBER_(qualifiers)                       \
    template <class R, class C, class... P>                  \
    struct MemberSignature<R (C::*)(P...) qualifiers> {      \
        using Type = R(P...);                                \
    };
ROUNDHOUSE_MEMBER_()
ROUNDHOUSE_MEMBER_(const)
ROUNDHOUSE_MEMBER_(noexcept)
ROUNDHOUSE_MEMBER_(const noexcept)
ROUNDHOUSE_MEMBER_(&)
ROUNDHOUSE_MEMBER_(const&)
#undef ROUNDHOUSE_MEMBER_

}  // namespace detail
}  // namespace roundhouse
