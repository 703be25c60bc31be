// A program that serves a function and a class. A node starts it (dot_client.cpp asks for that), and programs in any
// language call it: dot_client.cpp from C++, call_from_python.py from Python.
//
// `dot` multiplies two vectors. `Neighbours` is an index of labelled points, which tells of new points what they are by
// the labels of those nearest. Calls run on several threads at once, on one object too, so it has a lock of its own.

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "roundhouse/worker.h"

namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    if (a.size() != b.size())
        throw std::invalid_argument("dot takes two vectors of one length, got " + std::to_string(a.size()) + " and " + std::to_string(b.size()));
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class Neighbours {
public:
    explicit Neighbours(int dimensions) : dimensions_(dimensions) {
        if (dimensions < 1) throw std::invalid_argument("Neighbours needs at least one dimension");
    }

    // Adds n points, an array of shape (n, dimensions), each with its label. Returns how many there are now.
    std::int64_t add(const roundhouse::Array& points, const std::vector<std::int64_t>& labels) {
        const std::vector<double> coordinates = coordinates_of(points);
        if (labels.size() * dimensions_ != coordinates.size()) throw std::invalid_argument("there must be as many labels as points");
        std::int64_t count = 0;
        {
            const std::unique_lock lock(mutex_);
            points_.insert(points_.end(), coordinates.begin(), coordinates.end());
            labels_.insert(labels_.end(), labels.begin(), labels.end());
            count = static_cast<std::int64_t>(labels_.size());
        }
        roundhouse::print("added " + std::to_string(labels.size()) + " points, now " + std::to_string(count) + "\n");
        return count;
    }

    // For each of n points the label that most of its k nearest have: an array of n int64.
    roundhouse::Array classify(const roundhouse::Array& points, int k) const {
        const std::vector<double> coordinates = coordinates_of(points);
        const std::shared_lock lock(mutex_);
        if (k < 1 || static_cast<std::size_t>(k) > labels_.size())
            throw std::invalid_argument("k must be from 1 to the number of points, which is " + std::to_string(labels_.size()));
        std::vector<std::int64_t> answers;
        for (std::size_t at = 0; at < coordinates.size(); at += dimensions_) {
            if (roundhouse::cancelled()) break;  // Nobody waits for the answer.
            answers.push_back(vote(&coordinates[at], static_cast<std::size_t>(k)));
        }
        return roundhouse::Array::of(answers);
    }

    std::int64_t size() const {
        const std::shared_lock lock(mutex_);
        return static_cast<std::int64_t>(labels_.size());
    }

private:
    std::vector<double> coordinates_of(const roundhouse::Array& points) const {
        if (points.shape.size() != 2 || points.shape[1] != static_cast<std::int64_t>(dimensions_))
            throw std::invalid_argument("points must be an array of shape (n, " + std::to_string(dimensions_) + ")");
        return points.as<double>().value();  // Throws where the elements are not float64; the message says what they are.
    }

    std::int64_t vote(const double* point, std::size_t k) const {
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
    worker.function("dot", dot);
    worker.cls<Neighbours>("Neighbours")
        .constructor<int>()
        .method("add", &Neighbours::add)
        .method("classify", &Neighbours::classify)
        .method("size", &Neighbours::size);
    return worker.run();
}
