/* The raw round trip that every latency is measured beside: 64 bytes there and back between two processes with blocking
 * reads and writes, over loopback TCP (T) or a Unix socket (U). Prints one JSON line of nanoseconds.
 *
 *     ping_pong tcp|unix ROUND_TRIPS [PAUSE_US]
 *
 * With a pause the client sleeps before each round trip, outside the measured time. Where two processors are allowed each
 * end stays on one of its own: left alone, the scheduler puts both on one now and then, and an idle processor's wake-up,
 * which is what the idle regime is about, is then not measured at all. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { k_message_bytes = 64, k_warm_up = 100, k_round_trips_max = 10 * 1000 * 1000 };

static void fail(const char* what) {
    perror(what);
    exit(1);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int by_value(const void* left, const void* right) {
    const long long a = *(const long long*)left, b = *(const long long*)right;
    return a < b ? -1 : a > b;
}

/* 0 at the end of the stream. */
static int read_message(int fd, char* message) {
    for (size_t have = 0; have < k_message_bytes;) {
        const ssize_t count = read(fd, message + have, k_message_bytes - have);
        if (count <= 0) return 0;
        have += (size_t)count;
    }
    return 1;
}

static void send_message(int fd, const char* message) {
    if (write(fd, message, k_message_bytes) != k_message_bytes) fail("write");
}

static void connect_tcp(int ends[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr*)&address, length) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr*)&address, &length) != 0)
        fail("listen");
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (ends[0] < 0 || connect(ends[0], (struct sockaddr*)&address, length) != 0) fail("connect");
    ends[1] = accept(listener, NULL, NULL);
    if (ends[1] < 0) fail("accept");
    for (int end = 0; end < 2; ++end)
        if (setsockopt(ends[end], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) fail("TCP_NODELAY");
    close(listener);
}

/* Binds this process to the first or the last of the allowed processors. */
static void stay_on(const cpu_set_t* allowed, int last) {
    int chosen = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, allowed) && (last || chosen < 0)) chosen = cpu;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) fail("sched_setaffinity");
}

static void round_trip(int fd, char* message) {
    send_message(fd, message);
    if (!read_message(fd, message)) fail("read");
}

int main(int argc, char** argv) {
    const long round_trips = argc > 2 ? atol(argv[2]) : 0;
    const long pause_us = argc > 3 ? atol(argv[3]) : 0;
    const int tcp = argc > 1 && strcmp(argv[1], "tcp") == 0;
    if (round_trips < 1 || round_trips > k_round_trips_max || pause_us < 0 || (!tcp && strcmp(argv[1], "unix") != 0)) {
        fprintf(stderr, "usage: ping_pong tcp|unix ROUND_TRIPS [PAUSE_US]\n");
        return 2;
    }
    int ends[2];
    if (tcp) {
        connect_tcp(ends);
    } else if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        fail("socketpair");
    }
    char message[k_message_bytes] = {0};
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) fail("sched_getaffinity");
    const pid_t echo = fork();
    if (echo < 0) fail("fork");
    stay_on(&allowed, echo == 0);
    if (echo == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        long long start = 0;
        for (long seen = 1; read_message(ends[1], message); ++seen) {
            send_message(ends[1], message);
            if (seen == k_warm_up) start = cpu_ns();
        }
        const long long used = cpu_ns() - start;
        _exit(write(ends[1], &used, sizeof used) == sizeof used ? 0 : 1);
    }
    close(ends[1]);

    long long* took = malloc((size_t)round_trips * sizeof *took);
    if (took == NULL) fail("malloc");
    for (int i = 0; i < k_warm_up; ++i) round_trip(ends[0], message);
    const long long cpu_before = cpu_ns();
    for (long i = 0; i < round_trips; ++i) {
        if (pause_us > 0) usleep((useconds_t)pause_us);
        const long long before = now_ns();
        round_trip(ends[0], message);
        took[i] = now_ns() - before;
    }
    const long long own_cpu = cpu_ns() - cpu_before;
    long long echo_cpu = 0;
    shutdown(ends[0], SHUT_WR);
    if (read(ends[0], &echo_cpu, sizeof echo_cpu) != sizeof echo_cpu) fail("read");
    waitpid(echo, NULL, 0);

    qsort(took, (size_t)round_trips, sizeof *took, by_value);
    printf("{\"minimum_ns\": %lld, \"median_ns\": %lld, \"p99_ns\": %lld, \"cpu_ns\": %lld}\n", took[0],
           took[round_trips / 2], took[round_trips * 99 / 100], (own_cpu + echo_cpu) / round_trips);
    free(took);
    return 0;
}
