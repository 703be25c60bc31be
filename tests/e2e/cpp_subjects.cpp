// What test_cpp_*.py call: one of everything that a C++ program can serve.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

#include "roundhouse/client.h"
#include "roundhouse/worker.h"

namespace subjects {

struct Point {
    double x = 0, y = 1;
    std::vector<std::string> tags;
};
ROUNDHOUSE_FIELDS(Point, x, y, tags)

enum class Colour { red, green };
ROUNDHOUSE_NAMES(Colour, red, green)

enum Level : std::uint8_t { low = 1, high = 2 };

}  // namespace subjects

namespace {

using roundhouse::ArrayView;
using roundhouse::Generator;
using roundhouse::Value;
using roundhouse::Yield;
using subjects::Colour;
using subjects::Point;

std::atomic<int> g_alive{0};    // generators and objects that have not ended yet
std::atomic<int> g_running{0};  // calls
std::atomic<int> g_most{0};

struct Alive {
    Alive() { ++g_alive; }
    Alive(const Alive&) { ++g_alive; }
    ~Alive() { --g_alive; }
};

std::vector<double> scale(std::vector<double> values, double factor) {
    for (double& value : values) value *= factor;
    return values;
}

double area(double radius) { return 3 * radius * radius; }
double area(double width, double height) { return width * height; }

Generator<int> count(int n) {
    const Alive alive;
    roundhouse::log() << "counting to " << n << '\n';
    for (int i = 0; i < n; ++i) co_yield i;
    if (n == 3) throw std::length_error("three is too few");
}

int points(int n, Yield<Point> yield) {
    const Alive alive;
    int sent = 0;
    while (sent < n) {
        ++sent;
        if (!yield({static_cast<double>(sent), 2, {"p"}})) break;
    }
    return sent;
}

void throw_something(const std::string& what) {
    if (what == "nested") {
        try {
            throw std::runtime_error("the disk is full");
        } catch (...) {
            std::throw_with_nested(std::logic_error("cannot save"));
        }
    }
    if (what == "int") throw 3;
    throw std::out_of_range(what);
}

void wait_for_cancel(bool throws) {
    while (!roundhouse::cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (throws) roundhouse::check_cancelled();
}

int together(int ms) {
    const int now = ++g_running;
    for (int most = g_most; now > most && !g_most.compare_exchange_weak(most, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    --g_running;
    return now;
}

void say(const std::string& text) {
    roundhouse::print(text + " by print\n");
    roundhouse::print_error(text + " by print_error\n");
    std::thread([call = roundhouse::CurrentCall(), text] {
        const auto inside = call.enter();
        roundhouse::log() << text << " by a thread\n";
    }).join();
    std::cout << text << " by cout" << std::endl;
}

// KiB: the most that this process had since the last time, and what it has now. The kernel's own count.
std::pair<std::int64_t, std::int64_t> memory(bool reset) {
    std::int64_t peak = 0;
    std::int64_t now = 0;
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        if (word == "VmHWM:") status >> peak;
        if (word == "VmRSS:") status >> now;
    }
    if (reset) std::ofstream("/proc/self/clear_refs") << "5";
    return {peak, now};
}

double sum(const ArrayView<double>& values) {
    double total = 0;
    for (const double value : values) total += value;
    return total;
}

class Counter {
public:
    explicit Counter(int start) : n(start) {}
    Counter(const std::string& text, const Point& point) : n(static_cast<int>(text.size() + static_cast<std::size_t>(point.x))) {}
    int add(int k) { return n += k; }
    int add(const std::string& text) { return n += static_cast<int>(text.size()); }
    int get() const noexcept { return n; }
    static std::string version() { return "1.0"; }
    double rate() const { return rate_; }
    void set_rate(double rate) {
        if (rate < 0) throw std::domain_error("a rate is not negative");
        rate_ = rate;
    }

    int n;
    const int fixed = 7;

private:
    double rate_ = 1;
    Alive alive_;
};

// Calls another service of the same cluster, in whatever language it is.
Value relay(const std::string& service, const Value& argument) { return roundhouse::Cluster::here().value().get(service).value().call<Value>("call", argument).value(); }

[[gnu::noinline]] int read_from(const int* place) { return *place; }
[[gnu::noinline]] int crash_deep(int depth) { return depth == 0 ? read_from(nullptr) : crash_deep(depth - 1) + 1; }
[[gnu::noinline]] int overflow(int depth) {
    if (depth < 0) return 0;
    volatile char room[4096];
    room[depth % 4096] = 1;
    return overflow(depth + 1) + room[0];
}

void crash(const std::string& how) {
    if (how == "segv") crash_deep(2);
    if (how == "abort") std::abort();
    if (how == "overflow") overflow(0);
    if (how == "terminate") std::thread([] { throw std::runtime_error("thrown in a thread"); }).join();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view(argv[1]) == "leave") return 9;
    roundhouse::Worker worker;
    worker.function("scale", scale, {"values", {"factor", 2.0}}, "Multiplies each value.").readonly();
    worker.function<double(double)>("area", area, {"radius"}, "Of a circle.");
    worker.function<double(double, double)>("area", area, {"width", "height"});
    worker.function("mirror", [](const Value& value) { return value; }, {"value"});
    worker.function("length", [](std::string_view text) { return text.size(); });
    worker.function("colour", [](Colour first, std::optional<Colour> second) { return std::pair(first, second.value_or(Colour::green)); }, {"first", {"second", std::nullopt}});
    worker.function("level", [](subjects::Level level) { return level == subjects::high ? subjects::low : subjects::high; });
    worker.function("move", [](Point point, double by) { return Point{point.x + by, point.y + by, point.tags}; }, {"point", {"by", 1.0}});
    worker.function("containers", [](std::tuple<int, std::string> pair, std::set<int> set, std::array<float, 3> array, std::unordered_map<std::string, std::vector<int>> map,
                                     std::variant<std::int64_t, double, std::string> one, std::chrono::milliseconds time) {
        return std::tuple(pair, set, array, map, one, time, std::vector<bool>{true, false}, std::monostate{});
    });
    worker.function("matrix", [](const ArrayView<float>& m) { return roundhouse::Array::of(std::vector<float>{m(0, 1), m.row(1)[0]}, {2, 1}); });
    worker.function("rows", [](const std::vector<std::vector<std::int32_t>>& rows) { return rows.at(1).at(0); });
    worker.function("bytes", [](roundhouse::Blob blob) { return blob; }, {"blob"});
    worker.function("byte_count", [](std::span<const std::uint8_t> bytes) { return bytes.size(); });
    worker.function("refuse", [](int n) -> roundhouse::Result<int> {
        if (n < 0) return roundhouse::Error{"limit_exceeded", "that is too few"};
        return n;
    });
    worker.function("count", count, {"n"});
    worker.function("points", points, {"n"});
    worker.function("alive", [] { return g_alive.load(); });
    worker.function("throw_something", throw_something);
    worker.function("wait_for_cancel", wait_for_cancel, {{"throws", true}});
    worker.function("together", together).max_concurrency(2);
    worker.function("most", [] { return g_most.load(); });
    worker.function("say", say);
    worker.function("memory", memory, {{"reset", false}});
    worker.function("sum", sum, {"values"});
    worker.function("sum_nested", [](const std::map<std::string, ArrayView<double>>& all) { return sum(all.at("a")) + sum(all.at("b")); });
    worker.function("ones", [](std::size_t n) { return std::vector<double>(n, 1.0); });
    worker.function("relay", relay, {"service", "argument"});
    worker.function("crash", crash);
    worker.cls<Counter>("Counter", "Counts.")
        .constructor<int>({{"start", 0}})
        .constructor<std::string, Point>({"text", "point"})
        .method<int (Counter::*)(int)>("add", &Counter::add, {{"k", 1}})
        .method<int (Counter::*)(const std::string&)>("add", &Counter::add, {"text"})
        .method("get", &Counter::get)
        .readonly()
        .method("twice", [](const Counter& counter, int k) { return 2 * counter.n * k; }, {{"k", 1}})
        .method("together", [](Counter&, int ms) { return together(ms); })
        .static_method("version", Counter::version)
        .property("n", &Counter::n)
        .property("fixed", &Counter::fixed)
        .property("rate", &Counter::rate, &Counter::set_rate)
        .max_concurrency(1);
    worker.cls<Alive>("Plain");
    return worker.run();
}
