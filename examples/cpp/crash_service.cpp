// A program with a mistake in it: it reads where nothing is. crash.py shows what its caller learns of that.

#include <cstdint>

#include "roundhouse/worker.h"

// Out of line, so that the backtrace has it.
[[gnu::noinline]] double read(const double* values, std::int64_t index) { return values[index]; }

// The mean of a value and its neighbours.
[[gnu::noinline]] double smoothed(std::span<const double> values, std::int64_t index) {
    return (read(values.data(), index - 1) + read(values.data(), index) + read(values.data(), index + 1)) / 3;
}

int main() {
    roundhouse::Worker worker;
    worker.function("smoothed", smoothed, {"values", "index"});
    return worker.run();
}
