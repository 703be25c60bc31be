#pragma once

// The keeper's end of the socketpair with its daemon: never blocks, and holds a bounded number of bytes for a daemon that
// does not read. Owned by Keeper; open() begins anew with each daemon.

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"
#include "process/keeper_messages.h"

namespace rh::keeper {

class DaemonLink {
public:
    // Makes the pair; returns the daemon's end, which does not block either.
    Result<Fd> open();
    void close();
    bool is_open() const { return static_cast<bool>(socket_); }
    int fd() const { return socket_.get(); }
    bool wants_to_write() const { return !out_.empty(); }

    // False when the daemon has stopped reading: it should be killed, and its successor told by an inventory.
    bool send(const process::KeeperMessage& message);
    void flush();
    // Says no more, which the daemon sees after everything that was said.
    void finish();

    // True when `message` is there. False when there is no more for now, or none any more: then is_ended().
    Result<bool> receive(process::KeeperMessage& message);
    bool is_ended() const { return ended_; }

private:
    Fd socket_;
    Bytes out_;
    process::KeeperDecoder decoder_;
    bool ended_ = false;
};

}  // namespace rh::keeper
