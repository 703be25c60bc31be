// What outlives its connection, and its daemon (daemon.h): clients that come back, and workers that a daemon before this one
// has started.

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/daemon.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// A process that can be waited for; not open where it has ended already, or where the kernel does not have such: then the grace
// alone counts.
void open_process(Daemon::Return& from, std::int32_t pid) {
    const auto descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (descriptor >= 0) {
        from.process.assign(descriptor);
    } else if (errno == ESRCH) {
        from.bell.set();
    }
}

awaitable<void> watch_process(std::shared_ptr<Daemon::Return> from) {
    boost::system::error_code error;
    co_await from->process.async_wait(net::asio::posix::stream_descriptor::wait_read, net::asio::redirect_error(net::asio::use_awaitable, error));
    from->bell.set();
}

}  // namespace

// --- clients that come back ----------------------------------------------------------------------------------------

// What it has asked of the node itself is forgotten, the rest waits for it. False when there is none.
bool Daemon::set_aside(Caller& caller) {
    node_.drop_client(caller);
    caller.asking.clear();
    return router_.detach(caller);
}

void Daemon::detach(Connection& connection) {
    Caller& caller = connection.caller();
    if (!set_aside(caller)) return drop_caller(caller);
    const auto place = detached_.emplace(detached_.end());
    place->from = std::make_shared<Return>(executor_);
    if (connection.peer().address.empty()) open_process(*place->from, connection.peer().pid);
    if (place->from->process.is_open()) tasks_.spawn(watch_process(place->from));
    place->caller = connection.release_caller();
    tasks_.spawn(wait_for(place));
}

// A client on this machine that has ended does not come back; of others only the grace tells.
awaitable<void> Daemon::wait_for(std::list<Detached>::iterator detached) {
    const std::shared_ptr<Return> from = detached->from;
    co_await from->bell.wait_until(std::chrono::steady_clock::now() + limits::k_resume_grace);
    boost::system::error_code ignored;
    from->process.close(ignored);
    if (detached->caller != nullptr) drop_caller(*detached->caller);
    detached_.erase(detached);
}

// Whoever knows a session's id, and is the same principal, is that client.
std::unique_ptr<Caller> Daemon::find_caller(const Connection& by, const std::string& session) {
    if (session.size() < k_session_id_bytes) return nullptr;
    const std::string& principal = by.caller().principal().name;
    for (Detached& detached : detached_) {
        if (detached.caller == nullptr || detached.caller->session != session || detached.caller->principal().name != principal) continue;
        std::unique_ptr<Caller> caller = std::move(detached.caller);
        detached.from->bell.set();
        return caller;
    }
    // Its old connection may not have noticed yet.
    for (Session& other : sessions_) {
        if (&other.connection == &by || other.connection.worker != nullptr) continue;
        Caller& caller = other.connection.caller();
        if (caller.session != session || caller.principal().name != principal) continue;
        *other.alive = false;
        set_aside(caller);
        std::unique_ptr<Caller> released = other.connection.release_caller();
        other.connection.link().close();
        return released;
    }
    return nullptr;
}

// --- a daemon in a dead one's place --------------------------------------------------------------------------------

awaitable<void> Daemon::restore() {
    // The keeper's inventory comes first of all, at once.
    const auto until = std::chrono::steady_clock::now() + limits::k_restore_timeout;
    while (!ready_ && (!has_inventory_ || !awaited_.empty()) && std::chrono::steady_clock::now() < until) {
        co_await announced_.wait_until(until);
        announced_.reset();
    }
    for (const std::string& id : awaited_) {
        spdlog::warn("worker {} has not come back from the daemon before this one within {} s: calls wait for it", id, std::chrono::duration_cast<std::chrono::seconds>(limits::k_restore_timeout).count());
        if (const auto worker = workers_.find(id)) router_.park(*worker);
    }
    co_await runs_.take_over(node_is_new_);
    become_ready();
}

void Daemon::on_inventory(std::vector<Workers::Left> left, bool is_first) {
    node_is_new_ = is_first;
    if (!left.empty()) spdlog::info("{} workers of the daemon before this one live on", left.size());
    for (const std::shared_ptr<Worker>& worker : node_.restore(left)) {
        worker->announces = true;
        awaited_.insert(worker->id);
        follower_.add_again(worker);
    }
    has_inventory_ = true;
    announced_.set();
}

void Daemon::on_announced(Worker& worker) {
    worker.announces = false;
    if (awaited_.erase(worker.id) == 0) return;
    // What has waited because it was late.
    if (ready_ && !worker.end) router_.unpark(worker);
    announced_.set();
}

void Daemon::become_ready() {
    if (std::exchange(ready_, true)) return;
    for (net::Event* const event : waiting_) event->set();
    for (Session& session : sessions_) session.connection.greet_waiting();
}

awaitable<void> Daemon::ready() {
    if (ready_) co_return;
    net::Event event(executor_);
    const auto place = waiting_.insert(waiting_.end(), &event);
    co_await event.wait_until(std::chrono::steady_clock::now() + limits::k_restore_timeout);
    waiting_.erase(place);
}

}  // namespace rh::daemon
