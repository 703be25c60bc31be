// What calls do just now: the stacks of their workers (node.h).

#include <algorithm>
#include <fmt/format.h>

#include "base/ids.h"
#include "base/limits.h"
#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

using net::asio::awaitable;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t k_session_bytes = 4;  // in a call's id

// As its caller shows it; empty for a run's, and where no client waits.
std::string id_of(const Route& route) {
    if (route.client == nullptr || route.client->session.size() != k_session_id_bytes) return "";
    std::string id;
    for (const char byte : route.client->session.substr(0, k_session_bytes)) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return fmt::format("{}-{}", id, route.client_stream);
}

std::string text_of(const Json& told, const char* key) {
    const auto found = told.find(key);
    return found != told.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& told, const char* key) {
    const auto found = told.find(key);
    return found != told.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

Json list_of(const Json& told, const char* key) {
    const auto found = told.find(key);
    return found != told.end() && found->is_array() ? *found : Json::array();
}

void append_indented(std::string& to, std::string_view text) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        to += fmt::format("    {}\n", line.substr(std::min(line.find_first_not_of(' '), line.size()) >= 2 ? 2 : 0));
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
}

// Of the calls that were asked for first; otherwise as they came.
Json sorted(Json list) {
    std::stable_sort(list.begin(), list.end(), [](const Json& a, const Json& b) { return a.value("asked", false) && !b.value("asked", false); });
    return list;
}

// What the worker said, with each thread's two stacks together, and whose call it runs.
Json merged(const Json& told, const std::map<std::uint64_t, Json>& calls) {
    const auto with_call = [&](Json entry, std::uint64_t call) {
        const auto found = calls.find(call);
        entry["call"] = found == calls.end() ? Json() : found->second["id"];
        entry["service"] = found == calls.end() ? Json() : found->second["service"];
        entry["asked"] = found != calls.end() && found->second["asked"].get<bool>();
        return entry;
    };
    Json threads = Json::array(), tasks = Json::array();
    const Json of_language = list_of(told, "threads");
    for (const Json& native : list_of(told, "native")) {
        const std::uint64_t thread = number_of(native, "thread");
        const auto same = std::find_if(of_language.begin(), of_language.end(), [&](const Json& entry) { return number_of(entry, "thread") == thread; });
        const Json ours = same == of_language.end() ? Json::object() : *same;
        const std::string name = text_of(ours, "name");
        const std::uint64_t call = number_of(native, "call");
        threads.push_back(with_call({{"thread", thread}, {"name", name.empty() ? text_of(native, "name") : name}, {"python", text_of(ours, "frames")}, {"native", text_of(native, "frames")}}, call != 0 ? call : number_of(ours, "call")));
    }
    for (const Json& task : list_of(told, "tasks")) tasks.push_back(with_call({{"name", text_of(task, "name")}, {"python", text_of(task, "frames")}}, number_of(task, "call")));
    Json waiting = Json::array();
    for (const auto& [stream, call] : calls) {
        const auto runs = [&](const Json& entry) { return entry["call"] == call["id"]; };
        if (std::none_of(threads.begin(), threads.end(), runs) && std::none_of(tasks.begin(), tasks.end(), runs)) waiting.push_back(with_call(Json::object(), stream));
    }
    return {{"threads", sorted(std::move(threads))}, {"tasks", sorted(std::move(tasks))}, {"waiting", sorted(std::move(waiting))}, {"python", text_of(told, "python")}};
}

Json told_of(const Worker& worker, const std::set<std::uint64_t>& asked, const Body& body) {
    std::map<std::uint64_t, Json> calls;
    for (const auto& [stream, route] : worker.routes) {
        if (route.service != nullptr) calls[stream] = {{"id", id_of(route)}, {"service", route.service->name}, {"asked", asked.count(stream) != 0}};
    }
    Json told = merged(parse_answer(body), calls);
    told["worker"] = worker.id;
    told["pid"] = static_cast<std::uint64_t>(worker.pid);
    told["language"] = worker.language;
    return told;
}

Json answer(const std::string& text, const Json& workers) { return {{"text", text}, {"workers", workers}}; }

// The same for people.
std::string shown(const Json& worker) {
    std::string text = fmt::format("worker {} (pid {}, {})\n", text_of(worker, "worker"), number_of(worker, "pid"), text_of(worker, "language"));
    const auto head = [&](std::string_view what, const Json& entry) {
        const std::string call = text_of(entry, "call"), service = text_of(entry, "service");
        text += fmt::format("\n  {}{}{}\n", what, service.empty() ? "" : fmt::format(" in the call {}of {}", call.empty() ? "" : call + " ", service), entry.value("asked", false) ? "  <==" : "");
    };
    for (const Json& call : list_of(worker, "waiting")) head("not begun yet:", call);
    for (const Json& task : list_of(worker, "tasks")) {
        head(fmt::format("task {}", text_of(task, "name")), task);
        append_indented(text, text_of(task, "python"));
    }
    for (const Json& thread : list_of(worker, "threads")) {
        head(fmt::format("thread {} \"{}\"", number_of(thread, "thread"), text_of(thread, "name")), thread);
        append_indented(text, text_of(thread, "python"));
        const std::string native = text_of(thread, "native");
        append_indented(text, native.empty() ? "(it did not answer)\n" : native);
    }
    if (const std::string python = text_of(worker, "python"); !python.empty()) {
        text += "\n  Python, read while something held its lock\n";
        append_indented(text, python);
    }
    return text;
}

}  // namespace

// The workers that the name leads to, and which of their calls are meant.
Result<Node::Asked> Node::asked_for(const std::string& name) const {
    Asked asked;
    const auto those = [&](const auto& wanted) {
        for (const auto& worker : workers_.all()) {
            for (const auto& [stream, route] : worker->routes) {
                if (route.service != nullptr && wanted(route)) asked[worker].insert(stream);
            }
        }
    };
    if (const std::shared_ptr<Service> service = services_.find(name)) {
        if (service->workers.empty() || service->workers.front()->end) return fail(service->workers.empty() ? Error(Code::worker_died, fmt::format("\"{}\" has no worker", name)) : *service->workers.front()->end);
        for (const auto& worker : service->workers) asked[worker];
        those([&](const Route& route) { return route.service == service; });
        return asked;
    }
    if (processes_.count(name) != 0) {
        RH_TRY(const std::shared_ptr<Process> process, find_process(name));
        asked[process->worker];
        return asked;
    }
    if (const auto run = run_called_(name)) {
        those([&](const Route& route) { return route.client != nullptr && route.client->session == run->first && route.client_stream == run->second; });
    } else {
        those([&](const Route& route) { return id_of(route) == name; });
    }
    if (asked.empty())
        return fail(Error(Code::not_found, fmt::format("no call \"{0:.128}\" runs here, and there is no run that is running, service or process \"{0:.128}\". Try: the name of a service, as `roundhouse status` shows it", name)).with("name", name.substr(0, 128)));
    return asked;
}

awaitable<Outcome> Node::stack(const Json& request) {
    const auto name = field<std::string>(request, "name");
    if (!name) co_return Outcome::failed(name.error());
    const Result<Asked> asked = asked_for(*name);
    if (!asked) co_return Outcome::failed(asked.error());
    std::vector<std::pair<std::shared_ptr<Worker>, std::shared_ptr<Reply>>> replies;
    for (const auto& [worker, streams] : *asked) replies.emplace_back(worker, router_.begin(*worker, "stack", control_body(Json::object(), Body()), Asker()));
    Json workers = Json::array();
    std::string text;
    const auto deadline = Clock::now() + limits::k_stack_wait;
    for (const auto& [worker, reply] : replies) {
        if (!co_await reply->arrived.wait_until(deadline))
            co_return Outcome::failed(Error(Code::timeout, fmt::format("the worker {} did not answer within {} s: its process is stopped, or waits in the kernel. Try: `ps -o stat,wchan {}` there", worker->id, std::chrono::duration_cast<std::chrono::seconds>(limits::k_stack_wait).count(), worker->pid)));
        if (reply->outcome.kind != Outcome::Kind::returned) co_return std::move(reply->outcome);
        Json told = told_of(*worker, asked->at(worker), reply->outcome.body);
        text += (text.empty() ? "" : "\n") + shown(told);
        workers.push_back(std::move(told));
    }
    co_return json_outcome(answer(text, workers));
}

}  // namespace rh::daemon
