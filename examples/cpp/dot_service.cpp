// A program that serves a function and a class. A node starts it (dot_client.cpp asks for that), and programs in any
// language call it: dot_client.cpp from C++, call_from_python.py from Python.
//
// `dot` multiplies two vectors. `Neighbours` is an index of labelled points, which tells of new points what they are by
// the labels of those nearest. Calls run on several threads at once, on one object too, so it has a lock of its own.

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "roundhouse/worker.h"

namespace {

using roundhouse::ArrayView;

double dot(std::span<const double> a, std::span<const double> b) {
    if (a.size() != b.size())
        throw std::invalid_argument("dot takes two vectors of one length, got " + std::to_string(a.size()) + " and " + std::to_string(b.size()));
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class Neighbours {
public:
    explicit Neighbours(int dimensions) : dimensions_(static_cast<std::size_t>(dimensions)) {
        if (dimensions < 1) throw std::invalid_argument("Neighbours needs at least one dimension");
    }

    // Adds n points, an array of shape (n, dimensions), each with its label. Returns how many there are now.
    std::int64_t add(const ArrayView<double>& points, const ArrayView<std::int64_t>& labels) {
        check(points);
        if (labels.size() * dimensions_ != points.size()) throw std::invalid_argument("there must be as many labels as points");
        const std::unique_lock lock(mutex_);
        points_.insert(points_.end(), points.begin(), points.end());
        labels_.insert(labels_.end(), labels.begin(), labels.end());
        roundhouse::print("added " + std::to_string(labels.size()) + " points, now " + std::to_string(labels_.size()) + "\n");
        return static_cast<std::int64_t>(labels_.size());
    }

    // For each of n points the label that most of its k nearest have.
    std::vector<std::int64_t> classify(const ArrayView<double>& points, std::size_t k) const {
        check(points);
        const std::shared_lock lock(mutex_);
        if (k < 1 || k > labels_.size()) throw std::invalid_argument("k must be from 1 to the number of points, which is " + std::to_string(labels_.size()));
        std::vector<std::int64_t> answers;
        for (std::size_t row = 0; row < points.size() / dimensions_; ++row) {
            roundhouse::check_cancelled();
            answers.push_back(vote(points.row(row), k));
        }
        return answers;
    }

    std::int64_t size() const {
        const std::shared_lock lock(mutex_);
        return static_cast<std::int64_t>(labels_.size());
    }

private:
    void check(const ArrayView<double>& points) const {
        if (points.shape().size() != 2 || points.shape()[1] != static_cast<std::int64_t>(dimensions_))
            throw std::invalid_argument("points must be an array of shape (n, " + std::to_string(dimensions_) + ")");
    }

    std::int64_t vote(std::span<const double> point, std::size_t k) const {
        std::vector<std::pair<double, std::int64_t>> near(labels_.size());
        for (std::size_t i = 0; i < labels_.size(); ++i) {
            double square = 0;
            for (std::size_t d = 0; d < dimensions_; ++d) {
                const double apart = points_[i * dimensions_ + d] - point[d];
                square += apart * apart;
            }
            near[i] = {square, labels_[i]};
        }
        std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(k), near.end());
        std::map<std::int64_t, std::size_t> votes;
        for (std::size_t i = 0; i < k; ++i) ++votes[near[i].second];
        return std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    }

    const std::size_t dimensions_;
    mutable std::shared_mutex mutex_;
    std::vector<double> points_;         // row by row
    std::vector<std::int64_t> labels_;  // one for each row
};

}  // namespace

int main() {
    roundhouse::Worker worker;
    worker.function("dot", dot, {"a", "b"}, "The inner product of two vectors.");
    worker.cls<Neighbours>("Neighbours", "An index of labelled points.")
        .constructor<int>({"dimensions"})
        .method("add", &Neighbours::add, {"points", "labels"})
        .method("classify", &Neighbours::classify, {"points", {"k", 3}})
        .readonly()
        .method("size", &Neighbours::size)
        .readonly();
    return worker.run();
}
