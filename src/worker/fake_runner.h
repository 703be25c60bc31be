#pragma once

// A Runner for tests of the Host: what a call does is a function that the test gives, by the call's method.

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "rpc/fake_peer.h"
#include "worker/host.h"

namespace rh::worker {

class FakeRunner final : public Runner {
public:
    using Method = std::function<std::optional<Outcome>(Incoming&)>;

    ~FakeRunner() override { join(); }

    std::optional<Outcome> run(Incoming& call) override {
        call.has_begun();
        note([&] {
            begun_.insert(call.id);
            most_ = std::max(most_, ++running_);
        });
        const auto method = methods.find(call.method);
        std::optional<Outcome> outcome = method != methods.end() ? method->second(call) : block(call.id);
        note([&] {
            returned_.insert(call.id);
            --running_;
        });
        return outcome;
    }
    void cancel(std::uint64_t id) override { note([&] { cancelled_.insert(id); }); }
    void room(std::uint64_t id) override { note([&] { ++rooms_[id]; }); }
    bool start_thread() override {
        const std::scoped_lock lock(mutex_);
        if (refuses_threads) return false;
        threads_.emplace_back([this] { host->serve_more(); });
        return true;
    }
    std::vector<std::string> services() override { return {"test"}; }

    // Returns once released or cancelled.
    Outcome block(std::uint64_t id) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return all_released_ || released_.count(id) != 0 || cancelled_.count(id) != 0; });
        if (cancelled_.count(id) != 0) return Outcome::failed(Error(Code::cancelled, "interrupted"));
        return Outcome::returned({});
    }
    void release(std::uint64_t id) {
        note([&] { released_.insert(id); });
    }
    void release_all() {
        note([&] { all_released_ = true; });
    }
    bool wait_begun(std::uint64_t id) {
        return wait([&] { return begun_.count(id) != 0; });
    }
    bool wait_returned(std::uint64_t id) {
        return wait([&] { return returned_.count(id) != 0; });
    }
    bool wait_cancelled(std::uint64_t id) {
        return wait([&] { return cancelled_.count(id) != 0; });
    }
    bool wait_room(std::uint64_t id) {
        return wait([&] { return rooms_.count(id) != 0; });
    }
    bool wait_running(std::size_t count) {
        return wait([&] { return running_ == count; });
    }
    std::size_t most_at_once() {
        const std::scoped_lock lock(mutex_);
        return most_;
    }
    bool has_begun(std::uint64_t id) {
        const std::scoped_lock lock(mutex_);
        return begun_.count(id) != 0;
    }
    int rooms(std::uint64_t id) {
        const std::scoped_lock lock(mutex_);
        return rooms_.count(id) != 0 ? rooms_[id] : 0;
    }
    std::size_t thread_count() {
        const std::scoped_lock lock(mutex_);
        return threads_.size();
    }
    void join() {
        release_all();
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    Host* host = nullptr;
    std::map<std::string, Method> methods;  // others block; set before calls come
    bool refuses_threads = false;           // so is this

private:
    template <class Change>
    void note(Change change) {
        const std::scoped_lock lock(mutex_);
        change();
        changed_.notify_all();
    }
    template <class Ready>
    bool wait(Ready ready) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, rpc::FakePeer::k_patience, ready);
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t running_ = 0;
    std::size_t most_ = 0;
    std::set<std::uint64_t> begun_;
    std::set<std::uint64_t> returned_;
    std::set<std::uint64_t> released_;
    std::set<std::uint64_t> cancelled_;
    std::map<std::uint64_t, int> rooms_;
    std::vector<std::thread> threads_;
    bool all_released_ = false;
};

}  // namespace rh::worker
