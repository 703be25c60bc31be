// The client of `echo_cpp`: sends 64 bytes to the service `echo` and gets them back, through the public C++ API.
//
//     echo_client CLUSTER ECHO_SERVICE
//
// Deploys the program ECHO_SERVICE on the cluster, which must be up, and says {"ready": true}. Then each line on stdin,
// "CALLS PAUSE_US", is answered by one JSON line with the nanoseconds that the calls took. Ends with its stdin.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "roundhouse/client.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t k_message_bytes = 64;

long long cpu_ns() {
    std::timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void measure(const roundhouse::Service& echo, std::size_t calls, std::chrono::microseconds pause) {
    const roundhouse::Blob message(k_message_bytes, std::byte{7});
    std::vector<long long> took;
    took.reserve(calls);
    const long long cpu_before = cpu_ns();
    const auto start = Clock::now();
    for (std::size_t i = 0; i < calls; ++i) {
        if (pause.count() > 0) std::this_thread::sleep_for(pause);
        const auto before = Clock::now();
        const roundhouse::Blob answer = echo.call<roundhouse::Blob>("call", message).value();
        took.push_back(std::chrono::nanoseconds(Clock::now() - before).count());
        if (answer != message) throw std::runtime_error("the echo is not what was sent");
    }
    const long long elapsed = std::chrono::nanoseconds(Clock::now() - start).count();
    const long long cpu = cpu_ns() - cpu_before;
    std::sort(took.begin(), took.end());
    std::printf(
        "{\"minimum_ns\": %lld, \"median_ns\": %lld, \"p99_ns\": %lld, \"count\": %zu, \"elapsed_ns\": %lld, "
        "\"own_cpu_ns\": %lld}\n",
        took.front(), took[calls / 2], took[calls * 99 / 100], calls, elapsed, cpu);
    std::fflush(stdout);
}

int run(const std::string& cluster, const std::string& program) {
    roundhouse::Cluster box = roundhouse::Cluster::connect(cluster).value();
    const roundhouse::Service echo = box.deploy("echo", {program}).value();
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    std::size_t calls = 0;
    long pause_us = 0;
    while (std::cin >> calls >> pause_us) {
        if (calls == 0) return 2;
        measure(echo, calls, std::chrono::microseconds(pause_us));
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: echo_client CLUSTER ECHO_SERVICE\n", stderr);
        return 2;
    }
    try {
        return run(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "echo_client: %s\n", error.what());
        return 1;
    }
}
