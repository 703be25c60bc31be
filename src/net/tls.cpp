#include "net/tls.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/certificate.h"
#include "net/endpoint.h"

namespace rh::net {

namespace {

#ifndef MSG_NOSIGNAL
constexpr int MSG_NOSIGNAL = 0;  // macOS: the socket has SO_NOSIGPIPE instead
#endif

// What one record holds, and how much is read from the socket at once.
constexpr std::size_t k_record_bytes = 16 * 1024;
constexpr std::size_t k_read_ahead_bytes = 64 * 1024;
constexpr const char* k_closed = "the peer closed the connection";

int socket_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio))); }

bool is_for_later(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

// OpenSSL's own socket BIO would wait where the socket does, and raise SIGPIPE.
int bio_write(BIO* bio, const char* from, int size) {
    BIO_clear_retry_flags(bio);
    const auto count = ::send(socket_of(bio), from, static_cast<std::size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && is_for_later(errno)) BIO_set_retry_write(bio);
    return static_cast<int>(count);
}

int bio_read(BIO* bio, char* to, int size) {
    BIO_clear_retry_flags(bio);
    const auto count = ::recv(socket_of(bio), to, static_cast<std::size_t>(size), MSG_DONTWAIT);
    if (count < 0 && is_for_later(errno)) BIO_set_retry_read(bio);
    if (count == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return static_cast<int>(count);
}

long bio_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* socket_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "roundhouse socket");
        BIO_meth_set_write(made, &bio_write);
        BIO_meth_set_read(made, &bio_read);
        BIO_meth_set_ctrl(made, &bio_control);
        return made;
    }();
    return method;
}

TlsContext make_context(const SSL_METHOD* method) {
    begin_openssl();
    TlsContext context(SSL_CTX_new(method), &SSL_CTX_free);
    if (context == nullptr) throw std::bad_alloc();
    SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION);
    // No resumption: a ticket would be one more secret, and 0-RTT data could be replayed.
    // An end without TLS's own goodbye is an end: what HTTP and frames carry says by itself whether it is whole.
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(context.get(), 0);
    SSL_CTX_set_max_early_data(context.get(), 0);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context.get(), 1);
    SSL_CTX_set_default_read_buffer_len(context.get(), k_read_ahead_bytes);
    return context;
}

// The roots that this machine trusts, wherever its distribution keeps them. (OpenSSL was built for one of them.)
bool trust_roots(SSL_CTX* context) {
    const char* const chosen = std::getenv("SSL_CERT_FILE");
    if (chosen != nullptr && *chosen != '\0') return SSL_CTX_load_verify_locations(context, chosen, nullptr) == 1;
    for (const char* const path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
        if (::access(path, R_OK) == 0 && SSL_CTX_load_verify_locations(context, path, nullptr) == 1) return true;
    }
    return SSL_CTX_set_default_verify_paths(context) == 1;
}

Result<std::string> pin_of_peer(const TlsSession& session) {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(session.get()), &X509_free);
    if (certificate == nullptr) return fail(Code::not_allowed, "the server showed no certificate");
    return pin_of(certificate.get());
}

tl::unexpected<Error> not_trusted(const std::string& host, const TlsSession& session) {
    const std::string why = X509_verify_cert_error_string(SSL_get_verify_result(session.get()));
    const Result<std::string> pin = pin_of_peer(session);
    return fail(Error(Code::not_allowed, fmt::format("the certificate of {} is not one that this machine trusts ({}). Try: give the node's pin, which `listening` shows on the node "
                                                     "itself; the server that answered has {}", host, why, pin ? *pin : "none"))
                    .with("started", "no"));
}

}  // namespace

void begin_openssl() {
    static const bool begun = [] {
        // No atexit handler: threads may still use it then.
        OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, nullptr);
        return true;
    }();
    static_cast<void>(begun);
}

std::string openssl_words() {
    std::string words;
    while (const unsigned long error = ERR_get_error()) {
        const char* const reason = ERR_reason_error_string(error);
        if (!words.empty()) words += "; ";
        words += reason != nullptr ? std::string(reason) : fmt::format("error {:x}", error);
    }
    return words.empty() ? "no reason given" : words;
}

// --- a session -----------------------------------------------------------------------------------------------------

void TlsSession::Free::operator()(ssl_st* ssl) const { SSL_free(ssl); }

TlsSession::TlsSession(const TlsContext& context, int socket, bool server) : context_(context), ssl_(SSL_new(context.get())) {
    BIO* const bio = BIO_new(socket_method());
    if (ssl_ == nullptr || bio == nullptr) throw std::bad_alloc();
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket)));
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    if (server) {
        SSL_set_accept_state(ssl_.get());
    } else {
        SSL_set_connect_state(ssl_.get());
    }
}

TlsSession::~TlsSession() = default;

Result<void> TlsSession::judge(int returned, Wants& wants, std::string_view doing) {
    const int why = errno;
    switch (SSL_get_error(ssl_.get(), returned)) {
        case SSL_ERROR_WANT_READ: wants = Wants::readable; return {};
        case SSL_ERROR_WANT_WRITE: wants = Wants::writable; return {};
        case SSL_ERROR_ZERO_RETURN: return fail(Code::node_lost, k_closed);
        case SSL_ERROR_SYSCALL:
            broken_ = true;
            return fail(Code::node_lost, fmt::format("the connection was lost while {}: {}", doing, os_error("TLS", why).message));
        default: break;
    }
    broken_ = true;
    const unsigned long error = ERR_peek_error();
    plain_http_ = ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;
    const std::string words = openssl_words();
    return fail(Code::node_lost, fmt::format("the connection was lost while {}: TLS failed: {}", doing, words));
}

Result<bool> TlsSession::shake_hands() {
    if (broken_) return fail(Code::node_lost, "the connection is closed");
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) return true;
    RH_TRY_VOID(judge(done, read_wants_, "shaking hands"));
    return false;
}

Result<std::size_t> TlsSession::read(std::span<std::byte> to) {
    if (broken_) return fail(Code::node_lost, "the connection is closed");
    std::size_t got = 0;
    read_wants_ = Wants::nothing;
    while (got < to.size()) {
        std::size_t count = 0;
        ERR_clear_error();
        const int done = SSL_read_ex(ssl_.get(), to.data() + got, to.size() - got, &count);
        if (done == 1) {
            got += count;
            continue;
        }
        const Result<void> over = judge(done, read_wants_, "reading");
        // What came before the end counts.
        if (!over && got == 0) return fail(over.error());
        break;
    }
    return got;
}

Result<std::size_t> TlsSession::write(ByteView from) {
    if (broken_) return fail(Code::node_lost, "the connection is closed");
    std::size_t sent = 0;
    write_wants_ = Wants::nothing;
    while (sent < from.size()) {
        std::size_t count = 0;
        ERR_clear_error();
        const int done = SSL_write_ex(ssl_.get(), from.data() + sent, std::min(from.size() - sent, k_record_bytes), &count);
        if (done == 1) {
            sent += count;
            continue;
        }
        const Result<void> over = judge(done, write_wants_, "writing");
        if (!over) return fail(over.error());
        break;
    }
    return sent;
}

void TlsSession::say_goodbye() {
    if (broken_ || SSL_is_init_finished(ssl_.get()) == 0) return;
    broken_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

// --- server --------------------------------------------------------------------------------------------------------

Result<TlsServer> TlsServer::make(const std::string& certificate_path, const std::string& key_path) {
    const TlsContext context = make_context(TLS_server_method());
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context.get(), certificate_path.c_str()) != 1)
        return fail(Code::bad_arguments, fmt::format("the certificate {} cannot be used: {}", certificate_path, openssl_words()));
    // Nobody is here to be asked for a password.
    SSL_CTX_set_default_passwd_cb(context.get(), [](char*, int, int, void*) { return -1; });
    if (SSL_CTX_use_PrivateKey_file(context.get(), key_path.c_str(), SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(context.get()) != 1)
        return fail(Code::bad_arguments, fmt::format("the key {} cannot be used with the certificate {}: {}", key_path, certificate_path, openssl_words()));
    RH_TRY(std::string pin, pin_of(SSL_CTX_get0_certificate(context.get())));
    return TlsServer(context, std::move(pin));
}

// --- client --------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<TlsClient>> TlsClient::connect(int socket, const std::string& host, const std::string& pin, Deadline deadline) {
    const TlsContext context = make_context(TLS_client_method());
    // Judged below, so that a refusal can name the server's pin.
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    if (pin.empty()) static_cast<void>(trust_roots(context.get()));  // without roots nothing is trusted, which the refusal says
    std::unique_ptr<TlsClient> client(new TlsClient(context, socket));
    TlsSession& session = client->session_;
    if (is_numeric(host)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session.get()), host.c_str());
    } else {
        SSL_set1_host(session.get(), host.c_str());
        SSL_set_tlsext_host_name(session.get(), host.c_str());
    }
    for (;;) {
        const Result<bool> done = session.shake_hands();
        if (!done)
            return fail(Error(Code::node_lost, fmt::format("{}: {}. Does that port speak TLS 1.3? (A plain one is tcp://)", host, done.error().message)).with("started", "no"));
        if (*done) break;
        pollfd poll{socket, static_cast<short>(session.read_wants() == TlsSession::Wants::writable ? POLLOUT : POLLIN), 0};
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
        if (left <= 0)
            return fail(Error(Code::timeout, fmt::format("{} did not answer the TLS handshake in time: is it a Roundhouse daemon that listens with TLS?", host)).with("started", "no"));
        ::poll(&poll, 1, static_cast<int>(std::min<decltype(left)>(left, 1'000'000'000)));
    }
    if (pin.empty() && SSL_get_verify_result(session.get()) != X509_V_OK) return not_trusted(host, session);
    if (!pin.empty()) {
        RH_TRY(const std::string shown, pin_of_peer(session));
        if (shown != pin)
            return fail(Error(Code::not_allowed, fmt::format("{} is not the server that it should be: its key has the pin {}, and {} was expected. Try: ask the node itself for its pin "
                                                             "(`listening`); if it is another one there, somebody else answers here", host, shown, pin))
                            .with("started", "no")
                            .with("pin", shown)
                            .with("expected_pin", pin));
    }
    return client;
}

ssize_t TlsClient::receive(std::byte* to, std::size_t size, short& waits_for) {
    const std::scoped_lock lock(mutex_);
    const Result<std::size_t> count = session_.read({to, size});
    has_more_ = count && *count == size;
    if (!count) {
        errno = ECONNRESET;
        return count.error().message == k_closed ? 0 : -1;
    }
    if (*count > 0) return static_cast<ssize_t>(*count);
    waits_for = session_.read_wants() == TlsSession::Wants::writable ? POLLOUT : POLLIN;
    errno = EAGAIN;
    return -1;
}

ssize_t TlsClient::send(const std::byte* from, std::size_t size, short& waits_for) {
    const std::scoped_lock lock(mutex_);
    const Result<std::size_t> count = session_.write({from, size});
    if (!count) {
        errno = ECONNRESET;
        return -1;
    }
    if (*count > 0) return static_cast<ssize_t>(*count);
    waits_for = session_.write_wants() == TlsSession::Wants::readable ? POLLIN : POLLOUT;
    errno = EAGAIN;
    return -1;
}

}  // namespace rh::net
