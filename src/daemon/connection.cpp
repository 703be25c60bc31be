#include "daemon/connection.h"

#include <unistd.h>

#include <fmt/format.h>

#include "base/limits.h"
#include "process/text_file.h"
#include "process/tree.h"
#include "rpc/handshake.h"
#include "wire/convert.h"

namespace rh::daemon {

using net::asio::awaitable;

namespace {

// No other keeper on any machine has had it.
const std::string& node_id() {
    static const std::string id = [] {
        const auto keeper = process::read_process(::getppid());
        std::string boot = process::read_text("/proc/sys/kernel/random/boot_id").value_or("");
        boot = boot.substr(0, boot.find('\n'));
        return fmt::format("{}:{}:{}", boot, ::getppid(), keeper ? keeper->start_time : 0);
    }();
    return id;
}

}  // namespace

Connection::Connection(std::unique_ptr<net::Stream> stream, net::Peer peer, Principal principal, Switchboard& switchboard, rpc::Cork& cork,
                       const net::asio::any_io_executor& executor)
    : peer_(std::move(peer)), switchboard_(switchboard), link_(std::move(stream), *this, cork, executor), caller_(std::make_unique<Caller>(std::move(principal), link_)), tasks_(executor), greeted_(executor) {}

awaitable<Error> Connection::run(Bytes leftover) {
    link_.send_raw(rpc::upgrade_answer());
    tasks_.spawn(expect_hello());
    Error why = co_await link_.run(std::move(leftover));
    if (why.code != Code::node_lost) {
        // The peer hears why before it is hung up on; it may be the only one who can mend it.
        rpc::Message goodbye;
        goodbye.set_kind(wire::GOODBYE);
        wire::set_error(goodbye, why);
        link_.send(goodbye);
    }
    greeted_.set();
    co_await tasks_.stop();
    co_await link_.stop();
    co_return why;
}

awaitable<void> Connection::expect_hello() {
    const bool came = co_await greeted_.wait_until(std::chrono::steady_clock::now() + limits::k_handshake_timeout);
    if (!came) link_.close();
}

bool Connection::relay(rpc::Message& message, ByteView body) {
    if (!greeted_.is_set()) return false;
    return worker != nullptr ? switchboard_.relay_from_worker(*this, message, body) : switchboard_.relay_from_client(*this, message, body);
}

Result<void> Connection::on_message(rpc::Message& message, Body body) {
    if (message.kind() == wire::HELLO && !greeted_.is_set()) return greet(message.hello());
    if (!greeted_.is_set()) return fail(Code::protocol, "the first message on a connection must be HELLO");
    switch (message.kind()) {
        case wire::CALL:
            if (worker != nullptr) return fail(Code::protocol, "a worker makes calls on a client's connection, not on its own");
            switchboard_.on_node_call(*this, message, std::move(body));
            return {};
        case wire::RESULT:
            if (worker == nullptr) return fail(Code::protocol, "a client has no results to give");
            switchboard_.on_node_result(*this, message.stream(), wire::outcome_of(message, std::move(body)));
            return {};
        case wire::CREDIT:
            if (message.channel() == wire::BODY) link_.grant(message.stream(), message.number());
            else if (worker == nullptr && message.channel() != wire::ITEMS) switchboard_.on_node_credit(*this, message.stream(), message.number());
            return {};
        case wire::CANCEL:
            if (worker == nullptr && message.source() == 0) switchboard_.on_node_cancel(*this, message.stream());
            return {};
        case wire::PING: {
            message.set_kind(wire::PONG);
            link_.send(message);
            return {};
        }
        case wire::GOODBYE:
            said_goodbye_ = true;
            return fail(Code::node_lost, "the peer said goodbye");
        default: return {};  // late messages of a call that is over, and features that this build does not know
    }
}

std::unique_ptr<Caller> Connection::release_caller() {
    auto fresh = std::make_unique<Caller>(caller_->principal(), link_);
    fresh->detach();
    return std::exchange(caller_, std::move(fresh));
}

void Connection::adopt(std::unique_ptr<Caller> caller) {
    caller_ = std::move(caller);
    caller_->attach(link_);
}

void Connection::greet_waiting() {
    if (!waiting_hello_) return;
    const wire::Hello hello = std::move(*waiting_hello_);
    waiting_hello_.reset();
    if (!greet(hello)) link_.close();
}

Result<void> Connection::greet(const wire::Hello& hello) {
    RH_TRY_VOID(rpc::check_features(hello));
    if (hello.role() == wire::CLIENT && !switchboard_.is_ready()) {
        if (waiting_hello_) return fail(Code::protocol, "a second HELLO on one connection");
        waiting_hello_ = hello;
        return {};
    }
    can_resume_ = rpc::can_resume(hello);
    RH_TRY_VOID(switchboard_.on_hello(*this, hello));
    greeted_.set();
    rpc::Message answer_message;
    answer_message.set_kind(wire::HELLO);
    wire::Hello& about = *answer_message.mutable_hello();
    about.set_role(wire::NODE);
    about.set_pid(static_cast<std::uint64_t>(::getpid()));
    about.set_software("roundhouse " ROUNDHOUSE_VERSION);
    about.set_keeper_pid(static_cast<std::uint64_t>(::getppid()));
    about.set_node(node_id());
    rpc::add_features(about);
    link_.send(answer_message);
    return {};
}

void Connection::on_room(std::uint64_t stream, std::uint64_t bytes) {
    rpc::Message credit;
    credit.set_kind(wire::CREDIT);
    credit.set_stream(stream);
    credit.set_number(bytes);
    link_.send(credit);
}

}  // namespace rh::daemon
