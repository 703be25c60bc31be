// `roundhouse replay` and `roundhouse stack`: what a call did, here again, and what one does just now.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "cli/nouns.h"
#include "cli/screen.h"
#include "launch/local_names.h"

namespace rh::cli {

namespace {

struct DebugOptions {
    std::string name;
    std::optional<std::string> cluster, python;
    std::optional<std::uint64_t> attempt;
    bool pdb = false;
};

struct Found {
    Node node;
    Json answer;
};

// What the node of that cluster answers; without one, of the clusters that are up here the only one that knows what is asked for.
Result<Found> ask_for(const std::optional<std::string>& cluster, std::string_view what, const std::string& name, std::string_view method, const Json& request, Screen& screen) {
    if (cluster || inside_worker()) {
        RH_TRY(Node node, open_node(cluster.value_or(""), screen));
        RH_TRY(Json answer, node.ask(method, request));
        return Found{std::move(node), std::move(answer)};
    }
    RH_TRY(const auto clusters, launch::list_local());
    std::vector<Place> places = places_elsewhere();
    for (const auto& local : clusters) {
        if (launch::is_up_local(local)) places.push_back({local.name, true, local, "", "", ""});
    }
    std::vector<Found> found;
    std::string names;
    Error why(Code::not_found, fmt::format("no cluster that is up here has a {} {}. Try: --cluster NAME; `roundhouse list` shows those that are known here", what, harmless(name)));
    for (Place& place : places) {
        auto node = Node::open(std::move(place), screen);
        if (!node) continue;
        auto answer = node->ask(method, request);
        if (answer) {
            names += (names.empty() ? "" : ", ") + node->place().name;
            found.push_back({std::move(*node), std::move(*answer)});
        } else if (answer.error().code != Code::not_found) {
            why = std::move(answer.error());
        }
    }
    if (found.empty()) return fail(std::move(why));
    if (found.size() > 1) return usage_error(fmt::format("several clusters have a {} {}: {}. Say which with --cluster", what, harmless(name), names));
    return std::move(found.front());
}

Result<void> replay(const DebugOptions& options, Context& context) {
    RH_TRY(const Found found, ask_for(options.cluster, "run", options.name, "run_get", {{"name", options.name}}, context.screen));
    std::vector<std::string> command{python_here(options.python), "-m", "roundhouse._replay", found.node.place().name, options.name, std::to_string(options.attempt.value_or(0))};
    if (options.pdb) command.emplace_back("--pdb");
    std::vector<char*> words;
    for (std::string& word : command) words.push_back(word.data());
    words.push_back(nullptr);
    context.screen.flush();
    ::execvp(words.front(), words.data());
    return fail(Code::not_found, fmt::format("cannot run {}: {}. Try: --python PATH of a Python with Roundhouse", command.front(), std::strerror(errno)));
}

Result<void> stack(const DebugOptions& options, Context& context) {
    RH_TRY(const Found found, ask_for(options.cluster, "call, run, service or process", options.name, "stack", {{"name", options.name}}, context.screen));
    if (context.json) {
        context.screen.json(found.answer.value("workers", Json::array()));
    } else {
        context.screen.out(text_of(found.answer, "text"));
    }
    return {};
}

std::shared_ptr<DebugOptions> declare_one(Options& options, std::string what, std::string help) {
    const auto wanted = std::make_shared<DebugOptions>();
    options.positional(std::move(what), wanted->name, std::move(help));
    options.value("--cluster", "NAME", wanted->cluster, "the cluster; without it the only one that is up here and knows of it");
    return wanted;
}

Run declare_replay(Options& options) {
    const auto wanted = declare_one(options, "RUN", "the run");
    options.value("--attempt", "NUMBER", wanted->attempt, "that attempt; without it the last");
    options.flag("--pdb", wanted->pdb, "where it raises, stop in pdb at the line of your code that failed");
    options.value("--python", "PATH", wanted->python, "the Python to run it with; else that of $VIRTUAL_ENV, else python3 in $PATH");
    return [wanted](Context& context) { return replay(*wanted, context); };
}

Run declare_stack(Options& options) {
    const auto wanted = declare_one(options, "CALL", "a call's id, or the name of a run, a service or a process");
    return [wanted](Context& context) { return stack(*wanted, context); };
}

}  // namespace

std::span<const Command> debug_commands() {
    static constexpr Command k_commands[] = {
        {"replay", "RUN [OPTION]...", "do here again what a run did",
         "The code and the arguments come as the node has stored them, whatever they are by now, and run in a Python of this\n"
         "machine. What they print appears as they print it; the result comes last, as one line of JSON where it has such a\n"
         "form. An exception of the code ends this with 4. The run itself is not touched.",
         "roundhouse replay nightly --pdb\nroundhouse replay nightly --cluster box --attempt 2", declare_replay},
        {"stack", "CALL [OPTION]...", "what a running call does just now",
         "The stacks of its worker, Python's and native ones: tasks, then threads, those of the call first and marked <==.\n"
         "It runs on, and is answered for also while it holds Python's lock; system calls that it waits in are interrupted.",
         "roundhouse stack train --cluster box", declare_stack},
    };
    return k_commands;
}

}  // namespace rh::cli
