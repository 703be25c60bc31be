#include "roundhouse/bind.h"

#include <gtest/gtest.h>

#include "roundhouse/fields.h"
#include "roundhouse/worker.h"

namespace shapes {

struct Point {
    double x = 0, y = 1;
};
ROUNDHOUSE_FIELDS(Point, x, y)

enum class Colour { red, green };
ROUNDHOUSE_NAMES(Colour, red, green)

}  // namespace shapes

namespace roundhouse::detail {
namespace {

// Of a function that is called here: what it returned, or why it was not.
template <class F>
Result<Value> call(F function, const Params& names, List positional, Map named = {}, bool texts = false) {
    const Callable callable = Bound<Signature<F>>::callable([function](void*, auto&&... args) mutable { return function(std::forward<decltype(args)>(args)...); }, names, "");
    NoEmitter none;
    Result<Value> out{Value()};
    if (auto error = callable.run(nullptr, {std::move(positional), std::move(named), texts}, none, out)) return *error;
    return out;
}

double scaled(double value, double factor) { return value * factor; }

TEST(Bind, ArgumentsFindTheirParameters) {
    const Params names{"value", {"factor", 2.0}};
    EXPECT_EQ(call(scaled, names, {3}).value().get<double>(), 6);
    EXPECT_EQ(call(scaled, names, {3, 5}).value().get<double>(), 15);
    EXPECT_EQ(call(scaled, names, {}, {{"factor", 4}, {"value", 2}}).value().get<double>(), 8);
    EXPECT_EQ(call(scaled, names, {}).error().message, "takes 2 arguments, got 0: the argument \"value\" is missing");
    EXPECT_EQ(call(scaled, names, {1, 2, 3}).error().message, "takes 2 arguments, got 3");
    EXPECT_EQ(call(scaled, names, {1}, {{"value", 2}}).error().message, "got the argument \"value\" twice, by place and by name");
    EXPECT_EQ(call(scaled, names, {1}, {{"by", 2}}).error().message, "has no parameter \"by\" (it has: value, factor)");
    EXPECT_EQ(call(scaled, {}, {1}, {{"arg2", 2}}).error().message, "has no parameter \"arg2\" (its parameters have no names)");
    EXPECT_EQ(call(scaled, {}, {1, "much"}).error().message, "argument 2: expected number, got text");
    EXPECT_THROW(static_cast<void>(call(scaled, {"a", "b", "c"}, {})), Failure);
}

TEST(Bind, TextsBecomeWhatTheParameterIs) {
    EXPECT_EQ(call(scaled, {}, {"3", "0.5"}, {}, true).value().get<double>(), 1.5);
    EXPECT_FALSE(call(scaled, {}, {"3", "0.5"}));
    EXPECT_EQ(call([](std::string text) { return text; }, {}, {"3"}, {}, true).value().get<std::string>(), "3");
    EXPECT_EQ(call([](const std::vector<int>& list) { return list.size(); }, {}, {List{"3", "4"}}, {}, true).value().get<std::int64_t>(), 2);
    EXPECT_EQ(call([](bool truth) { return truth; }, {}, {"True"}, {}, true).value().get<bool>(), true);
}

TEST(Bind, WhatIsMovedAndWhatIsLookedAt) {
    const List vector{1.0, 2.0};
    EXPECT_EQ(call([](std::span<const double> view) { return view[1]; }, {}, {vector}).value().get<double>(), 2);
    EXPECT_EQ(call([](std::vector<double>&& mine) { return mine; }, {}, {vector}).value().get<Array>().as<double>().value().size(), 2U);
    EXPECT_EQ(call([](std::string_view text) { return text.size(); }, {}, {"four"}).value().get<std::int64_t>(), 4);
    // The view is the array's own memory.
    const Array array = Array::of(std::vector<double>{7, 8});
    const auto place = [](ArrayView<double> view) { return reinterpret_cast<std::intptr_t>(view.data()); };
    EXPECT_EQ(call(place, {}, {array}).value().get<std::int64_t>(), reinterpret_cast<std::intptr_t>(array.bytes().data()));
}

TEST(Convert, IntegersThatDoNotFitAreRefused) {
    EXPECT_EQ(from_value<std::uint8_t>(255).value(), 255);
    EXPECT_FALSE(from_value<std::uint8_t>(256));
    EXPECT_FALSE(from_value<std::uint64_t>(-1));
    EXPECT_FALSE(from_value<int>(std::int64_t{1} << 40));
    EXPECT_FALSE(from_value<int>(1.0));
    EXPECT_FALSE(from_value<int>(true));
    EXPECT_FALSE(from_value<bool>(1));
}

TEST(Convert, StructsAndNames) {
    using shapes::Colour;
    using shapes::Point;
    EXPECT_EQ(from_value<Point>(Map{{"x", 3}}).value().y, 1);
    EXPECT_EQ(from_value<Point>(Map{{"z", 3}}).error().message, "there is no field \"z\" (there are: x, y)");
    EXPECT_EQ(from_value<std::vector<Point>>(List{Map{}, Map{{"y", "high"}}}).error().message, "[1].y: expected number, got text");
    EXPECT_EQ(to_value(Point{1, 2})["y"].get<double>(), 2);
    EXPECT_EQ(to_value(Colour::green).get<std::string>(), "green");
    EXPECT_EQ(from_value<Colour>("red").value(), Colour::red);
    EXPECT_FALSE(from_value<Colour>("blue"));
    EXPECT_EQ((describe_type<std::map<std::string, std::optional<Colour>>>().name), "dict[str, str | None]");
}

TEST(Generator, StopsWhereItStands) {
    int left = 0;
    const auto count = [](int& ended) -> Generator<int> {
        struct Guard {
            int& ended;
            ~Guard() { ++ended; }
        } guard{ended};
        for (int i = 0;; ++i) co_yield i;
    };
    {
        auto generator = count(left);
        EXPECT_EQ(generator.next(), 0);
        EXPECT_EQ(generator.next(), 1);
        EXPECT_EQ(left, 0);
    }
    EXPECT_EQ(left, 1);
    const auto failing = []() -> Generator<int> {
        co_yield 1;
        throw std::runtime_error("no more");
    };
    auto generator = failing();
    EXPECT_EQ(generator.next(), 1);
    EXPECT_THROW(generator.next(), std::runtime_error);
    EXPECT_EQ(generator.next(), std::nullopt);
}

}  // namespace
}  // namespace roundhouse::detail
