#pragma once

// The node's tokens: made, listed and revoked here, and asked about at every door. Only their hashes are kept; a token's own text is
// shown once, to whoever made it. On the daemon's executor.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/principal.h"
#include "net/task_group.h"
#include "store/store.h"

namespace rh::daemon {

class Tokens {
public:
    struct Wanted {
        std::string name;  // empty: one is made up
        Scope scope = Scope::call;
        std::string service;         // the only one that it may call; empty: all
        std::int64_t lasts_s = 0;    // 0: for ever
    };
    struct Made {
        std::string text;  // the only time that it is seen
        store::Token token;
    };

    // Reads what is kept. `store` outlives it.
    Tokens(const net::asio::any_io_executor& executor, const store::Store& store);

    Result<Made> create(const Wanted& wanted);
    const std::vector<store::Token>& all() const { return tokens_; }
    // By id or name. Those who came in with it are ended.
    Result<void> revoke(const std::string& id_or_name);
    // See api.h. A right token is never delayed, whatever others send from the same address.
    net::asio::awaitable<Result<Principal>> authenticate(std::string text, std::string address);
    // Told the name of a principal whose token has ended.
    void on_end(std::function<void(const std::string& principal)> on_end) { on_end_ = std::move(on_end); }
    // Sees to it that tokens end when they expire, until it is cancelled.
    net::asio::awaitable<void> run();

private:
    using Clock = std::chrono::steady_clock;

    struct Wrong {
        int count = 0;
        Clock::time_point last;
    };

    store::Token* find(std::string_view text);
    void note_use(store::Token& token);
    std::chrono::milliseconds delay_for(const std::string& address);

    net::asio::any_io_executor executor_;
    const store::Store& store_;
    Result<void> readable_;  // why nothing could be read
    std::vector<store::Token> tokens_;
    std::function<void(const std::string&)> on_end_;
    std::map<std::string, Wrong> wrong_;  // by address
    std::size_t waiting_ = 0;             // wrong ones that wait for their answer
    net::Event changed_;
};

}  // namespace rh::daemon
