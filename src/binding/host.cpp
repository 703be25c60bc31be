#include "binding/host.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "binding/buffers.h"
#include "binding/errors.h"
#include "binding/gil.h"
#include "worker/frames.h"
#include "worker/host.h"

namespace rh::binding {

namespace {

// Which thread runs which call, and the thread that interrupts them. The reading thread only queues a cancel, because
// interrupting takes the GIL, which user code may hold for long.
class Canceller {
public:
    explicit Canceller(nb::handle runner) : runner_(runner) {}
    ~Canceller() { stop(); }

    // Called without the GIL, before the call can touch Python.
    void begin(std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        running_[id] = Running{PyThread_get_thread_ident(), false};
    }

    // The call goes on without its thread: it must not be interrupted any more. With the GIL, by that thread.
    void detach(std::uint64_t id) {
        unsigned long thread = 0;
        {
            const std::lock_guard lock(mutex_);
            const auto found = running_.find(id);
            if (found == running_.end()) return;
            thread = std::exchange(found->second.thread, 0);
            if (!found->second.cancelled) return;
        }
        PyThreadState_SetAsyncExc(thread, nullptr);
    }

    // Called with the GIL by the call's own thread. An exception that was raised asynchronously but has not come out
    // yet is taken back, so that it can never hit the thread's next call. True when the call was asked to stop.
    bool end(std::uint64_t id) {
        bool cancelled = false;
        unsigned long thread = 0;
        {
            const std::lock_guard lock(mutex_);
            const auto found = running_.find(id);
            if (found == running_.end()) return false;
            cancelled = found->second.cancelled;
            thread = found->second.thread;
            running_.erase(found);
        }
        if (cancelled && thread != 0) PyThreadState_SetAsyncExc(thread, nullptr);
        return cancelled;
    }

    // What the runner is to be told of a call: that it shall stop, or that there is room for its next item.
    enum class Word { cancel, room };
    void queue(std::uint64_t id, Word word) { queue([this, id, word] { tell(id, word); }); }
    // On the thread that may wait for the GIL as long as that takes.
    void queue(std::function<void()> task) {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
        asked_.push_back(std::move(task));
        if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
        wake_.notify_one();
    }
    // The threads of the calls that run, and those calls.
    std::vector<std::pair<unsigned long, std::uint64_t>> running() {
        const std::lock_guard lock(mutex_);
        std::vector<std::pair<unsigned long, std::uint64_t>> all;
        for (const auto& [id, call] : running_) all.emplace_back(call.thread, id);
        return all;
    }

    // Without the GIL.
    void stop() {
        std::thread thread;
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
            thread.swap(thread_);
            wake_.notify_one();
        }
        if (thread.joinable()) thread.join();
    }

private:
    struct Running {
        unsigned long thread = 0;
        bool cancelled = false;
    };

    void work() {
        for (;;) {
            std::function<void()> task;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return stopping_ || !asked_.empty(); });
                if (stopping_) return;
                task = std::move(asked_.front());
                asked_.pop_front();
            }
            task();
        }
    }

    void tell(std::uint64_t id, Word word) {
        {
            const std::lock_guard lock(mutex_);
            const auto found = running_.find(id);
            if (found == running_.end()) return;
            if (word == Word::cancel) found->second.cancelled = true;
        }
        const WithGil gil;
        if (!gil) return;
        if (word == Word::cancel) {
            interrupt(id);
        } else {
            tell_room(id);
        }
    }

    void tell_room(std::uint64_t id) {
        try {
            runner_.attr("room")(id);
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("making room for an item");
        }
    }

    void interrupt(std::uint64_t id) {
        try {
            {
                // It may have ended while this thread waited for the GIL, and would be remembered for ever.
                const std::lock_guard lock(mutex_);
                if (running_.count(id) == 0) return;
            }
            if (nb::cast<bool>(runner_.attr("cancel")(id))) return;
            const nb::object type = runner_.attr("cancelled_type");
            // end() needs the GIL, which is held here: a call that is still listed cannot end before this is through.
            const std::lock_guard lock(mutex_);
            const auto found = running_.find(id);
            if (found != running_.end() && found->second.thread != 0) PyThreadState_SetAsyncExc(found->second.thread, type.ptr());
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("cancelling a call");
        }
    }

    nb::handle runner_;  // kept alive by the PyRunner
    std::mutex mutex_;
    std::condition_variable wake_;
    std::unordered_map<std::uint64_t, Running> running_;
    std::deque<std::function<void()>> asked_;
    std::thread thread_;  // started by the first that asks
    bool stopping_ = false;
};

nb::object text(const std::string& from) {
    return nb::steal(PyUnicode_DecodeUTF8(from.data(), static_cast<Py_ssize_t>(from.size()), "replace"));
}

Error error_from(nb::handle tuple) {
    Error error(code_from_number(nb::cast<std::uint32_t>(tuple[0])), nb::cast<std::string>(tuple[1]));
    for (const auto [key, value] : nb::cast<nb::dict>(tuple[2])) {
        error.context.emplace_back(nb::cast<std::string>(key), nb::cast<std::string>(value));
    }
    return error;
}

// The text of a name that most calls have in common with the one before. With the GIL.
class LastName {
public:
    nb::object of(const std::string& name) {
        if (!text_ || name != name_) {
            text_ = nb::str(name.data(), name.size());
            name_ = name;
        }
        return text_;
    }

private:
    std::string name_;
    nb::object text_;
};

// By what Python's own faulthandler uses, in a copy of the process: there nothing changes while it is read.
std::string stacks_without_gil() {
    using Dump = const char* (*)(int, PyInterpreterState*, PyThreadState*);
    auto* const dump = reinterpret_cast<Dump>(::dlsym(RTLD_DEFAULT, "_Py_DumpTracebackThreads"));
    if (dump == nullptr) return "{}";
    std::vector<char> text(limits::k_stack_bytes_max);
    const std::size_t size = worker::written_by_copy(
        text, limits::k_stack_naming_wait, [](worker::Text& to, void* with) { to.through([with](int fd) { reinterpret_cast<Dump>(with)(fd, nullptr, nullptr); }); }, reinterpret_cast<void*>(dump));
    return nlohmann::json{{"python", std::string(text.data(), size)}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class PyRunner final : public worker::Runner {
public:
    explicit PyRunner(nb::object runner) : runner_(std::move(runner)), run_(runner_.attr("run")), canceller_(runner_) {}

    std::optional<Outcome> run(worker::Incoming& call) override {
        canceller_.begin(call.id);
        const WithGil gil(WithGil::Use::user_code);
        call.has_begun();
        if (!gil) return Outcome::failed(Error(Code::node_lost, "the worker's interpreter is exiting").with("started", "no"));
        // What was asked before begin() found nothing to interrupt.
        if (call.was_cancelled()) return cancelled_early(call.id);
        try {
            nb::object result;
            try {
                result = run_(call.id, service_.of(call.service), method_.of(call.method), static_cast<int>(call.body.encoding), python_parts(std::move(call.body)),
                              call.prefetch, parents_of(call));
            } catch (...) {
                // The runner catches what user code raises, so this is a cancel that struck in the runner itself, or a
                // bug.
                if (!end_cancelled(call.id)) throw;
                return Outcome::failed(Error(Code::cancelled, "the call was cancelled").with("started", "yes"));
            }
            if (result.is_none()) {
                canceller_.detach(call.id);
                return std::nullopt;
            }
            canceller_.end(call.id);
            return outcome_from(result);
        } catch (nb::python_error& error) {
            canceller_.end(call.id);
            return Outcome::failed(Error(Code::internal, std::string("the Python worker failed: ") + error.what()));
        } catch (const std::exception& error) {
            return Outcome::failed(Error(Code::internal, std::string("the Python worker failed: ") + error.what()));
        }
    }

    void cancel(std::uint64_t id) override { canceller_.queue(id, Canceller::Word::cancel); }
    void room(std::uint64_t id) override { canceller_.queue(id, Canceller::Word::room); }
    // The answer to a call whose run() returned None.
    Outcome finished(std::uint64_t id, nb::handle answer) {
        canceller_.end(id);
        return outcome_from(answer);
    }

    bool start_thread() override {
        const WithGil gil;
        if (!gil) return false;
        try {
            runner_.attr("start_thread")();
            return true;
        } catch (nb::python_error& error) {
            // Calls then queue behind those that run; the next one asks for a thread again.
            error.discard_as_unraisable("starting a thread for calls");
            return false;
        }
    }

    std::vector<std::string> services() override {
        const WithGil gil;
        std::vector<std::string> names;
        if (!gil) return names;
        try {
            for (const nb::handle name : nb::cast<nb::list>(runner_.attr("services")())) {
                names.push_back(nb::cast<std::string>(name));
            }
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("listing services");
        }
        return names;
    }

    std::string stacks() override {
        // Shared with the thread that fills it in, which may come too late.
        const auto told = std::make_shared<std::promise<std::string>>();
        std::future<std::string> answer = told->get_future();
        canceller_.queue([this, told] {
            const WithGil gil;
            if (!gil) return;
            try {
                told->set_value(nb::cast<std::string>(runner_.attr("stacks")(canceller_.running())));
            } catch (nb::python_error& error) {
                error.discard_as_unraisable("telling stacks");
            } catch (const std::exception&) {
                told->set_value("{}");
            }
        });
        if (answer.wait_for(limits::k_stack_language_wait) == std::future_status::ready) {
            try {
                return answer.get();
            } catch (const std::future_error&) {
                return "{}";  // the interpreter ends, or what it said was no text
            }
        }
        return stacks_without_gil();
    }

    void stop() { canceller_.stop(); }

private:
    // Ends a call that the runner knows nothing of, or no more; true when it was asked to stop.
    bool end_cancelled(std::uint64_t id) {
        if (!canceller_.end(id)) return false;
        try {
            runner_.attr("forget")(id);
        } catch (nb::python_error& error) {
            error.discard_as_unraisable("forgetting a cancelled call");
        }
        return true;
    }
    Outcome cancelled_early(std::uint64_t id) {
        end_cancelled(id);
        return Outcome::failed(Error(Code::cancelled, "the call was cancelled before it began").with("started", "no"));
    }

    static nb::object parents_of(const worker::Incoming& call) {
        if (call.parents.empty()) return nb::make_tuple();
        nb::list parents;
        for (const std::string& parent : call.parents) parents.append(nb::str(parent.data(), parent.size()));
        return parents;
    }

    static Outcome outcome_from(nb::handle result) {
        Outcome outcome;
        const int kind = nb::cast<int>(result[0]);
        if (kind == static_cast<int>(Outcome::Kind::failed)) return Outcome::failed(error_from(result[4]));
        outcome.body = copy_body(encoding_from(nb::cast<int>(result[1])), nb::object(result[2]));
        if (kind == static_cast<int>(Outcome::Kind::raised)) {
            outcome.kind = Outcome::Kind::raised;
            const nb::object raised = result[3];
            outcome.raised = Raised{nb::cast<std::string>(raised[0]), nb::cast<std::string>(raised[1]),
                                    nb::cast<std::string>(raised[2])};
        }
        return outcome;
    }

    nb::object runner_;
    nb::object run_;
    LastName service_;
    LastName method_;
    Canceller canceller_;
};

class PyHost {
public:
    PyHost(const std::string& socket_path, const std::string& worker_id, const std::string& language, nb::object runner)
        : runner_(std::make_unique<PyRunner>(std::move(runner))) {
        std::optional<Result<std::unique_ptr<worker::Host>>> connected;
        {
            const WithoutGil released;
            connected = worker::Host::connect({.socket_path = socket_path, .worker_id = worker_id, .language = language, .begun_path = shm::begun_path_of_this_worker()}, *runner_);
        }
        host_ = unwrap(std::move(*connected));
    }

    void serve() {
        std::optional<Result<void>> end;
        {
            const WithoutGil released;
            end = host_->serve();
        }
        unwrap(std::move(*end));
    }

    void serve_more() {
        const WithoutGil released;
        host_->serve_more();
    }

    bool output(std::uint64_t id, int channel, nb::object text) {
        const std::string_view bytes = text_or_bytes(text);
        const WithoutGil released;
        return host_->output(id, channel == 2 ? Channel::err : Channel::out, bytes);
    }

    void finish(std::uint64_t id, nb::object answer) {
        Outcome outcome = runner_->finished(id, answer);
        const WithoutGil released;
        host_->finish(id, std::move(outcome));
    }

    int item(std::uint64_t id, int encoding, nb::object parts, bool wait) {
        Body body;
        if (PyBytes_CheckExact(parts.ptr())) {
            body = Body::one(encoding_from(encoding), {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(parts.ptr())),
                                                       static_cast<std::size_t>(PyBytes_GET_SIZE(parts.ptr()))});
        } else {
            body = copy_body(encoding_from(encoding), parts);
        }
        // What is only gathered costs less than letting go of the GIL.
        if (const std::optional<worker::Room> room = host_->exchange().gather(id, body)) {
            if (*room != worker::Room::none || !wait) return static_cast<int>(*room);
            const WithoutGil released;
            return static_cast<int>(host_->exchange().room(id, true));
        }
        const WithoutGil released;
        return static_cast<int>(host_->exchange().item(id, std::move(body), wait));
    }

    int await_room(std::uint64_t id, bool wait) {
        const WithoutGil released;
        return static_cast<int>(host_->exchange().room(id, wait));
    }

    nb::object next_input(std::uint64_t id, std::uint32_t source, bool wait) {
        std::optional<worker::Input> input;
        {
            const WithoutGil released;
            input = host_->exchange().input(id, source, wait);
        }
        if (!input) return nb::none();
        nb::object raised = nb::none();
        if (input->kind == worker::Input::Kind::raised)
            raised = nb::make_tuple(text(input->raised.type), text(input->raised.message), text(input->raised.traceback));
        const int encoding = static_cast<int>(input->body.encoding);
        return nb::make_tuple(static_cast<int>(input->kind), encoding, python_parts(std::move(input->body)), raised);
    }

    void drop_input(std::uint64_t id, std::uint32_t source) {
        const WithoutGil released;
        host_->exchange().drop_input(id, source);
    }

    void limit(const std::string& service, std::size_t concurrency, std::size_t queue) { host_->limit(service, concurrency, queue); }

    void stop() {
        const WithoutGil released;
        host_->stop();
        runner_->stop();
    }

private:
    std::unique_ptr<PyRunner> runner_;
    std::unique_ptr<worker::Host> host_;
};

}  // namespace

void bind_host(nb::module_& module) {
    nb::class_<PyHost>(module, "Host")
        .def(nb::init<const std::string&, const std::string&, const std::string&, nb::object>(), nb::arg("socket_path"),
             nb::arg("worker_id"), nb::arg("language"), nb::arg("runner"))
        .def("serve", &PyHost::serve)
        .def("serve_more", &PyHost::serve_more)
        .def("output", &PyHost::output, nb::arg("id"), nb::arg("channel"), nb::arg("text"))
        .def("finish", &PyHost::finish, nb::arg("id"), nb::arg("answer").none())
        .def("item", &PyHost::item, nb::arg("id"), nb::arg("encoding"), nb::arg("parts"), nb::arg("wait") = true)
        .def("await_room", &PyHost::await_room, nb::arg("id"), nb::arg("wait") = true)
        .def("next_input", &PyHost::next_input, nb::arg("id"), nb::arg("source"), nb::arg("wait") = true)
        .def("drop_input", &PyHost::drop_input, nb::arg("id"), nb::arg("source"))
        .def("limit", &PyHost::limit, nb::arg("service"), nb::arg("concurrency"), nb::arg("queue"))
        .def("stop", &PyHost::stop);
}

}  // namespace rh::binding
