// A program that serves a class, Trainer, which learns to tell the ten digits apart: softmax regression, trained by gradient
// descent on small batches. It knows nothing of where its scans come from: train_digits.py sends them from Python, and
// train_digits.cpp uses the same living object from C++.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <ostream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "roundhouse/worker.h"

namespace {

using roundhouse::ArrayView;

// What fit() tells after each pass over the scans. It travels as {"epoch": .., "loss": .., "accuracy": ..}.
struct Epoch {
    int epoch = 0;
    double loss = 0;
    double accuracy = 0;
};
ROUNDHOUSE_FIELDS(Epoch, epoch, loss, accuracy)

class Trainer {
public:
    Trainer(std::size_t features, std::size_t classes, double learning_rate, std::uint32_t seed)
        : rate(learning_rate), features_(features), classes_(classes), weights_((features + 1) * classes), random_(seed) {
        if (features == 0 || classes < 2) throw std::invalid_argument("a Trainer needs at least one feature and two classes");
    }

    // Learns from n scans, an array of shape (n, features), and their labels; yields what came of each epoch. Nothing runs ahead of
    // who listens, and it ends when nobody does.
    roundhouse::Generator<Epoch> fit(const ArrayView<double>& scans, const ArrayView<std::int64_t>& labels, int epochs) {
        check(scans);
        if (scans.shape()[0] != static_cast<std::int64_t>(labels.size())) throw std::invalid_argument("there must be as many labels as scans");
        std::vector<std::size_t> order(labels.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        for (int i = 0; i < epochs; ++i) {
            Epoch done;
            {
                const std::scoped_lock lock(mutex_);
                std::shuffle(order.begin(), order.end(), random_);
                done = pass(scans, labels, order);
            }
            // Shown where the call was made.
            roundhouse::log() << "epoch " << done.epoch << ": loss " << done.loss << ", " << 100 * done.accuracy << " % right\n";
            co_yield done;
        }
    }

    // For each scan the digit that it most probably is.
    std::vector<std::int64_t> predict(const ArrayView<double>& scans) const {
        check(scans);
        const std::scoped_lock lock(mutex_);
        std::vector<std::int64_t> answers;
        std::vector<double> chances(classes_);
        for (std::size_t row = 0; row < static_cast<std::size_t>(scans.shape()[0]); ++row) {
            roundhouse::check_cancelled();
            judge(scans.row(row), chances);
            answers.push_back(std::max_element(chances.begin(), chances.end()) - chances.begin());
        }
        return answers;
    }

    // The part of the scans that it reads right.
    double score(const ArrayView<double>& scans, const ArrayView<std::int64_t>& labels) const {
        const std::vector<std::int64_t> answers = predict(scans);
        if (answers.size() != labels.size() || answers.empty()) throw std::invalid_argument("there must be as many labels as scans, and at least one");
        const auto right = std::inner_product(answers.begin(), answers.end(), labels.begin(), std::size_t{0}, std::plus<>(), std::equal_to<>());
        return static_cast<double>(right) / static_cast<double>(answers.size());
    }

    int epochs() const {
        const std::scoped_lock lock(mutex_);
        return epochs_;
    }

    static constexpr std::size_t k_batch = 16;
    double rate;  // of learning; may be changed while it learns

private:
    void check(const ArrayView<double>& scans) const {
        if (scans.shape().size() != 2 || scans.shape()[1] != static_cast<std::int64_t>(features_))
            throw std::invalid_argument("scans must be an array of shape (n, " + std::to_string(features_) + ")");
    }

    // The chances of each class, which add up to one.
    void judge(std::span<const double> scan, std::vector<double>& chances) const {
        for (std::size_t c = 0; c < classes_; ++c) {
            const double* weights = &weights_[c * (features_ + 1)];
            chances[c] = std::inner_product(scan.begin(), scan.end(), weights, weights[features_]);
        }
        const double most = *std::max_element(chances.begin(), chances.end());
        double sum = 0;
        for (double& chance : chances) sum += chance = std::exp(chance - most);
        for (double& chance : chances) chance /= sum;
    }

    Epoch pass(const ArrayView<double>& scans, const ArrayView<std::int64_t>& labels, const std::vector<std::size_t>& order) {
        double loss = 0;
        std::size_t right = 0;
        std::vector<double> chances(classes_);
        std::vector<double> slope(weights_.size());
        for (std::size_t begin = 0; begin < order.size(); begin += k_batch) {
            roundhouse::check_cancelled();
            const std::size_t end = std::min(begin + k_batch, order.size());
            std::fill(slope.begin(), slope.end(), 0.0);
            for (std::size_t i = begin; i < end; ++i) {
                const auto scan = scans.row(order[i]);
                const auto label = static_cast<std::size_t>(labels[order[i]]);
                if (label >= classes_) throw std::out_of_range("label " + std::to_string(labels[order[i]]) + " is not one of " + std::to_string(classes_) + " classes");
                judge(scan, chances);
                loss -= std::log(std::max(chances[label], 1e-300));
                right += static_cast<std::size_t>(std::max_element(chances.begin(), chances.end()) - chances.begin()) == label;
                chances[label] -= 1;
                for (std::size_t c = 0; c < classes_; ++c) {
                    double* into = &slope[c * (features_ + 1)];
                    for (std::size_t f = 0; f < features_; ++f) into[f] += chances[c] * scan[f];
                    into[features_] += chances[c];
                }
            }
            const double step = rate / static_cast<double>(end - begin);
            for (std::size_t w = 0; w < weights_.size(); ++w) weights_[w] -= step * slope[w];
        }
        const auto count = static_cast<double>(std::max<std::size_t>(order.size(), 1));
        return {++epochs_, loss / count, static_cast<double>(right) / count};
    }

    const std::size_t features_;
    const std::size_t classes_;
    mutable std::mutex mutex_;  // of what follows, and of the rate while it is used
    std::vector<double> weights_;
    std::mt19937 random_;
    int epochs_ = 0;
};

}  // namespace

int main() {
    roundhouse::Worker worker;
    worker.cls<Trainer>("Trainer", "Softmax regression, which learns while others ask it.")
        .constructor<std::size_t, std::size_t, double, std::uint32_t>({{"features", 64}, {"classes", 10}, {"rate", 0.1}, {"seed", 0}})
        .method("fit", &Trainer::fit, {"scans", "labels", {"epochs", 10}}, "Learns, and yields the loss and accuracy of each epoch.")
        .method("predict", &Trainer::predict, {"scans"}, "The digit that each scan most probably is.")
        .method("score", &Trainer::score, {"scans", "labels"}, "The part of the scans that it reads right.")
        .property("rate", &Trainer::rate)
        .property("epochs", &Trainer::epochs);
    return worker.run();
}
