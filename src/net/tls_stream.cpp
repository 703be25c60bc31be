#include "net/tls_stream.h"

namespace rh::net {

namespace {

constexpr std::string_view k_answer_to_plain_http =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    "{\"error\": {\"type\": \"protocol\", \"code\": \"protocol\", \"message\": \"this port speaks TLS: use https:// or tls://\"}}\n";

class TlsStream final : public Stream {
public:
    TlsStream(const TlsContext& context, SocketStream::Socket socket) : socket_(std::move(socket)), session_(context, socket_.handle(), true) {}
    ~TlsStream() override { close(); }

    Result<std::size_t> try_read(std::span<std::byte> to) override {
        if (!socket_.is_open()) return fail(Code::node_lost, "the connection is closed");
        Result<std::size_t> count = session_.read(to);
        more_ = count && *count == to.size();
        // One try, for people and programs that forgot the s of https.
        if (!count && session_.met_plain_http()) static_cast<void>(socket_.try_write(as_byte_view(k_answer_to_plain_http)));
        return count;
    }
    Result<std::size_t> try_write(ByteView from) override {
        if (!socket_.is_open()) return fail(Code::node_lost, "the connection is closed");
        return session_.write(from);
    }
    asio::awaitable<Result<void>> wait_readable() override {
        // Decrypted already, so that the socket says nothing of it.
        if (more_) return at_once();
        return session_.read_wants() == TlsSession::Wants::writable ? socket_.wait_writable() : socket_.wait_readable();
    }
    asio::awaitable<Result<void>> wait_writable() override {
        return session_.write_wants() == TlsSession::Wants::readable ? socket_.wait_readable() : socket_.wait_writable();
    }
    void close() override {
        if (!socket_.is_open()) return;
        session_.say_goodbye();
        socket_.close();
    }

private:
    static asio::awaitable<Result<void>> at_once() { co_return Result<void>(); }

    SocketStream socket_;
    TlsSession session_;
    bool more_ = false;
};

}  // namespace

std::unique_ptr<Stream> accept_tls(const TlsContext& context, SocketStream::Socket socket) { return std::make_unique<TlsStream>(context, std::move(socket)); }

}  // namespace rh::net
