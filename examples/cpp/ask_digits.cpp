// Asks the trainer of ../digits.py how far it is: a live Python object, called from C++.
//
//     ask_digits [CLUSTER]

#include <cstdio>

#include "roundhouse/client.h"

namespace {

using roundhouse::Cluster;
using roundhouse::Service;

struct Progress {
    int epoch = 0;
    int epochs = 0;
    bool training = false;
};
ROUNDHOUSE_FIELDS(Progress, epoch, epochs, training)

}  // namespace

int main(int argc, char** argv) {
    try {
        const Cluster box = Cluster::connect(argc > 1 ? argv[1] : "digits").value();
        const Service trainer = box.get("digits").value();
        const Progress now = trainer.call<Progress>("progress").value();
        std::printf("{\"epoch\":%d,\"epochs\":%d,\"training\":%s}\n", now.epoch, now.epochs, now.training ? "true" : "false");
    } catch (const roundhouse::Failure& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
    return 0;
}
