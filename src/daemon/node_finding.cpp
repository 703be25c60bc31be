// What is found, or made by one of those who ask at the same time (node.h).

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"
#include "daemon/node.h"
#include "daemon/requests.h"

namespace rh::daemon {

using net::asio::awaitable;
using Clock = std::chrono::steady_clock;

namespace {

std::string described_class(const Service& service) {
    const Json described = Json::parse(service.described, nullptr, false);
    return described.is_object() && described.contains("class") && described["class"].is_string() ? described["class"].get<std::string>() : std::string();
}

std::string with_article(std::string_view word) { return fmt::format("{} {}", word.find_first_of("aeiou") == 0 ? "an" : "a", word); }

std::string of_class(const std::vector<std::string>& classes) { return classes.empty() ? std::string() : " of " + classes.front(); }

}  // namespace

// By what a start or deploy says.
Result<Node::Sought> Node::sought_in(const Json& request) {
    Sought sought;
    RH_TRY(sought.name, field<std::string>(request, "name"));
    RH_TRY(const auto word, field<std::string>(request, "kind"));
    RH_TRY(sought.kind, kind_of(word));
    RH_TRY(const auto wanted, field<std::string>(request, "of_class", std::string()));
    if (!wanted.empty()) sought.classes.push_back(wanted);
    return sought;
}

Node::Sought Node::sought_by_create(const std::string& class_name, const std::string& method, std::string name) const {
    Sought sought{std::move(name), method.empty() ? Service::Kind::instance : Service::Kind::object, {}};
    // What a method returns may be of any class.
    if (!method.empty()) return sought;
    const std::shared_ptr<Service> maker = services_.find(class_name);
    sought.classes = maker != nullptr && maker->kind == Service::Kind::klass ? classes_of(*maker) : std::vector<std::string>{class_name};
    return sought;
}

// A class has a name where it was written and one as a service, and its instances may know it by either.
std::vector<std::string> Node::classes_of(const Service& service) const {
    std::vector<std::string> classes;
    const auto add = [&](std::string name) {
        if (!name.empty() && std::find(classes.begin(), classes.end(), name) == classes.end()) classes.push_back(std::move(name));
    };
    add(service.kind == Service::Kind::klass ? service.name : service.class_name);
    add(described_class(service));
    if (const auto made_by = services_.find(service.class_name); made_by != nullptr && made_by->kind == Service::Kind::klass) add(described_class(*made_by));
    return classes;
}

Result<void> Node::check_fits(const Service& there, const Sought& sought) const {
    const bool object = is_live_object(there.kind);
    const std::vector<std::string> classes = object ? classes_of(there) : std::vector<std::string>();
    const bool same_kind = object ? is_live_object(sought.kind) : there.kind == sought.kind;
    const bool same_class = !object || sought.classes.empty() || classes.empty() ||
                            std::find_first_of(classes.begin(), classes.end(), sought.classes.begin(), sought.classes.end()) != classes.end();
    if (same_kind && same_class) return {};
    return fail(Error(Code::name_taken, fmt::format("\"{}\" is the name of {}{} here, not of {}{}: choose another name", there.name, with_article(kind_name(there.kind)),
                                                    of_class(classes), with_article(kind_name(sought.kind)), of_class(sought.classes)))
                    .with("name", there.name).with("kind", std::string(kind_name(there.kind))));
}

awaitable<Result<Json>> Node::find(Sought sought, Asker& asker) {
    const Result<void> waited = co_await wait_for_maker(promised_, sought.name, asker);
    if (!waited) co_return fail(waited.error());
    const std::shared_ptr<Service> there = services_.find(sought.name);
    if (there == nullptr || there->dead) co_return Json();
    if (const auto fits = check_fits(*there, sought); !fits) co_return fail(fits.error());
    Json description = description_of(*there);
    description["found"] = true;
    co_return description;
}

awaitable<Result<void>> Node::wait_for_maker(const Names& names, std::string name, Asker& asker) {
    const auto due = due_of(asker);
    while (names.count(name) != 0) {
        if (is_within_maker(asker, name))
            co_return fail(Error(Code::name_taken, fmt::format("\"{}\" is being made by a call that this one is part of, and would wait for itself: do not ask for it while its code is imported "
                                                               "or its constructor runs", name)).with("name", name));
        net::Event woken(executor_);
        Waiting waiting(waiting_, asker, woken);
        waiting.names = &names;
        waiting.name = name;
        const bool was_woken = co_await woken.wait_until(due);
        if (waiting.cancelled) co_return fail(Error(Code::cancelled, fmt::format("the wait for \"{}\", which another caller makes, was cancelled", name)).with("started", "no").with("still_running", "False"));
        if (!was_woken && Clock::now() >= due)
            co_return fail(Error(Code::timeout, fmt::format("\"{}\" is being made by another caller, and was not there within the timeout", name)).with("started", "no").with("still_running", "False"));
    }
    if (due != Clock::time_point::max()) asker.deadline_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count()));
    co_return Result<void>();
}

bool Node::is_within_maker(const Asker& asker, std::string_view name) const {
    return std::any_of(asker.parents.begin(), asker.parents.end(), [&](const std::string& parent) {
        const std::size_t slash = std::min(parent.rfind('/'), parent.size());
        const std::shared_ptr<Worker> worker = workers_.find(std::string_view(parent).substr(0, slash));
        std::uint64_t stream = 0;
        if (worker == nullptr || slash == parent.size()) return false;
        std::from_chars(parent.data() + slash + 1, parent.data() + parent.size(), stream);
        const Route* const route = Router::route_of(*worker, stream);
        return route != nullptr && std::any_of(promises_.begin(), promises_.end(), [&](const Promise* promise) {
            return promise->name() == name && promise->is_kept_by(route->client, route->client_stream);
        });
    });
}

void Node::wake(const Names& names, std::string_view name) {
    for (Waiting* const waiting : waiting_) {
        if (waiting->names == &names && waiting->name == name) waiting->wake();
    }
}

void Node::cancel(const Caller& client, std::uint64_t stream) {
    for (Waiting* const waiting : waiting_) {
        if (waiting->by == &client && waiting->stream == stream) waiting->cancel();
    }
}

}  // namespace rh::daemon
