#pragma once

// Follows what workers write to their file descriptors 1 and 2, which are append-only files: C code, child processes and
// crashes end up there. It goes to the call that runs alone in its worker; with several calls at once it stays in the
// file. The kernel tells of new bytes (inotify), nothing polls. Files are punched from the front beyond a bound, offsets
// kept. Owned by the Daemon, on its executor.

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/fd.h"
#include "daemon/worker.h"

namespace rh::daemon {

class Follower {
public:
    // Sends text to the one call that runs in the worker, and returns how many of its bytes were taken: 0 while that call's
    // reader is behind. All of them when the text belongs to nobody.
    // `offset` is where the text stands in its file.
    using Deliver = std::function<std::size_t(Worker& worker, Channel channel, std::string_view text, std::uint64_t offset)>;

    Follower(const net::asio::any_io_executor& executor, Deliver deliver);

    void add(const std::shared_ptr<Worker>& worker);
    void remove(const Worker& worker);
    // The same of a worker that a daemon before this one followed, from where that stopped.
    void add_again(const std::shared_ptr<Worker>& worker);
    // A client has come back that has the file up to there only; 0: it says nothing.
    void rewind(Worker& worker, Channel channel, std::uint64_t offset);
    // Runs until stop().
    net::asio::awaitable<void> run();
    // Delivers what the kernel has told of by now. run() does so before a result that came later is read: the kernel reports
    // descriptors in the order in which they became ready.
    void catch_up();
    // Delivers what stopped at a slow reader.
    void resume(Worker& worker);
    void stop();

private:
    struct File {
        std::weak_ptr<Worker> worker;
        Channel channel = Channel::out;
        Fd fd;
        std::uint64_t offset = 0;
        std::uint64_t punched = 0;
        // A file with the offset, for a daemon that takes this one's place; made by the first text.
        std::string mark_path;
        Fd mark;
    };

    void open(const std::shared_ptr<Worker>& worker, const std::string& path, Channel channel, bool again);
    void read(File& file);
    static void note_offset(File& file);

    Deliver deliver_;
    net::asio::posix::stream_descriptor events_;
    std::map<int, File> files_;  // by watch
};

}  // namespace rh::daemon
