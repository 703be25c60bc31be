// Uses the trainer that train_digits.py has made, from C++: the same living object. The scans lie in a Python process of the
// cluster, which it fetches them from.

#include <cstdint>
#include <cstdio>

#include "roundhouse/client.h"

namespace {

using roundhouse::Array;
using roundhouse::Cluster;
using roundhouse::named;
using roundhouse::Service;

struct Epoch {
    int epoch = 0;
    double loss = 0;
    double accuracy = 0;
};
ROUNDHOUSE_FIELDS(Epoch, epoch, loss, accuracy)

struct Digits {
    Array scans, labels, test_scans, test_labels;
};
ROUNDHOUSE_FIELDS(Digits, scans, labels, test_scans, test_labels)

}  // namespace

int main() {
    try {
        const Cluster box = Cluster::connect("digits-cpp").value();
        const Digits digits = box.fetch<Digits>("digits").value();
        const Service trainer = box.get("digits-reader").value();
        std::printf("C++ finds a trainer after %d epochs, %.1f %% right\n", trainer.property<int>("epochs").value(),
                    100 * trainer.call<double>("score", digits.test_scans, digits.test_labels).value());

        // Its epochs come as they are done; what it prints meanwhile is thrown away here.
        const Service quiet = trainer.with({.on_output = [](bool, std::string_view) {}});
        for (const Epoch& done : quiet.stream<Epoch>("fit", digits.scans, digits.labels, named("epochs", 3)))
            std::printf("C++ sees epoch %d: loss %.3f\n", done.epoch, done.loss);

        const auto answers = trainer.call<std::vector<std::int64_t>>("predict", digits.test_scans).value();
        std::printf("C++ has %zu scans read, the first as %d\n", answers.size(), static_cast<int>(answers.at(0)));
    } catch (const roundhouse::Failure& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
