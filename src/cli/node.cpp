#include "cli/node.h"

#include <fmt/format.h>

#include <csignal>

#include "base/limits.h"
#include "cli/command.h"
#include "cli/screen.h"
#include "cli/signals.h"

namespace rh::cli {

namespace {

using client::WaitEnd;
using std::chrono::steady_clock;

class Printer final : public client::Waiter {
public:
    Printer(Screen& screen, const Called& called) : screen_(screen), called_(called) {}

    void on_output(Channel channel, std::string_view text) override {
        if (called_.prints == Prints::none) return;
        if (channel == Channel::err || called_.prints == Prints::err) {
            screen_.err(text);
        } else {
            screen_.out(text);
            screen_.flush();
        }
    }
    bool interrupted() override { return !called_.quietly_on_signal && signals_caught() != seen_; }
    void note() { seen_ = signals_caught(); }

private:
    Screen& screen_;
    const Called& called_;
    int seen_ = 0;
};

// After the node has been told of a cancel, it has this long to say how the call ended.
constexpr std::chrono::milliseconds k_patience = limits::k_cancel_grace + std::chrono::milliseconds(1000);

void print_items(client::Call& call, const Called& called) {
    for (client::Items& items : call.take_items()) {
        if (!called.on_item) continue;
        const auto parts = items.body.parts();
        if (items.batch) {
            for (const ByteView part : parts) called.on_item(part);
        } else {
            called.on_item(parts.empty() ? ByteView() : parts.front());
        }
    }
}

// Which makes a difference for scripts: it stopped because nobody reads, because it was told to, or by itself.
Error reason(const Screen& screen, Error otherwise) {
    if (screen.closed()) return interrupted_error(SIGPIPE);
    if (signals_caught() > 0) return interrupted_error(last_signal());
    return otherwise;
}

Result<Body> value_of(Outcome outcome, const Screen& screen, bool cancelled) {
    switch (outcome.kind) {
        case Outcome::Kind::returned: break;
        case Outcome::Kind::raised: return fail(raised_error(std::move(outcome.raised.type), std::move(outcome.raised.message), std::move(outcome.raised.traceback)));
        case Outcome::Kind::failed: return fail(cancelled && outcome.error.code != Code::node_lost ? reason(screen, std::move(outcome.error)) : std::move(outcome.error));
    }
    if (screen.closed()) return fail(interrupted_error(SIGPIPE));
    return std::move(outcome.body);
}

}  // namespace

Result<Node> Node::open(Place place, Screen& screen) {
    auto client = client::Client::connect({place.endpoint(), "roundhouse " ROUNDHOUSE_VERSION " command line", place.token, place.pin}, steady_clock::now() + limits::k_handshake_timeout);
    if (client) return Node(std::move(place), std::move(*client), screen);
    if (place.local ? !launch::is_up_local(place.cluster) : client.error().code == Code::node_lost) return fail(not_up(place));
    return fail(std::move(client.error()));
}

Result<Node> open_node(const std::string& name, Screen& screen) {
    RH_TRY(Place place, find_place(name));
    return Node::open(std::move(place), screen);
}

Result<Body> Node::call(const Called& called) {
    if (!called.quietly_on_signal && signals_caught() > 0) return fail(interrupted_error(last_signal()));
    std::vector<ByteView> parts;
    for (const std::string& part : called.parts) parts.push_back(as_byte_view(part));
    client::Request request{called.service, called.method, called.encoding, parts};
    request.deadline_ms = called.timeout_ms.value_or(0);
    // A method that is no generator takes no notice.
    if (called.on_item) request.prefetch = limits::k_prefetch_default;
    RH_TRY(const std::shared_ptr<client::Call> call, client_->start(request, nullptr));
    Printer printer(*screen_, called);
    client::Deadline leave_at;
    for (;;) {
        const WaitEnd end = call->wait_items(leave_at, printer);
        print_items(*call, called);
        screen_->flush();
        if (end == WaitEnd::done && call->done()) {
            print_items(*call, called);
            return value_of(call->take_outcome(), *screen_, leave_at.has_value());
        }
        if (end == WaitEnd::deadline || (end == WaitEnd::interrupted && leave_at)) {
            call->abandon(Error(Code::cancelled, "given up"));
            return fail(reason(*screen_, Error(Code::cancelled, "the call did not end in time after it was cancelled: it may still run there")));
        }
        if (!leave_at && (end == WaitEnd::interrupted || screen_->closed())) {
            printer.note();
            call->cancel(false);
            leave_at = steady_clock::now() + k_patience;
            if (!screen_->closed()) screen_->note("cancelling; Ctrl-C again leaves at once");
        }
    }
}

Result<Json> Node::ask(std::string_view method, const Json& request, const std::vector<std::string>& attachments, bool quietly_on_signal) {
    RH_TRY(std::string text, dump(request));
    Called called{"_node", std::string(method), {std::move(text)}};
    called.parts.insert(called.parts.end(), attachments.begin(), attachments.end());
    called.quietly_on_signal = quietly_on_signal;
    RH_TRY(const Body body, call(called));
    const auto parts = body.parts();
    if (parts.empty()) return Json();
    Json answer = Json::parse(as_text(parts.front()), nullptr, false);
    if (answer.is_discarded()) return fail(Code::protocol, fmt::format("cluster {} answered {} with something that is not JSON", place_.name, method));
    return answer;
}

Result<client::CodeSent> Node::send_code(const std::string& root) {
    const Called silent;
    Printer printer(*screen_, silent);
    printer.note();
    const auto told = [&](const client::CodeProgress& at) {
        screen_->progress(fmt::format("{} {}: {} of {} files ...", at.sending ? "sending" : "reading", root, at.files, at.files_all));
        return !printer.interrupted();
    };
    auto sent = client::send_code(*client_, {root, {}, {}}, printer, told);
    screen_->progress("");
    if (!sent && sent.error().code == Code::cancelled) return fail(reason(*screen_, std::move(sent.error())));
    return sent;
}

Result<std::string> dump(const Json& value) {
    try {
        return value.dump();
    } catch (const Json::exception&) {
        return fail(Code::bad_arguments, "an argument is not UTF-8 text. Try: put it into a file, and `roundhouse put`");
    }
}

std::string text_of(const Json& object, const char* key) {
    if (!object.is_object()) return {};
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_of(const Json& object, const char* key) {
    if (!object.is_object()) return 0;
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

}  // namespace rh::cli
