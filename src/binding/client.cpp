#include "binding/client.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <pthread.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "binding/buffers.h"
#include "binding/errors.h"
#include "client/client.h"

namespace rh::binding {

namespace {

using Clock = std::chrono::steady_clock;
using client::Deadline;
using client::WaitEnd;

// What the exit of the interpreter waits for threads that are just coming back from a wait.
constexpr std::chrono::milliseconds k_exit_grace{1'000};

// What must outlive every single client: everything here is touched with the GIL only, but for the two atomics.
struct Process {
    std::vector<std::weak_ptr<client::Client>> clients;
    std::atomic<bool> exiting{false};
    std::thread::id exiting_thread;  // set before `exiting`
    std::atomic<int> waiting{0};
};
Process process;

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
Dropped dropped;

Deadline deadline_after(nb::handle timeout) {
    if (timeout.is_none()) return std::nullopt;
    const double seconds = PyFloat_AsDouble(timeout.ptr());
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
    // A year is for ever, and far from where the clock's numbers end.
    const double bounded = seconds < 0 ? 0 : (seconds > 3.2e7 ? 3.2e7 : seconds);
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(bounded));
}

// A wait in progress, so that the interpreter's exit can let it come home first.
class Waiting {
public:
    Waiting() { process.waiting.fetch_add(1); }
    ~Waiting() { process.waiting.fetch_sub(1); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
};

// Waits for the thread that made it, whose GIL is released meanwhile.
class PyWaiter final : public client::Waiter {
public:
    explicit PyWaiter(nb::handle on_output) : on_output_(on_output) {}

    void on_output(Channel channel, std::string_view text) override {
        if (on_output_.is_none()) return;
        const nb::gil_scoped_acquire gil;
        if (error_) return;
        try {
            on_output_(static_cast<int>(channel), nb::bytes(text.data(), text.size()));
        } catch (nb::python_error& error) {
            // A broken screen or Ctrl-C in the middle of a line; the wait ends at its next look.
            error_ = std::make_unique<nb::python_error>(std::move(error));
        }
    }

    bool interrupted() override {
        if (error_) return true;
        const nb::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() == 0) return false;
        error_ = std::make_unique<nb::python_error>();
        return true;
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
    WaitEnd end;
    {
        const Waiting waiting;
        end = call.wait(deadline, waiter);
    }
    // The interpreter is exiting, and this is a daemon thread, which Python ends when it next asks for the GIL. It must not
    // come back to raise something first: a traceback that is printed while Python finalises can abort the program.
    while (process.exiting.load() && std::this_thread::get_id() != process.exiting_thread) ::pause();
    return waiter.failed() ? WaitEnd::interrupted : end;
}

Error still_running_error() {
    return Error(Code::timeout,
                 "the call did not end within its timeout, nor when it was asked to stop: it is still running on its "
                 "worker. Code that blocks outside Python cannot be interrupted")
        .with("still_running", "True")
        .with("started", "yes");
}

// After the deadline: asks the call to stop and waits a little for that. Without the GIL.
Error end_late_call(client::Call& call, PyWaiter& waiter) {
    call.cancel();
    if (wait_for(call, Clock::now() + limits::k_cancel_grace, waiter) == WaitEnd::done) {
        return Error(Code::timeout, "the call did not end within its timeout, and was cancelled")
            .with("still_running", "False");
    }
    call.abandon(still_running_error());
    return still_running_error();
}

// (kind, encoding, parts, raised) of an outcome; one of ours is raised.
nb::tuple python_outcome(client::Call& call) {
    Outcome outcome = call.take_outcome();
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
    PyObserver(nb::object on_output, nb::object on_done)
        : on_output_(on_output.is_none() ? nullptr : on_output.release().ptr()),
          on_done_(on_done.is_none() ? nullptr : on_done.release().ptr()) {}
    ~PyObserver() override {
        if (on_output_ != nullptr) dropped.add(on_output_);
        if (on_done_ != nullptr) dropped.add(on_done_);
    }

    void on_output(Channel channel, std::string_view text) override {
        if (on_output_ == nullptr || process.exiting.load()) return;
        const nb::gil_scoped_acquire gil;
        try {
            nb::handle{on_output_}(static_cast<int>(channel), nb::bytes(text.data(), text.size()));
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("showing the output of a call");
        }
    }
    void on_done() override {
        if (on_done_ == nullptr || process.exiting.load()) return;
        const nb::gil_scoped_acquire gil;
        try {
            nb::handle{on_done_}();
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("telling that a call is done");
        }
    }

private:
    PyObject* on_output_;
    PyObject* on_done_;
};

double seconds(std::chrono::microseconds time) { return std::chrono::duration<double>(time).count(); }

class PyCall {
public:
    PyCall(std::shared_ptr<client::Call> call, nb::object on_output)
        : call_(std::move(call)), on_output_(std::move(on_output)) {}

    bool done() const { return call_->done(); }

    bool wait(nb::object timeout) {
        // While somebody waits, the output is the waiting thread's to show.
        PyWaiter waiter(on_output_);
        const Deadline deadline = deadline_after(timeout);
        WaitEnd end;
        {
            const nb::gil_scoped_release release;
            end = wait_for(*call_, deadline, waiter);
        }
        waiter.rethrow();
        return end == WaitEnd::done;
    }

    nb::tuple take() { return python_outcome(*call_); }

    void cancel() {
        const nb::gil_scoped_release release;
        call_->cancel();
    }

    double ping(nb::object timeout) {
        const Deadline deadline = deadline_after(timeout);
        std::optional<Result<std::chrono::microseconds>> time;
        {
            const nb::gil_scoped_release release;
            const Waiting waiting;
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
        const nb::gil_scoped_release release;
        client_->close();
        client_.reset();
    }
    PyClient(const PyClient&) = delete;
    PyClient& operator=(const PyClient&) = delete;

    nb::tuple call(nb::str service, nb::str method, int encoding, nb::object parts, nb::object on_output,
                   nb::object timeout) {
        dropped.drop();
        const BorrowedParts borrowed(parts);
        const Deadline deadline = deadline_after(timeout);
        const client::Request request = make_request(service, method, encoding, borrowed, deadline);
        PyWaiter waiter(on_output);
        std::shared_ptr<client::Call> call;
        std::optional<Error> error;
        {
            const nb::gil_scoped_release release;
            auto started = client_->start(request, nullptr);
            if (!started) {
                error = std::move(started.error());
            } else {
                call = std::move(*started);
                const WaitEnd end = wait_for(*call, deadline, waiter);
                if (end == WaitEnd::deadline) error = end_late_call(*call, waiter);
                if (end == WaitEnd::interrupted) {
                    call->cancel();
                    call->abandon(Error(Code::cancelled, "the caller was interrupted"));
                }
            }
        }
        waiter.rethrow();
        if (error) raise(*error);
        return python_outcome(*call);
    }

    PyCall start(nb::str service, nb::str method, int encoding, nb::object parts, nb::object on_output,
                 nb::object on_done) {
        dropped.drop();
        const BorrowedParts borrowed(parts);
        const client::Request request = make_request(service, method, encoding, borrowed, std::nullopt);
        auto observer = std::make_shared<PyObserver>(on_output, std::move(on_done));
        std::optional<Result<std::shared_ptr<client::Call>>> started;
        {
            const nb::gil_scoped_release release;
            started = client_->start(request, std::move(observer));
        }
        return PyCall(unwrap(std::move(*started)), std::move(on_output));
    }

    double ping(nb::object timeout) {
        const Deadline deadline = deadline_after(timeout);
        std::optional<Result<std::chrono::microseconds>> time;
        {
            const nb::gil_scoped_release release;
            const Waiting waiting;
            time = client_->ping(deadline);
        }
        return seconds(unwrap(std::move(*time)));
    }

    bool alive() const { return pid_ == ::getpid() && client_->alive(); }

    void close() {
        if (pid_ != ::getpid()) return;
        const nb::gil_scoped_release release;
        client_->close();
    }

    std::string session() const { return client_->session(); }

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

std::unique_ptr<PyClient> connect(const std::string& socket_path, const std::string& software, nb::object timeout) {
    if (process.exiting.load()) raise(Error(Code::node_lost, "the interpreter is exiting: no new connection is made"));
    const Deadline deadline = deadline_after(timeout);
    std::optional<Result<std::shared_ptr<client::Client>>> connected;
    {
        const nb::gil_scoped_release release;
        connected = client::Client::connect({socket_path, software}, deadline);
    }
    std::shared_ptr<client::Client> client = unwrap(std::move(*connected));
    std::erase_if(process.clients, [](const auto& known) { return known.expired(); });
    process.clients.push_back(client);
    return std::make_unique<PyClient>(std::move(client));
}

// Registered with atexit: afterwards no thread of the engine touches Python.
void close_all() {
    process.exiting_thread = std::this_thread::get_id();
    process.exiting.store(true);
    std::vector<std::shared_ptr<client::Client>> clients;
    for (const auto& known : process.clients) {
        if (auto client = known.lock()) clients.push_back(std::move(client));
    }
    process.clients.clear();
    const nb::gil_scoped_release release;
    for (const auto& client : clients) {
        if (client->alive()) client->close();
    }
    const Clock::time_point deadline = Clock::now() + k_exit_grace;
    while (process.waiting.load() > 0 && Clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

void bind_client(nb::module_& module) {
    nb::class_<PyCall>(module, "Call")
        .def("done", &PyCall::done)
        .def("wait", &PyCall::wait, nb::arg("timeout") = nb::none())
        .def("take", &PyCall::take)
        .def("cancel", &PyCall::cancel)
        .def("ping", &PyCall::ping, nb::arg("timeout") = nb::none());
    nb::class_<PyClient>(module, "Client")
        .def("call", &PyClient::call, nb::arg("service"), nb::arg("method"), nb::arg("encoding"), nb::arg("parts"),
             nb::arg("on_output") = nb::none(), nb::arg("timeout") = nb::none())
        .def("start", &PyClient::start, nb::arg("service"), nb::arg("method"), nb::arg("encoding"), nb::arg("parts"),
             nb::arg("on_output") = nb::none(), nb::arg("on_done") = nb::none())
        .def("ping", &PyClient::ping, nb::arg("timeout") = nb::none())
        .def("alive", &PyClient::alive)
        .def("close", &PyClient::close)
        .def("session", &PyClient::session);
    module.def("connect", &connect, nb::arg("socket_path"), nb::arg("software"), nb::arg("timeout") = nb::none());
    module.def("close_all", &close_all);
    // Only the forking thread goes on in a child, and it is not waiting.
    ::pthread_atfork(nullptr, nullptr, [] { process.waiting.store(0); });
    nb::module_::import_("atexit").attr("register")(module.attr("close_all"));
}

}  // namespace rh::binding
