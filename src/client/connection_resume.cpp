// A connection that was lost (connection.h): made anew, and its calls resumed on it (protocol/wire.md, Resuming). All of it
// is the background thread's, while every other thread waits, or goes on with what needs no connection.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/deadline.h"
#include "base/limits.h"
#include "client/connection.h"
#include "net/transport.h"
#include "process/tree.h"
#include "wire/convert.h"

namespace rh::client {

namespace {

using Clock = std::chrono::steady_clock;
using Read = rpc::BlockingLink::Read;

// One frame of one message, taken apart again.
struct Taken final : wire::FrameDecoder::Sink {
    rpc::Message message;
    Bytes body;

    Result<void> on_message(rpc::Message& from, ByteView bytes) override {
        message.Swap(&from);
        body = Bytes(bytes);
        return {};
    }
};

}  // namespace

void Connection::broke(const Error& why) {
    {
        const std::scoped_lock lock(mutex_);
        if (lost_ || down_) return;
        if (link_->usable() && link_->peer_resumes() && !link_->is_final() && !closing_) {
            down_ = true;
            why_lost_ = why;
            poke(followers_);
            background_wake_.notify_one();
        }
        if (down_) {
            link_->shutdown();  // whoever reads, or waits to send, is to notice
            return;
        }
    }
    lose(why);
}

void Connection::make_anew(std::unique_lock<std::mutex>& lock) {
    reading_ = true;
    const Error why = why_lost_;
    const auto give_up = Clock::now() + limits::k_resume_grace;
    bool is_up = false;
    bool refused = false;
    bool is_another = false;
    Error last = why;
    const std::string node = link_->node();
    while (!lost_ && !is_up && !refused && Clock::now() < give_up) {
        lock.unlock();
        const Result<rpc::BlockingLink::Unsent> unsent = open_again();
        // A node that answers and will not have this client is not going to change its mind.
        // Nor does one that has taken its place know what became of the calls.
        is_another = unsent && !node.empty() && link_->node() != node;
        refused = is_another || (!unsent && (link_->is_final() || unsent.error().code == Code::not_allowed || node_is_gone()));
        if (!unsent) last = unsent.error();
        lock.lock();
        if (is_another) {
            link_->shutdown();
            for (const auto& [stream, kind] : *unsent) {
                if (const std::shared_ptr<Pending> call = find(stream); call != nullptr && kind == wire::CALL) call->sent_ = false;
            }
        } else if (unsent) {
            resume(lock, *unsent);
            is_up = true;
        } else if (!refused) {
            background_wake_.wait_for(lock, limits::k_resume_pause, [&] { return lost_; });
        }
    }
    reading_ = false;
    if (is_up) down_ = false;
    up_wake_.notify_all();
    poke(followers_);
    if (is_up) {
        // What came right behind the node's HELLO does not show at the socket any more.
        Read read = Read::progress;
        lead(lock, Clock::now(), false, read);
    }
    if (is_up || lost_) return;
    lock.unlock();
    std::string text = why.message;
    if (is_another) text += "; the node has ended, and another has taken its place";
    if (!refused)
        text += fmt::format("; the node could not be reached again within {} s: {}", std::chrono::duration_cast<std::chrono::seconds>(limits::k_resume_grace).count(), last.message);
    lose(Error(Code::node_lost, std::move(text)).with("started", "unknown"));
    lock.lock();
    down_ = false;
}

Result<rpc::BlockingLink::Unsent> Connection::open_again() {
    const auto deadline = Clock::now() + limits::k_handshake_timeout;
    RH_TRY(net::Transport transport, net::connect(endpoint_, options_.pin, deadline));
    rpc::Message again = hello();
    again.mutable_hello()->set_again(true);
    return link_->reopen(std::move(transport), again, deadline, upgrade_request());
}

// On this machine a node ends with its keeper; nobody would start its daemon again.
bool Connection::node_is_gone() const {
    if (is_remote() || link_->keeper_pid() == 0) return false;
    const auto keeper = static_cast<pid_t>(link_->keeper_pid());
    if (::kill(keeper, 0) != 0) return errno == ESRCH;
    const auto process = process::read_process(keeper);
    return process && process->is_zombie();
}

void Connection::resume(std::unique_lock<std::mutex>& lock, const rpc::BlockingLink::Unsent& unsent) {
    const Error why = why_lost_;
    std::vector<std::shared_ptr<Pending>> again;
    std::vector<std::shared_ptr<Pending>> calls;
    for (const auto& [stream, call] : calls_) calls.push_back(call);
    std::vector<rpc::Message> messages;
    for (const std::shared_ptr<Pending>& call : calls) {
        if (call->done_) continue;
        const auto cut = std::find_if(unsent.begin(), unsent.end(), [&](const auto& each) { return each.first == call->stream_; });
        const bool never_whole = cut != unsent.end() && cut->second == wire::CALL;
        if (call->for_node_ && !never_whole) {
            if (only_looks(*call)) {
                again.push_back(call);
            } else {
                finish(lock, *call, Outcome::failed(Error(Code::node_lost, fmt::format("{}; whether the node has done what it was asked is not known. Try: look what is there", why.message)).with("started", "unknown")));
            }
            continue;
        }
        if (never_whole || cut != unsent.end() || !call->sources_.empty() || call->sent_in_) {
            // The node hears nothing more of it, and so ends it.
            finish(lock, *call, Outcome::failed(Error(Code::node_lost, never_whole ? "the connection to the node was lost while the call was being sent"
                                                                                   : "the connection to the node was lost, and with it what was being sent into the call")
                                                    .with("started", never_whole ? "no" : "yes")));
            continue;
        }
        rpc::Message& message = messages.emplace_back(wire::message_of(wire::RESUME, call->stream_));
        message.set_sequence(call->stream_);
        message.set_output_number(call->output_number_);
        message.set_output_pending(call->pending_output_);
        message.set_followed_pending(call->pending_followed_);
        call->output_owed_ = 0;
        message.set_item_number(call->item_number_);
        message.set_items_granted(call->told_items_ = call->items_granted_);
        message.set_stdout_offset(call->file_offsets_[0]);
        message.set_stderr_offset(call->file_offsets_[1]);
        call->told_cancel_ = false;
    }
    for (const auto& [number, ping] : pings_) messages.emplace_back(wire::message_of(wire::PING, ping.stream)).set_number(number);
    messages.push_back(wire::message_of(wire::RESUME, 0));
    lock.unlock();
    // A connection that is lost again shows itself to the next reader.
    for (rpc::Message& message : messages) static_cast<void>(link_->send(message));
    lock.lock();
    for (const auto& call : again) send_frame_again(lock, call);
    while (catch_up(lock)) {
    }
}

// What was to be said of calls while that could not be done. True when something was, and there may be more by now.
bool Connection::catch_up(std::unique_lock<std::mutex>& lock) {
    std::vector<rpc::Message> messages;
    const auto grant = [&](const Pending& call, wire::Channel channel, std::uint64_t bytes) {
        if (bytes == 0) return;
        rpc::Message& credit = messages.emplace_back(wire::message_of(wire::CREDIT, call.stream_));
        credit.set_channel(channel);
        credit.set_number(bytes);
    };
    for (const auto& [stream, call] : calls_) {
        grant(*call, wire::STDOUT, std::exchange(call->output_owed_, 0));
        grant(*call, wire::ITEMS, call->items_granted_ - std::exchange(call->told_items_, call->items_granted_));
        if (!call->cancel_asked_ || std::exchange(call->told_cancel_, true)) continue;
        messages.emplace_back(wire::message_of(wire::CANCEL, stream)).set_kill(call->kill_asked_);
    }
    if (messages.empty()) return false;
    lock.unlock();
    for (rpc::Message& message : messages) static_cast<void>(link_->send(message));
    lock.lock();
    return true;
}

bool Connection::send_again(const rpc::Message& answer) {
    const Error error = wire::error_of(answer);
    if (error.code != Code::node_lost || error.fact("never_began").empty()) return false;
    std::unique_lock lock(mutex_);
    const std::shared_ptr<Pending> call = find(answer.stream());
    return call != nullptr && !call->cancel_asked_ && send_frame_again(lock, call);
}

bool Connection::send_frame_again(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Pending>& call) {
    Taken taken;
    wire::FrameDecoder decoder;
    if (call->frame_.empty() || !decoder.feed(call->frame_.view(), taken)) return false;
    if (call->due_) taken.message.set_deadline_ms(left_ms(*call->due_));
    taken.message.set_attempt(taken.message.attempt() + 1);
    // Of what the node prints for it only the rest is wanted.
    if (call->for_node_) taken.message.set_output_number(call->output_number_);
    const std::uint64_t asked = std::exchange(call->items_granted_, 0);  // for the first item of what has not begun
    call->told_items_ = 0;
    call->sent_ = true;
    lock.unlock();
    // A connection that is lost again shows itself to the next reader.
    static_cast<void>(link_->send(taken.message, taken.body.view()));
    if (asked != 0) grant_items(*call, asked);
    lock.lock();
    return true;
}

// What has no effect can be asked again, and so can a start: workers that nobody has deployed to end with their client's connection.
// A run is found by its name when it is asked for again, unless it is to be made anew.
bool Connection::only_looks(const Pending& call) {
    static constexpr std::string_view k_looks[] = {"describe", "status", "processes", "listening", "tokens", "start", "run_get", "run_list", "run_logs", "run_result"};
    Taken taken;
    wire::FrameDecoder decoder;
    if (call.frame_.empty() || !decoder.feed(call.frame_.view(), taken)) return false;
    if (taken.message.method() == "run_start" && taken.message.parts_size() != 0) {
        const auto request = nlohmann::json::parse(as_text(taken.body.view().first(std::min<std::size_t>(taken.message.parts(0), taken.body.size()))), nullptr, false);
        return request.is_object() && request.value("replace", false) == false;
    }
    return std::find(std::begin(k_looks), std::end(k_looks), taken.message.method()) != std::end(k_looks);
}

void Connection::has_taken(std::uint64_t stream) {
    rpc::Message message = wire::message_of(wire::TAKEN, stream);
    message.set_sequence(stream);
    static_cast<void>(link_->send(message));
}

}  // namespace rh::client
