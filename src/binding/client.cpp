#include "binding/client.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>
#include <pthread.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "binding/buffers.h"
#include "binding/errors.h"
#include "binding/gil.h"
#include "client/client.h"
#include "client/code.h"

namespace rh::binding {

namespace {

using Clock = std::chrono::steady_clock;
using client::Deadline;
using client::WaitEnd;

// The node ends a call that is late; this much later it is given up from here, in case the node cannot.
constexpr std::chrono::milliseconds k_node_grace = limits::k_cancel_grace + std::chrono::milliseconds{1'500};
constexpr std::chrono::milliseconds k_progress_pause{50};
// What must outlive every single client; never destroyed, because threads that the exit leaves behind may still be at work.
// Touched with the GIL only.
std::vector<std::weak_ptr<client::Client>>& all_clients = *new std::vector<std::weak_ptr<client::Client>>;

// Python objects that the engine let go of on some thread, perhaps under a lock of its own, where taking the GIL could
// deadlock. The next thread that has the GIL anyway drops them.
class Dropped {
public:
    void add(PyObject* object) {
        const std::lock_guard lock(mutex_);
        objects_.push_back(object);
        any_.store(true, std::memory_order_release);
    }
    void drop() {
        if (!any_.load(std::memory_order_acquire)) return;
        std::vector<PyObject*> objects;
        {
            const std::lock_guard lock(mutex_);
            objects.swap(objects_);
            any_.store(false, std::memory_order_release);
        }
        for (PyObject* object : objects) Py_XDECREF(object);
    }

private:
    std::mutex mutex_;
    std::vector<PyObject*> objects_;
    std::atomic<bool> any_{false};
};
Dropped& dropped = *new Dropped;

Deadline deadline_after(nb::handle timeout) {
    if (timeout.is_none()) return std::nullopt;
    const double seconds = PyFloat_AsDouble(timeout.ptr());
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
    // A year is for ever, and far from where the clock's numbers end.
    const double bounded = seconds < 0 ? 0 : (seconds > 3.2e7 ? 3.2e7 : seconds);
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(bounded));
}

// Waits for the thread that made it, whose GIL is released meanwhile.
class PyWaiter final : public client::Waiter {
public:
    explicit PyWaiter(nb::handle on_output) : on_output_(on_output) {}

    void on_output(Channel channel, std::string_view text) override {
        if (on_output_.is_none()) return;
        const WithGil gil;
        if (!gil || error_) return;
        try {
            on_output_(static_cast<int>(channel), nb::bytes(text.data(), text.size()));
        } catch (nb::python_error& error) {
            // A broken screen or Ctrl-C in the middle of a line; the wait ends at its next look.
            error_ = std::make_unique<nb::python_error>(std::move(error));
        }
    }

    bool interrupted() override {
        if (error_) return true;
        const WithGil gil;
        if (!gil) return true;
        if (PyErr_CheckSignals() == 0) return false;
        error_ = std::make_unique<nb::python_error>();
        return true;
    }

    // False when it raised, or a signal's handler did.
    template <class... Args>
    bool call(nb::handle function, Args... args) {
        if (error_) return false;
        const WithGil gil;
        if (!gil) return false;
        try {
            if (!function.is_none()) function(args...);
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
        } catch (nb::python_error& error) {
            error_ = std::make_unique<nb::python_error>(std::move(error));
        }
        return error_ == nullptr;
    }

    bool failed() const { return error_ != nullptr; }
    // Throws what the wait was interrupted by. Needs the GIL.
    void rethrow() {
        if (!error_) return;
        nb::python_error error = std::move(*error_);
        error_.reset();
        throw error;
    }

private:
    nb::handle on_output_;
    std::unique_ptr<nb::python_error> error_;
};

// Without the GIL.
WaitEnd wait_for(client::Call& call, Deadline deadline, PyWaiter& waiter) {
    const WaitEnd end = call.wait(deadline, waiter);
    return waiter.failed() ? WaitEnd::interrupted : end;
}

Error late_error(const Error& cancelled) {
    Error late(Code::timeout, "the call did not end within its timeout and was cancelled");
    late.context = cancelled.context;
    if (late.fact("still_running").empty()) late.context.emplace_back("still_running", "False");
    return late;
}

Error no_answer_error() {
    return Error(Code::timeout, "the call did not end within its timeout, and its node says nothing about it")
        .with("still_running", "True")
        .with("started", "unknown");
}

// (kind, encoding, parts, raised) of an outcome; one of ours is raised.
nb::tuple python_outcome(Outcome outcome) {
    if (outcome.kind == Outcome::Kind::failed) raise(outcome.error);
    const int encoding = static_cast<int>(outcome.body.encoding);
    nb::object raised = nb::none();
    if (outcome.kind == Outcome::Kind::raised) {
        const auto text = [](const std::string& from) {
            return nb::steal(PyUnicode_DecodeUTF8(from.data(), static_cast<Py_ssize_t>(from.size()), "replace"));
        };
        raised =
            nb::make_tuple(text(outcome.raised.type), text(outcome.raised.message), text(outcome.raised.traceback));
    }
    return nb::make_tuple(static_cast<int>(outcome.kind), encoding, python_parts(std::move(outcome.body)), raised);
}

// Tells Python about a call that nobody waits for, from whichever thread reads.
class PyObserver final : public client::Observer {
public:
    PyObserver(nb::object on_output, nb::object on_done, nb::object on_items)
        : on_output_(taken(std::move(on_output))), on_done_(taken(std::move(on_done))), on_items_(taken(std::move(on_items))) {}
    ~PyObserver() override {
        for (PyObject* const object : {on_output_, on_done_, on_items_}) {
            if (object != nullptr) dropped.add(object);
        }
    }

    void on_output(Channel channel, std::string_view text) override {
        if (on_output_ == nullptr || is_exiting()) return;
        const WithGil gil;
        if (!gil) return;
        try {
            nb::handle{on_output_}(static_cast<int>(channel), nb::bytes(text.data(), text.size()));
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("showing the output of a call");
        }
    }
    void on_done() override { tell(on_done_, "telling that a call is done"); }
    void on_items() override { tell(on_items_, "telling that a stream has items"); }

private:
    static PyObject* taken(nb::object object) { return object.is_none() ? nullptr : object.release().ptr(); }
    static void tell(PyObject* whom, const char* what) {
        if (whom == nullptr || is_exiting()) return;
        const WithGil gil;
        if (!gil) return;
        try {
            nb::handle{whom}();
        } catch (nb::python_error& error) {
            error.discard_as_unraisable(what);
        }
    }

    PyObject* on_output_;
    PyObject* on_done_;
    PyObject* on_items_;
};

// Encoding, parts, and whether each part is an item of its own.
nb::object python_items(client::Items items) {
    const int encoding = static_cast<int>(items.body.encoding);
    if (!items.batch) return nb::make_tuple(encoding, python_parts(std::move(items.body)), false);
    nb::object list = nb::steal(PyList_New(static_cast<Py_ssize_t>(items.body.part_bytes.size())));
    if (!list.is_valid()) throw nb::python_error();
    const char* at = reinterpret_cast<const char*>(items.body.bytes.data());
    for (std::size_t i = 0; i < items.body.part_bytes.size(); ++i) {
        const auto size = static_cast<Py_ssize_t>(items.body.part_bytes[i]);
        PyObject* const part = PyBytes_FromStringAndSize(at, size);
        if (part == nullptr) throw nb::python_error();
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), part);
        at += size;
    }
    return nb::make_tuple(encoding, list, true);
}

client::Sent sent_from(int kind, int encoding, nb::handle parts, nb::handle raised) {
    if (kind < 0 || kind > 2) throw nb::value_error("the kind of what is sent is 0, 1 or 2");
    client::Sent sent;
    sent.kind = static_cast<client::Sent::Kind>(kind);
    sent.body = copy_body(encoding_from(encoding), parts);
    if (!raised.is_none()) {
        sent.raised = Raised{nb::cast<std::string>(raised[0]), nb::cast<std::string>(raised[1]), nb::cast<std::string>(raised[2])};
    }
    return sent;
}

// Texts that are read during a call of the engine only.
class Texts {
public:
    explicit Texts(nb::handle sequence) {
        for (const nb::handle text : sequence) {
            owners_.push_back(nb::borrow(text));
            views_.push_back(utf8(text));
        }
    }
    std::span<const std::string_view> views() const { return views_; }

private:
    std::vector<nb::object> owners_;
    std::vector<std::string_view> views_;
};

double seconds(std::chrono::microseconds time) { return std::chrono::duration<double>(time).count(); }

class PyCall {
public:
    PyCall(std::shared_ptr<client::Call> call, nb::object on_output)
        : call_(std::move(call)), on_output_(std::move(on_output)) {}

    bool done() const { return call_->done(); }
    std::uint64_t stream() const { return call_->stream(); }

    bool wait(nb::object timeout) {
        // While somebody waits, the output is the waiting thread's to show.
        PyWaiter waiter(on_output_);
        const Deadline deadline = deadline_after(timeout);
        WaitEnd end;
        {
            const WithoutGil released;
            end = wait_for(*call_, deadline, waiter);
        }
        waiter.rethrow();
        return end == WaitEnd::done;
    }

    nb::tuple take() { return python_outcome(call_->take_outcome()); }

    void cancel(bool kill) {
        const WithoutGil released;
        call_->cancel(kill);
    }

    void abandon() {
        const WithoutGil released;
        call_->abandon(Error(Code::cancelled, "the call was given up by its caller").with("still_running", "True"));
    }

    nb::object next_items(nb::object timeout) {
        PyWaiter waiter(on_output_);
        const Deadline deadline = deadline_after(timeout);
        {
            const WithoutGil released;
            call_->wait_items(deadline, waiter);
        }
        waiter.rethrow();
        return poll_items();
    }

    nb::object poll_items() {
        dropped.drop();
        // Asked before the items are taken, so that none can come between and be lost.
        const bool done = call_->done();
        std::vector<client::Items> taken;
        {
            const WithoutGil released;
            taken = call_->take_items();
        }
        if (taken.empty() && done) return nb::none();
        nb::list list;
        for (client::Items& items : taken) list.append(python_items(std::move(items)));
        return list;
    }

    void ask() {
        const WithoutGil released;
        call_->ask();
    }

    bool send_item(std::uint32_t source, int kind, int encoding, nb::object parts, nb::object raised) {
        client::Sent sent = sent_from(kind, encoding, parts, raised);
        const WithoutGil released;
        return call_->send_item(source, std::move(sent));
    }

    bool await_room(std::uint32_t source) {
        const WithoutGil released;
        return call_->wait_room(source);
    }

    void observe(nb::object on_output, nb::object on_done, nb::object on_items) {
        on_output_ = on_output;
        auto observer = std::make_shared<PyObserver>(std::move(on_output), std::move(on_done), std::move(on_items));
        const WithoutGil released;
        call_->observe(std::move(observer));
    }

    double ping(nb::object timeout) {
        const Deadline deadline = deadline_after(timeout);
        std::optional<Result<std::chrono::microseconds>> time;
        {
            const WithoutGil released;
            time = call_->ping(deadline);
        }
        return seconds(unwrap(std::move(*time)));
    }

private:
    std::shared_ptr<client::Call> call_;
    nb::object on_output_;
};

class PyClient {
public:
    explicit PyClient(std::shared_ptr<client::Client> client) : client_(std::move(client)), pid_(::getpid()) {}

    ~PyClient() {
        if (!client_) return;
        if (pid_ != ::getpid()) {
            // A forked child has none of the client's threads: there is nothing that could be joined or closed.
            new std::shared_ptr<client::Client>(std::move(client_));
            return;
        }
        const WithoutGil released;
        client_->close();
        client_.reset();
    }
    PyClient(const PyClient&) = delete;
    PyClient& operator=(const PyClient&) = delete;

    nb::tuple call(nb::str service, nb::str method, int encoding, nb::object parts, nb::object on_output,
                   nb::object timeout, bool kill, nb::object parents) {
        dropped.drop();
        const BorrowedParts borrowed(parts);
        const Texts texts(parents);
        const Deadline deadline = deadline_after(timeout);
        client::Request request = make_request(service, method, encoding, borrowed, deadline);
        request.kill = kill;
        request.parents = texts.views();
        PyWaiter waiter(on_output);
        std::shared_ptr<client::Call> call;
        std::optional<Error> error;
        bool late = false;
        {
            const WithoutGil released;
            auto started = client_->start(request, nullptr);
            if (!started) {
                error = std::move(started.error());
            } else {
                call = std::move(*started);
                WaitEnd end = wait_for(*call, deadline, waiter);
                if (end == WaitEnd::deadline) {
                    // The node counts as well, and ends the call; which of the two is first does not matter.
                    late = true;
                    call->cancel(kill);
                    end = wait_for(*call, *deadline + k_node_grace, waiter);
                    if (end == WaitEnd::deadline) call->abandon(no_answer_error());
                }
                if (end == WaitEnd::interrupted) {
                    call->cancel(false);
                    call->abandon(Error(Code::cancelled, "the caller was interrupted"));
                }
            }
        }
        waiter.rethrow();
        if (error) raise(*error);
        Outcome outcome = call->take_outcome();
        if (late && outcome.error.code == Code::cancelled) outcome.error = late_error(outcome.error);
        return python_outcome(std::move(outcome));
    }

    PyCall start(nb::str service, nb::str method, int encoding, nb::object parts, nb::object on_output,
                 nb::object on_done, nb::object timeout, bool kill, nb::object parents, int prefetch, bool observed) {
        dropped.drop();
        const BorrowedParts borrowed(parts);
        const Texts texts(parents);
        client::Request request = make_request(service, method, encoding, borrowed, deadline_after(timeout));
        request.kill = kill;
        request.parents = texts.views();
        if (prefetch >= 0) request.prefetch = static_cast<std::uint32_t>(prefetch);
        std::shared_ptr<PyObserver> observer;
        if (observed) observer = std::make_shared<PyObserver>(on_output, std::move(on_done), nb::none());
        std::optional<Result<std::shared_ptr<client::Call>>> started;
        request.gather = observed && borrowed.byte_count() <= limits::k_gather_bytes;
        if (request.gather) {
            // Only queued: to let go of the GIL would cost more. But where another thread is waiting for the node to
            // read, it would be held for as long as the node does not, and nothing in this process would run.
            std::optional<WithoutGil> waiting;
            request.before_wait = [&waiting] { waiting.emplace(); };
            started = client_->start(request, std::move(observer));
            waiting.reset();
            if (client_->flush_wanted()) {
                const WithoutGil released;
                client_->flush();
            }
        } else {
            const WithoutGil released;
            started = client_->start(request, std::move(observer));
        }
        return PyCall(unwrap(std::move(*started)), std::move(on_output));
    }

    double ping(nb::object timeout) {
        const Deadline deadline = deadline_after(timeout);
        std::optional<Result<std::chrono::microseconds>> time;
        {
            const WithoutGil released;
            time = client_->ping(deadline);
        }
        return seconds(unwrap(std::move(*time)));
    }

    bool alive() const { return pid_ == ::getpid() && client_->alive(); }

    void close() {
        if (pid_ != ::getpid()) return;
        const WithoutGil released;
        client_->close();
    }

    std::string session() const { return client_->session(); }

    // Its id, how many files and bytes it has, how many of them were sent, what was left out, and how much more.
    nb::tuple send_code(std::string root, std::vector<std::string> also, std::optional<std::vector<std::string>> files, nb::object on_progress) {
        dropped.drop();
        PyWaiter waiter{nb::none()};
        // Told of each file it would cost more than the file.
        Clock::time_point next = Clock::now() + k_progress_pause;
        const auto told = [&](const client::CodeProgress& at) {
            if (Clock::now() < next) return true;
            next = Clock::now() + k_progress_pause;
            return waiter.call(on_progress, at.sending, at.files, at.files_all, at.bytes, at.bytes_all);
        };
        const client::CodeWanted wanted{std::move(root), std::move(also), std::move(files)};
        std::optional<Result<client::CodeSent>> sent;
        {
            const WithoutGil released;
            sent = client::send_code(*client_, wanted, waiter, told);
        }
        waiter.rethrow();
        const client::CodeSent done = unwrap(std::move(*sent));
        return nb::make_tuple(done.snapshot, done.files, done.bytes, done.sent_files, done.sent_bytes, done.left_out, done.left_out_more);
    }

    std::string fetch_code(const std::string& snapshot) {
        dropped.drop();
        PyWaiter waiter{nb::none()};
        std::optional<Result<std::string>> path;
        {
            const WithoutGil released;
            path = client::fetch_code(*client_, snapshot, waiter);
        }
        waiter.rethrow();
        return unwrap(std::move(*path));
    }

private:
    static client::Request make_request(nb::str& service, nb::str& method, int encoding, const BorrowedParts& parts,
                                        Deadline deadline) {
        client::Request request;
        request.service = utf8(service);
        request.method = utf8(method);
        request.encoding = encoding_from(encoding);
        request.parts = parts.views();
        if (deadline) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
            request.deadline_ms = left > 0 ? static_cast<std::uint64_t>(left) : 1;
        }
        return request;
    }

    std::shared_ptr<client::Client> client_;
    pid_t pid_;
};

std::unique_ptr<PyClient> connect(const std::string& endpoint, const std::string& software, nb::object timeout, const std::string& token, const std::string& pin) {
    if (is_exiting()) raise(Error(Code::node_lost, "the interpreter is exiting: no new connection is made"));
    const Deadline deadline = deadline_after(timeout);
    std::optional<Result<std::shared_ptr<client::Client>>> connected;
    {
        const WithoutGil released;
        connected = client::Client::connect({endpoint, software, token, pin}, deadline);
    }
    std::shared_ptr<client::Client> client = unwrap(std::move(*connected));
    std::erase_if(all_clients, [](const auto& known) { return known.expired(); });
    all_clients.push_back(client);
    return std::make_unique<PyClient>(std::move(client));
}

// Registered with atexit: afterwards no thread of the engine touches Python.
void close_all() {
    begin_exit();
    std::vector<std::shared_ptr<client::Client>> clients;
    for (const auto& known : all_clients) {
        if (auto client = known.lock()) clients.push_back(std::move(client));
    }
    all_clients.clear();
    const WithoutGil released;
    for (const auto& client : clients) {
        if (client->alive()) client->close();
    }
    await_takers();
}

}  // namespace

void bind_client(nb::module_& module) {
    nb::class_<PyCall>(module, "Call")
        .def("done", &PyCall::done)
        .def("stream", &PyCall::stream)
        .def("wait", &PyCall::wait, nb::arg("timeout") = nb::none())
        .def("take", &PyCall::take)
        .def("cancel", &PyCall::cancel, nb::arg("kill") = false)
        .def("abandon", &PyCall::abandon)
        .def("next_items", &PyCall::next_items, nb::arg("timeout") = nb::none())
        .def("poll_items", &PyCall::poll_items)
        .def("ask", &PyCall::ask)
        .def("send_item", &PyCall::send_item, nb::arg("source"), nb::arg("kind"), nb::arg("encoding"), nb::arg("parts"),
             nb::arg("raised") = nb::none())
        .def("await_room", &PyCall::await_room, nb::arg("source"))
        .def("observe", &PyCall::observe, nb::arg("on_output") = nb::none(), nb::arg("on_done") = nb::none(),
             nb::arg("on_items") = nb::none())
        .def("ping", &PyCall::ping, nb::arg("timeout") = nb::none());
    nb::class_<PyClient>(module, "Client")
        .def("call", &PyClient::call, nb::arg("service"), nb::arg("method"), nb::arg("encoding"), nb::arg("parts"),
             nb::arg("on_output") = nb::none(), nb::arg("timeout") = nb::none(), nb::arg("kill") = false,
             nb::arg("parents") = nb::make_tuple())
        .def("start", &PyClient::start, nb::arg("service"), nb::arg("method"), nb::arg("encoding"), nb::arg("parts"),
             nb::arg("on_output") = nb::none(), nb::arg("on_done") = nb::none(), nb::arg("timeout") = nb::none(),
             nb::arg("kill") = false, nb::arg("parents") = nb::make_tuple(), nb::arg("prefetch") = -1,
             nb::arg("observed") = true)
        .def("ping", &PyClient::ping, nb::arg("timeout") = nb::none())
        .def("alive", &PyClient::alive)
        .def("close", &PyClient::close)
        .def("session", &PyClient::session)
        .def("send_code", &PyClient::send_code, nb::arg("root"), nb::arg("also"), nb::arg("files").none(), nb::arg("on_progress").none())
        .def("fetch_code", &PyClient::fetch_code, nb::arg("snapshot"));
    module.def("project_root", &client::project_root, nb::arg("path"));
    module.def("connect", &connect, nb::arg("endpoint"), nb::arg("software"), nb::arg("timeout") = nb::none(), nb::arg("token") = "", nb::arg("pin") = "");
    module.def("close_all", &close_all);
    // In a child the table is left as it is, for ever: to drop what was closed before the fork would end connections whose
    // threads the child does not have.
    ::pthread_atfork(nullptr, nullptr, [] {
        new std::vector<std::weak_ptr<client::Client>>(std::move(all_clients));
        all_clients.clear();
    });
    nb::module_::import_("atexit").attr("register")(module.attr("close_all"));
}

}  // namespace rh::binding
