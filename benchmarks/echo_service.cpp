// The service of `echo_cpp`: gives back the bytes that it was given.

#include "roundhouse/worker.h"

namespace {

roundhouse::Blob echo(roundhouse::Blob bytes) { return bytes; }

}  // namespace

int main() {
    roundhouse::Worker worker;
    worker.function("echo", echo);
    return worker.run();
}
