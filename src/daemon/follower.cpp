#include "daemon/follower.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/limits.h"

namespace rh::daemon {

using net::asio::awaitable;

Follower::Follower(const net::asio::any_io_executor& executor, Deliver deliver)
    : deliver_(std::move(deliver)), events_(executor, ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

void Follower::add(const std::shared_ptr<Worker>& worker) {
    open(worker, worker->stdout_path, Channel::out, false);
    open(worker, worker->stderr_path, Channel::err, false);
}

void Follower::add_again(const std::shared_ptr<Worker>& worker) {
    open(worker, worker->stdout_path, Channel::out, true);
    open(worker, worker->stderr_path, Channel::err, true);
}

void Follower::rewind(Worker& worker, Channel channel, std::uint64_t offset) {
    for (auto& [watch, file] : files_) {
        if (offset == 0 || file.channel != channel || file.worker.lock().get() != &worker) continue;
        if (offset < file.offset && offset >= file.punched) file.offset = offset;
    }
}

void Follower::note_offset(File& file) {
    if (!file.mark) file.mark = Fd(::open(file.mark_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    [[maybe_unused]] const auto written = ::pwrite(file.mark.get(), &file.offset, sizeof file.offset, 0);
}

void Follower::open(const std::shared_ptr<Worker>& worker, const std::string& path, Channel channel, bool again) {
    File file;
    file.worker = worker;
    file.channel = channel;
    // The keeper creates the file, or finds it here; whoever is first.
    file.fd = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.fd) return;  // a full disk: the worker will not start either, and says why
    file.mark_path = path + ".at";
    if (again) {
        const Fd mark(::open(file.mark_path.c_str(), O_RDONLY | O_CLOEXEC));
        if (::pread(mark.get(), &file.offset, sizeof file.offset, 0) != sizeof file.offset) file.offset = 0;
    }
    const int watch = ::inotify_add_watch(events_.native_handle(), path.c_str(), IN_MODIFY);
    if (watch >= 0) files_[watch] = std::move(file);
}

void Follower::remove(const Worker& worker) {
    for (auto at = files_.begin(); at != files_.end();) {
        const std::shared_ptr<Worker> owner = at->second.worker.lock();
        if (owner != nullptr && owner.get() != &worker) {
            ++at;
            continue;
        }
        ::inotify_rm_watch(events_.native_handle(), at->first);
        at = files_.erase(at);
    }
}

awaitable<void> Follower::run() {
    for (;;) {
        boost::system::error_code error;
        co_await events_.async_wait(net::asio::posix::stream_descriptor::wait_read, net::asio::redirect_error(net::asio::use_awaitable, error));
        if (error) co_return;
        catch_up();
    }
}

void Follower::catch_up() {
    alignas(inotify_event) char buffer[4096];
    for (;;) {
        const auto count = ::read(events_.native_handle(), buffer, sizeof buffer);
        if (count <= 0) return;
        for (const char* at = buffer; at < buffer + count;) {
            const auto* event = reinterpret_cast<const inotify_event*>(at);
            at += sizeof(inotify_event) + event->len;
            if (const auto found = files_.find(event->wd); found != files_.end()) read(found->second);
        }
    }
}

void Follower::resume(Worker& worker) {
    for (auto& [watch, file] : files_) {
        if (file.worker.lock().get() == &worker) read(file);
    }
}

void Follower::read(File& file) {
    const std::shared_ptr<Worker> worker = file.worker.lock();
    if (worker == nullptr) return;
    char buffer[limits::k_chunk_bytes];
    for (;;) {
        const auto count = ::pread(file.fd.get(), buffer, sizeof buffer, static_cast<off_t>(file.offset));
        if (count <= 0) break;
        const std::size_t taken = deliver_(*worker, file.channel, {buffer, static_cast<std::size_t>(count)}, file.offset);
        file.offset += taken;
        if (taken != 0) note_offset(file);
        if (taken < static_cast<std::size_t>(count)) break;
    }
    if (file.offset - file.punched > 2 * limits::k_log_file_bytes_kept) {
        const std::uint64_t upto = file.offset - limits::k_log_file_bytes_kept;
        ::fallocate(file.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file.punched), static_cast<off_t>(upto - file.punched));
        file.punched = upto;
    }
}

void Follower::stop() {
    boost::system::error_code ignored;
    events_.close(ignored);
}

}  // namespace rh::daemon
