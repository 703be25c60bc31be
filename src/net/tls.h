#pragma once

// TLS 1.3 over a connected socket, and nothing older: the record layer without any waiting (TlsSession), the server's
// settings (TlsServer), and the connection of a client (TlsClient). OpenSSL is begun with the first of them and costs
// nothing before; it reads no configuration and loads no engine or provider from disk.

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"

struct ssl_st;
struct ssl_ctx_st;

namespace rh::net {

using TlsContext = std::shared_ptr<ssl_ctx_st>;  // shared with every session made from it

// Begins OpenSSL, once per process.
void begin_openssl();
// OpenSSL's own words for what went wrong last in this thread, and forgets them.
std::string openssl_words();

// One connection's TLS, over a socket that its owner closes. Never waits, whatever the socket is set to. Not thread-safe.
class TlsSession {
public:
    // What the socket must be before the same is worth another try.
    enum class Wants { nothing, readable, writable };

    TlsSession(const TlsContext& context, int socket, bool server);
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;
    ~TlsSession();

    // As much as has come and fits; 0 when there is none just now. Shakes hands first where that is still to do.
    Result<std::size_t> read(std::span<std::byte> to);
    // 0 when the socket is full: to be called again with at least the same bytes.
    Result<std::size_t> write(ByteView from);
    // True once hands are shaken.
    Result<bool> shake_hands();
    Wants read_wants() const { return read_wants_; }
    Wants write_wants() const { return write_wants_; }
    // The peer spoke HTTP in the clear.
    bool met_plain_http() const { return plain_http_; }
    // Tells the peer that nothing more comes, as far as the socket takes it.
    void say_goodbye();

    ssl_st* get() const { return ssl_.get(); }

private:
    struct Free {
        void operator()(ssl_st* ssl) const;
    };
    // What a failed call means: what it wants, or why the connection is over.
    Result<void> judge(int returned, Wants& wants, std::string_view doing);

    TlsContext context_;
    std::unique_ptr<ssl_st, Free> ssl_;
    Wants read_wants_ = Wants::nothing;
    Wants write_wants_ = Wants::nothing;
    bool plain_http_ = false;
    bool broken_ = false;
};

// The server's side of all connections to one port.
class TlsServer {
public:
    // From PEM files: a certificate (with its chain) and its key. Code::bad_arguments when they cannot be used, naming them.
    static Result<TlsServer> make(const std::string& certificate_path, const std::string& key_path);

    const TlsContext& context() const { return context_; }
    // "sha256/" and the base64 of the hash of the certificate's public key.
    const std::string& pin() const { return pin_; }

private:
    TlsServer(TlsContext context, std::string pin) : context_(std::move(context)), pin_(std::move(pin)) {}

    TlsContext context_;
    std::string pin_;
};

// A client's connection, over a socket that its owner closes. One thread may read while another writes; neither waits.
class TlsClient {
public:
    using Deadline = std::chrono::steady_clock::time_point;

    // Shakes hands. With a pin the server's key must have it; without one its certificate must be for `host`, and one that
    // this machine trusts. Code::not_allowed otherwise, before a byte of ours is sent.
    static Result<std::unique_ptr<TlsClient>> connect(int socket, const std::string& host, const std::string& pin, Deadline deadline);

    // As recv and send: -1 with errno EAGAIN when the socket must be waited for, as poll's events `waits_for` says.
    ssize_t receive(std::byte* to, std::size_t size, short& waits_for);
    ssize_t send(const std::byte* from, std::size_t size, short& waits_for);
    // More has come than the last receive() took.
    bool has_more() const { return has_more_; }

private:
    TlsClient(const TlsContext& context, int socket) : session_(context, socket, false) {}

    std::mutex mutex_;
    TlsSession session_;
    std::atomic<bool> has_more_{false};
};

}  // namespace rh::net
