#include "daemon/local_calls.h"

#include <algorithm>

#include "base/bug.h"
#include "base/limits.h"
#include "wire/convert.h"

namespace rh::daemon {

namespace {

constexpr std::string_view k_node = "_node";

}  // namespace

class LocalCall final : public Call {
public:
    LocalCall(LocalCalls& calls, std::uint64_t stream, std::function<void()> bell) : calls_(calls), stream_(stream), bell_(std::move(bell)) { calls_.calls_[stream_] = this; }
    LocalCall(const LocalCall&) = delete;
    LocalCall& operator=(const LocalCall&) = delete;
    ~LocalCall() override {
        cancel(false);
        calls_.calls_.erase(stream_);
    }

    void begin(CallRequest request, ByteView first);
    void resume(const OutputPlace& has);

    std::optional<CallEvent> next() override {
        if (events_.empty()) return std::nullopt;
        std::optional<CallEvent> event = std::move(events_.front());
        events_.pop_front();
        return event;
    }
    std::uint64_t room() const override { return std::min(window_, unsent_); }
    void send(ByteView bytes) override;
    void took_body(std::uint64_t bytes) override {
        ungranted_body_ += bytes;
        // When the body is whole nothing more is granted.
        if (body_left_ == 0) ungranted_body_ = 0;
        if (ungranted_body_ >= limits::k_body_window_bytes / 4) grant(wire::BODY, std::exchange(ungranted_body_, 0));
    }
    void took_output(std::uint64_t bytes) override {
        ungranted_output_ += bytes;
        if (ungranted_output_ >= limits::k_output_window_bytes / 4) grant(wire::STDOUT, std::exchange(ungranted_output_, 0));
    }
    void took_item(const CallEvent& item) override;
    void cancel(bool kill) override {
        // Once more only to ask for more.
        if (ended_ || (cancelled_ && (kill_ || !kill))) return;
        cancelled_ = true;
        kill_ = kill_ || kill;
        rpc::Message message = wire::message_of(wire::CANCEL, stream_);
        message.set_kill(kill_);
        if (!calls_.router_.from_client(calls_.caller_, message, {})) calls_.owner_.cancel_ask(calls_.caller_, stream_);
    }

    void settle() override {
        rpc::Message message = wire::message_of(wire::TAKEN, stream_);
        message.set_sequence(stream_);
        calls_.router_.from_client(calls_.caller_, message, {});
    }

    void on_message(rpc::Message& message, ByteView body);
    void on_outcome(Outcome outcome);

private:
    void grant(wire::Channel channel, std::uint64_t number) {
        if (ended_) return;
        rpc::Message message = wire::message_of(wire::CREDIT, stream_);
        message.set_channel(channel);
        message.set_number(number);
        if (!calls_.router_.from_client(calls_.caller_, message, {}) && channel == wire::STDOUT) calls_.owner_.credit_ask(calls_.caller_, stream_, number);
    }
    void ask_node();
    void add(CallEvent event) {
        events_.push_back(std::move(event));
        bell_();
    }
    void begin_body(rpc::Message& message, ByteView body, CallEvent::Kind kind);

    LocalCalls& calls_;
    const std::uint64_t stream_;
    const std::function<void()> bell_;
    std::deque<CallEvent> events_;
    std::uint64_t unsent_ = 0;  // of the call's own body
    std::uint64_t window_ = limits::k_body_window_bytes;
    std::uint64_t body_left_ = 0;  // of the one that comes
    std::uint64_t ungranted_body_ = 0;
    std::uint64_t ungranted_output_ = 0;
    std::uint64_t ungranted_items_ = 0;
    std::uint64_t item_cost_min_ = 1;
    OutputPlace place_;
    bool kill_ = false;
    bool cancelled_ = false;
    bool result_begun_ = false;
    bool ended_ = false;
    // Of a call to the node itself, which begins once its body is whole.
    bool for_node_ = false;
    std::string method_;
    Body body_;
    std::uint64_t deadline_ms_ = 0;
};

void LocalCall::begin(CallRequest request, ByteView first) {
    kill_ = request.kill;
    item_cost_min_ = limits::k_items_window_bytes / std::max<std::uint32_t>(request.prefetch, 1);
    std::uint64_t whole = 0;
    for (const std::uint64_t part : request.part_bytes) whole += part;
    RH_CHECK(first.size() <= std::min<std::uint64_t>(whole, limits::k_chunk_bytes));
    unsent_ = whole - first.size();
    for_node_ = request.service == k_node;
    if (for_node_) {
        method_ = std::move(request.method);
        deadline_ms_ = request.deadline_ms;
        body_.encoding = request.encoding;
        body_.part_bytes = std::move(request.part_bytes);
        body_.bytes.append(first);
        // All of it is kept here in any case.
        window_ = whole;
        if (unsent_ == 0) ask_node();
        return;
    }
    window_ -= first.size();
    rpc::Message message = wire::message_of(wire::CALL, stream_);
    message.set_service(std::move(request.service));
    message.set_method(std::move(request.method));
    message.set_encoding(static_cast<wire::Encoding>(request.encoding));
    for (const std::uint64_t part : request.part_bytes) message.add_parts(part);
    message.set_deadline_ms(request.deadline_ms);
    message.set_kill(request.kill);
    message.set_prefetch(request.prefetch);
    if (!calls_.caller_.session.empty()) message.set_sequence(stream_);
    calls_.router_.from_client(calls_.caller_, message, first);
}

void LocalCall::resume(const OutputPlace& has) {
    place_ = has;
    rpc::Message message = wire::message_of(wire::RESUME, stream_);
    message.set_sequence(stream_);
    message.set_output_number(has.number);
    message.set_stdout_offset(has.file_offsets[0]);
    message.set_stderr_offset(has.file_offsets[1]);
    rpc::Message all = wire::message_of(wire::RESUME, 0);
    for (rpc::Message* const each : {&message, &all}) calls_.router_.from_client(calls_.caller_, *each, {});
}

void LocalCall::ask_node() {
    calls_.caller_.asking.insert(stream_);
    Asker asker;
    asker.caller = &calls_.caller_;
    asker.stream = stream_;
    asker.alive = calls_.alive_;
    asker.deadline_ms = deadline_ms_;
    asker.kill = kill_;
    asker.principal = calls_.caller_.principal();
    calls_.owner_.ask_node(std::move(asker), std::move(method_), std::move(body_));
}

void LocalCall::send(ByteView bytes) {
    RH_CHECK(bytes.size() <= room());
    unsent_ -= bytes.size();
    if (ended_) return;
    if (for_node_) {
        body_.bytes.append(bytes);
        if (unsent_ == 0) ask_node();
        return;
    }
    window_ -= bytes.size();
    while (!bytes.empty()) {
        const ByteView chunk = bytes.first(std::min(bytes.size(), limits::k_chunk_bytes));
        bytes = bytes.subspan(chunk.size());
        rpc::Message message = wire::message_of(wire::CHUNK, stream_);
        calls_.router_.from_client(calls_.caller_, message, chunk);
    }
}

void LocalCall::took_item(const CallEvent& item) {
    std::uint64_t cost = 0;
    if (item.batch) {
        for (const std::uint64_t bytes : item.outcome.body.part_bytes) cost += std::max(bytes, item_cost_min_);
    } else {
        for (const std::uint64_t bytes : item.outcome.body.part_bytes) cost += bytes;
        cost = std::max(cost, item_cost_min_);
    }
    ungranted_items_ += cost;
    if (ungranted_items_ >= limits::k_items_window_bytes / 4) grant(wire::ITEMS, std::exchange(ungranted_items_, 0));
}

void LocalCall::begin_body(rpc::Message& message, ByteView body, CallEvent::Kind kind) {
    // The router has checked that it fits what it announces.
    const Result<std::uint64_t> whole = wire::whole_body_bytes(message);
    if (!whole) return;
    Body announced;
    wire::take_description(message, announced);
    CallEvent event;
    event.kind = kind;
    event.batch = message.batch();
    event.outcome = wire::outcome_of(message, std::move(announced));
    event.bytes.append(body);
    body_left_ = *whole - body.size();
    ungranted_body_ = 0;
    if (kind == CallEvent::Kind::result) {
        result_begun_ = true;
        ended_ = body_left_ == 0;
    }
    add(std::move(event));
}

void LocalCall::on_message(rpc::Message& message, ByteView body) {
    if (ended_) return;
    switch (message.kind()) {
        case wire::RESULT: return begin_body(message, body, CallEvent::Kind::result);
        case wire::ITEM: return begin_body(message, body, CallEvent::Kind::item);
        case wire::CHUNK: {
            body_left_ -= std::min<std::uint64_t>(body_left_, body.size());
            if (body_left_ == 0 && result_begun_) ended_ = true;
            if (!events_.empty() && events_.back().kind == CallEvent::Kind::more) {
                events_.back().bytes.append(body);
                return bell_();
            }
            CallEvent event;
            event.kind = CallEvent::Kind::more;
            event.bytes.append(body);
            return add(std::move(event));
        }
        case wire::ABORT: {
            CallEvent event;
            event.kind = CallEvent::Kind::aborted;
            event.outcome = Outcome::failed(wire::error_of(message));
            // An item alone may be given up, and the result still comes; whoever reads it cannot go on behind half an item.
            if (message.channel() == wire::ITEMS) cancel(false);
            ended_ = true;
            return add(std::move(event));
        }
        case wire::OUTPUT: {
            const auto channel = message.channel() == wire::STDERR ? Channel::err : Channel::out;
            if (message.number() != 0) place_.number = message.number();
            if (message.stdout_offset() != 0) place_.file_offsets[0] = message.stdout_offset();
            if (message.stderr_offset() != 0) place_.file_offsets[1] = message.stderr_offset();
            if (!events_.empty() && events_.back().kind == CallEvent::Kind::output && events_.back().channel == channel) {
                events_.back().bytes.append(body);
                events_.back().place = place_;
                return bell_();
            }
            CallEvent event;
            event.channel = channel;
            event.place = place_;
            event.bytes.append(body);
            return add(std::move(event));
        }
        case wire::CREDIT:
            if (message.channel() != wire::BODY) return;
            window_ = std::min<std::uint64_t>(window_ + std::min<std::uint64_t>(message.number(), limits::k_body_window_bytes), limits::k_body_window_bytes);
            return bell_();
        default: return;
    }
}

void LocalCall::on_outcome(Outcome outcome) {
    if (ended_) return;
    ended_ = true;
    CallEvent event;
    event.kind = CallEvent::Kind::result;
    event.bytes = std::exchange(outcome.body.bytes, Bytes());
    event.outcome = std::move(outcome);
    add(std::move(event));
}

LocalCalls::LocalCalls(Principal principal, Router& router, Owner& owner)
    : router_(router), owner_(owner), caller_(std::move(principal), *this), alive_(std::make_shared<bool>(true)) {}

LocalCalls::LocalCalls(Principal principal, std::string session, std::uint64_t first_stream, Router& router, Owner& owner) : LocalCalls(std::move(principal), router, owner) {
    caller_.session = std::move(session);
    next_stream_ = first_stream;
}

LocalCalls::~LocalCalls() {
    *alive_ = false;
    owner_.drop_caller(caller_);
}

std::unique_ptr<Call> LocalCalls::open(CallRequest request, ByteView first, std::function<void()> bell) {
    auto call = std::make_unique<LocalCall>(*this, next_stream_++, std::move(bell));
    call->begin(std::move(request), first);
    return call;
}

std::unique_ptr<Call> LocalCalls::resume(std::uint64_t stream, const OutputPlace& has, std::function<void()> bell) {
    auto call = std::make_unique<LocalCall>(*this, stream, std::move(bell));
    call->resume(has);
    return call;
}

void LocalCalls::on_message(rpc::Message& message, ByteView body) {
    if (const auto found = calls_.find(message.stream()); found != calls_.end()) found->second->on_message(message, body);
}

void LocalCalls::on_outcome(std::uint64_t stream, Outcome outcome) {
    if (const auto found = calls_.find(stream); found != calls_.end()) found->second->on_outcome(std::move(outcome));
}

}  // namespace rh::daemon
