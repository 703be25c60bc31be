#pragma once

// Who comes in besides this node's own user: the TCP port that the node listens on, and the tokens that open it. Owned by the Daemon,
// on its executor; what must outlive the daemon stands in the node's store.

#include "daemon/listening.h"
#include "daemon/tokens.h"
#include "store/store.h"

namespace rh::daemon {

struct Doors {
    Doors(const net::asio::any_io_executor& executor, const std::string& state_folder)
        : store(state_folder + "/store.db"), tokens(executor, store), listening(executor, store, state_folder) {}

    store::Store store;
    Tokens tokens;
    Listening listening;
};

}  // namespace rh::daemon
