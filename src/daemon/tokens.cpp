#include "daemon/tokens.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/ids.h"
#include "base/limits.h"
#include "net/certificate.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// Shows people, and programs that look for leaked secrets, what it is.
constexpr std::string_view k_prefix = "rh_";
constexpr std::size_t k_secret_bytes = 32;
constexpr std::size_t k_id_bytes = 6;
// When it was last used is kept no more exactly than this: writing costs more than a call.
constexpr std::int64_t k_use_grain_s = 60;
constexpr std::int64_t k_lasts_s_max = std::int64_t{100} * 366 * 24 * 60 * 60;

std::int64_t now_s() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string principal_of(const store::Token& token) { return "token:" + token.name; }

// Only once that second has passed: nobody gets less than was asked for.
bool is_over(const store::Token& token) { return token.expires_s != 0 && token.expires_s < now_s(); }

}  // namespace

Tokens::Tokens(const net::asio::any_io_executor& executor, const store::Store& store) : executor_(executor), store_(store), changed_(executor) {
    Result<std::vector<store::Token>> kept = store_.tokens();
    if (kept) {
        tokens_ = std::move(*kept);
        return;
    }
    // Nobody comes in by TCP then; the Unix socket serves as ever.
    spdlog::error("{}", kept.error().message);
    readable_ = fail(kept.error());
}

Result<Tokens::Made> Tokens::create(const Wanted& wanted) {
    RH_TRY_VOID(readable_);
    if (tokens_.size() >= limits::k_tokens_max) return fail(Code::limit_exceeded, fmt::format("this node has {} tokens, the most that are allowed: revoke some", tokens_.size()));
    if (!wanted.service.empty() && wanted.scope != Scope::call)
        return fail(Code::bad_arguments, fmt::format("a token for the service \"{}\" alone has the scope call, not {}", wanted.service, scope_name(wanted.scope)));
    if (wanted.lasts_s < 0 || wanted.lasts_s > k_lasts_s_max) return fail(Code::bad_arguments, "a token expires after a number of seconds; 0 is never");
    if (!wanted.service.empty()) RH_TRY_VOID(check_name("service", wanted.service, limits::k_name_bytes_max));
    Made made;
    made.text = std::string(k_prefix) + net::base64(random_bytes(k_secret_bytes), true);
    made.token.id = random_hex(k_id_bytes);
    made.token.name = wanted.name.empty() ? "token-" + made.token.id : wanted.name;
    RH_TRY_VOID(check_name("token", made.token.name, limits::k_name_bytes_max));
    // The secret is random and long: no salt, and no slow hash, would make it harder to guess.
    made.token.hash = net::sha256(made.text);
    made.token.scope = static_cast<std::uint8_t>(wanted.scope);
    made.token.service = wanted.service;
    made.token.created_s = now_s();
    made.token.expires_s = wanted.lasts_s == 0 ? 0 : made.token.created_s + wanted.lasts_s;
    RH_TRY_VOID(store_.add(made.token));
    tokens_.push_back(made.token);
    changed_.set();
    return made;
}

Result<void> Tokens::revoke(const std::string& id_or_name) {
    RH_TRY_VOID(readable_);
    auto found = std::find_if(tokens_.begin(), tokens_.end(), [&](const store::Token& token) { return token.id == id_or_name; });
    if (found == tokens_.end()) found = std::find_if(tokens_.begin(), tokens_.end(), [&](const store::Token& token) { return token.name == id_or_name; });
    if (found == tokens_.end()) return fail(Error(Code::not_found, fmt::format("this node has no token with the id or name \"{:.128}\"", id_or_name)).with("name", id_or_name));
    RH_TRY_VOID(store_.remove_token(found->id));
    const std::string principal = principal_of(*found);
    tokens_.erase(found);
    changed_.set();
    if (on_end_) on_end_(principal);
    return {};
}

// Each is compared, whether or not one before it was right.
store::Token* Tokens::find(std::string_view text) {
    const std::string hash = net::sha256(text);
    store::Token* found = nullptr;
    for (store::Token& token : tokens_) {
        if (net::same_secret(token.hash, hash)) found = &token;
    }
    return found;
}

void Tokens::note_use(store::Token& token) {
    const std::int64_t now = now_s();
    if (now - token.used_s < k_use_grain_s) return;
    token.used_s = now;
    const Result<void> noted = store_.note_use(token.id, now);
    if (!noted) spdlog::warn("{}", noted.error().message);
}

std::chrono::milliseconds Tokens::delay_for(const std::string& address) {
    const auto now = Clock::now();
    if (wrong_.size() >= limits::k_wrong_token_addresses_max && wrong_.count(address) == 0) {
        std::erase_if(wrong_, [&](const auto& entry) { return now - entry.second.last > limits::k_wrong_token_memory; });
        if (wrong_.size() >= limits::k_wrong_token_addresses_max) return limits::k_wrong_token_delay_max;
    }
    Wrong& wrong = wrong_[address];
    if (now - wrong.last > limits::k_wrong_token_memory) wrong.count = 0;
    if (wrong.count == 0) spdlog::warn("somebody at {} sends a wrong token, or none", address);
    wrong.last = now;
    const int doublings = std::min(wrong.count++, 16);
    return std::min<std::chrono::milliseconds>(limits::k_wrong_token_delay * (1 << doublings), limits::k_wrong_token_delay_max);
}

awaitable<Result<Principal>> Tokens::authenticate(std::string text, std::string address) {
    if (text.size() <= limits::k_token_text_bytes_max) {
        store::Token* const token = find(text);
        if (token != nullptr && is_over(*token))
            co_return fail(Error(Code::not_allowed, fmt::format("the token \"{}\" has expired: make another with create_token()", token->name)).with("started", "no"));
        if (token != nullptr) {
            note_use(*token);
            co_return Principal{principal_of(*token), static_cast<Scope>(token->scope), token->service};
        }
    }
    if (waiting_ >= limits::k_wrong_token_waiting_max) co_return fail(Code::limit_exceeded, "too many wrong tokens are being answered just now: try again in some seconds");
    ++waiting_;
    struct Leave {
        std::size_t& waiting;
        ~Leave() { --waiting; }
    } const leave{waiting_};
    net::asio::steady_timer pause(executor_, delay_for(address));
    co_await pause.async_wait(net::asio::use_awaitable);
    const std::string_view what = text.empty() ? "over TCP this node wants a token, and none was sent" : "this node knows no such token: it may have been revoked";
    co_return fail(Error(Code::not_allowed, fmt::format("{}. Try: one that create_token() or `roundhouse token create` made on the node's own machine", what)).with("started", "no"));
}

awaitable<void> Tokens::run() {
    for (;;) {
        std::int64_t next = 0;
        for (const store::Token& token : tokens_) {
            if (token.expires_s != 0 && !is_over(token) && (next == 0 || token.expires_s < next)) next = token.expires_s;
        }
        changed_.reset();
        // The clock of the wall may be set: it is looked at again soon enough.
        const auto wait = next == 0 ? std::chrono::seconds(3600) : std::chrono::seconds(std::clamp<std::int64_t>(next + 1 - now_s(), 0, 60));
        co_await changed_.wait_until(Clock::now() + wait);
        for (const store::Token& token : tokens_) {
            if (is_over(token) && on_end_) on_end_(principal_of(token));
        }
    }
}

}  // namespace rh::daemon
