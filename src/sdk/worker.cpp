// The public C++ worker API (roundhouse/worker.h): the program's entry. runner.h has what happens with calls.

#include "roundhouse/worker.h"

#include <cstdio>
#include <cstdlib>

#include "sdk/crash.h"
#include "sdk/current.h"
#include "sdk/runner.h"

namespace roundhouse {

struct Worker::Impl {
    rh::CppRunner runner;
};

Worker::Worker() : impl_(std::make_unique<Impl>()) {}
Worker::~Worker() = default;

detail::Function& Worker::function_called(const std::string& name) { return impl_->runner.functions[name]; }

detail::Class& Worker::class_called(const std::string& name) {
    detail::Class& made = impl_->runner.classes[name];
    made.name = name;
    return made;
}

void Worker::default_constructor(detail::Class& of, std::function<std::shared_ptr<void>()> make) { impl_->runner.default_constructors[of.name] = std::move(make); }

int Worker::run() {
    const char* socket = std::getenv("ROUNDHOUSE_SOCKET");
    const char* id = std::getenv("ROUNDHOUSE_WORKER");
    if (socket == nullptr || id == nullptr) {
        std::fprintf(stderr, "this program serves Roundhouse calls, and a node starts it: deploy it with roundhouse::Cluster::deploy in C++, or rh.program in Python\n");
        return 2;
    }
    rh::install_crash_handlers();
    capture_streams();
    // What is written to a file would otherwise be seen only when the buffer is full.
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    rh::Result<void> served = impl_->runner.serve(socket, id);
    if (!served) std::fprintf(stderr, "%s\n", served.error().message.c_str());
    // Calls may still run on other threads; nothing of theirs can be sent any more, so there is nothing to wait for.
    std::fflush(nullptr);
    std::_Exit(served ? 0 : 1);
}

}  // namespace roundhouse
