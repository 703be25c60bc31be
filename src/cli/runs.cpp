// `roundhouse runs`: calls with a name, which a node journals: what there is, what they printed, how they ended.

#include <fmt/format.h>

#include <ctime>

#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

struct RunsOptions {
    std::string cluster, run;
    std::optional<std::uint64_t> attempt, limit, offset;
    std::optional<double> timeout;
    std::optional<std::string> output;
    bool follow = false, kill = false, raw = false, no_wait = false;
};

std::string when(double seconds) {
    if (seconds == 0) return "-";
    const auto time = static_cast<std::time_t>(seconds);
    std::tm utc{};
    char text[32];
    ::gmtime_r(&time, &utc);
    return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc)};
}

std::string lasted(const Json& attempt) {
    const double started = number_of(attempt, "started_s"), ended = number_of(attempt, "ended_s");
    return started == 0 || ended < started ? "-" : seconds_text(ended - started);
}

// The last attempt, which is what the run is.
Json last_of(const Json& run) {
    const auto attempts = run.find("attempts");
    return attempts != run.end() && attempts->is_array() && !attempts->empty() ? attempts->back() : Json::object();
}

// Why an attempt ended otherwise than with a value, in a line.
std::string why(const Json& attempt) {
    for (const char* key : {"raised", "error"}) {
        const auto found = attempt.find(key);
        if (found == attempt.end() || !found->is_object()) continue;
        const std::string message = text_of(*found, "message");
        const std::string line = message.substr(0, message.find('\n'));
        const std::string type = text_of(*found, "type");
        return type.empty() ? line : fmt::format("{}: {}", type.starts_with("builtins.") ? type.substr(9) : type, line);
    }
    return "";
}

Result<void> list(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(const Json runs, node.ask("run_list", {{"limit", options.limit.value_or(100)}}));
    if (context.json) {
        context.screen.json(runs);
        return {};
    }
    std::vector<std::vector<std::string>> rows;
    for (const Json& run : runs) {
        const Json last = last_of(run);
        const std::string method = text_of(run, "method");
        rows.push_back({text_of(run, "name"), text_of(run, "state"), fmt::format("{:.0f}", number_of(run, "attempt")),
                        method == "call" || method.empty() ? text_of(run, "service") : fmt::format("{}.{}", text_of(run, "service"), method), when(number_of(last, "queued_s")), lasted(last)});
    }
    if (rows.empty()) {
        context.screen.out(fmt::format("{} has no runs. A call with run_name= is one\n", node.place().name));
    } else {
        context.screen.table({"RUN", "STATE", "ATTEMPT", "CALLS", "ASKED FOR (UTC)", "LASTED"}, rows);
    }
    return {};
}

Result<void> show(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(const Json run, node.ask("run_get", {{"name", options.run}}));
    if (context.json) {
        context.screen.json(run);
        return {};
    }
    const auto line = [&](std::string_view label, std::string_view text) { context.screen.out(fmt::format("{:<10}{}\n", label, harmless(text))); };
    line("run", text_of(run, "name"));
    line("state", text_of(run, "state"));
    line("calls", fmt::format("{}.{}", text_of(run, "service"), text_of(run, "method")));
    line("by", text_of(run, "principal"));
    line("arguments", text_of(last_of(run), "arguments"));
    std::vector<std::vector<std::string>> rows;
    for (const Json& attempt : run.value("attempts", Json::array()))
        rows.push_back({fmt::format("{:.0f}", number_of(attempt, "number")), text_of(attempt, "state"), when(number_of(attempt, "queued_s")), lasted(attempt), why(attempt)});
    context.screen.table({"ATTEMPT", "STATE", "ASKED FOR (UTC)", "LASTED", "WHY"}, rows);
    return {};
}

Result<void> logs(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    const Json request{{"name", options.run}, {"attempt", options.attempt.value_or(0)}, {"offset", options.offset.value_or(0)}, {"follow", options.follow}};
    RH_TRY(std::string text, dump(request));
    Called called{"_node", "run_logs", {std::move(text)}};
    // Standard output is for the JSON then.
    if (context.json) called.prints = Prints::err;
    RH_TRY(const Body body, node.call(called));
    if (context.json && !body.part_bytes.empty()) context.screen.json(Json::parse(as_text(body.parts().front()), nullptr, false));
    return {};
}

Result<void> result(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(std::string text, dump({{"name", options.run}, {"attempt", options.attempt.value_or(0)}, {"wait", !options.no_wait}}));
    Called called{"_node", "run_result", {std::move(text)}};
    if (options.timeout) called.timeout_ms = static_cast<std::uint64_t>(*options.timeout * 1000) + 1;
    called.prints = Prints::none;
    RH_TRY(const Body body, node.call(called));
    if (body.encoding != Encoding::json && body.encoding != Encoding::empty)
        return fail(Code::not_serializable, fmt::format("the result of {} is a {}, because it was started from Python: rh.compute(\"{}\").get_run(\"{}\").result() has it", options.run,
                                                        body.encoding == Encoding::pickle ? "pickle" : "MessagePack value", node.place().name, options.run));
    return show_value(body, {options.raw, false, options.output}, context.screen);
}

Result<void> cancel(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(const Json answer, node.ask("run_cancel", {{"name", options.run}, {"kill", options.kill}}));
    if (context.json) {
        context.screen.json(answer);
    } else {
        context.screen.out(answer.value("cancelled", false) ? fmt::format("{} is asked to stop\n", harmless(options.run)) : fmt::format("{} does not run\n", harmless(options.run)));
    }
    return {};
}

Result<void> forget(const RunsOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY([[maybe_unused]] const Json gone, node.ask("run_forget", {{"name", options.run}}));
    if (context.json) {
        context.screen.json({{"forgotten", options.run}});
    } else {
        context.screen.out(fmt::format("{} is forgotten\n", harmless(options.run)));
    }
    return {};
}

using Does = Result<void> (*)(const RunsOptions&, Context&);

// What each takes that is about one run.
std::shared_ptr<RunsOptions> declare_one(Options& options) {
    const auto wanted = std::make_shared<RunsOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("RUN", wanted->run, "the run");
    return wanted;
}

Run doing(std::shared_ptr<RunsOptions> wanted, Does does) {
    return [wanted = std::move(wanted), does](Context& context) { return does(*wanted, context); };
}

Run declare_list(Options& options) {
    const auto wanted = std::make_shared<RunsOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.value("-n,--limit", "COUNT", wanted->limit, "at most so many, those that were asked for last; 100 without it");
    return doing(wanted, list);
}

Run declare_show(Options& options) { return doing(declare_one(options), show); }

Run declare_logs(Options& options) {
    const auto wanted = declare_one(options);
    options.flag("-f,--follow", wanted->follow, "go on until it has ended");
    options.value("--attempt", "NUMBER", wanted->attempt, "of that attempt; without it of the last");
    options.value("--offset", "BYTES", wanted->offset, "from there on");
    return doing(wanted, logs);
}

Run declare_result(Options& options) {
    const auto wanted = declare_one(options);
    options.value("-t,--timeout", "SECONDS", wanted->timeout, "do not wait longer; the run goes on");
    options.flag("--no-wait", wanted->no_wait, "do not wait at all");
    options.value("--attempt", "NUMBER", wanted->attempt, "of that attempt; without it of the last");
    options.value("-o,--output", "FILE", wanted->output, "write it there");
    options.flag("-r,--raw", wanted->raw, "a text without its quotes");
    return doing(wanted, result);
}

Run declare_cancel(Options& options) {
    const auto wanted = declare_one(options);
    options.flag("--kill", wanted->kill, "end its worker where nothing else helps");
    return doing(wanted, cancel);
}

Run declare_forget(Options& options) { return doing(declare_one(options), forget); }

}  // namespace

std::span<const Command> runs_commands() {
    static constexpr Command k_commands[] = {
        {"runs list", "NAME [OPTION]...", "the runs of a cluster", "Calls with a run_name, which outlive whoever started them.", "roundhouse runs list box", declare_list},
        {"runs show", "NAME RUN", "a run and its attempts", "", "roundhouse runs show box nightly", declare_show},
        {"runs logs", "NAME RUN [OPTION]...", "what a run has printed", "", "roundhouse runs logs box nightly -f", declare_logs},
        {"runs result", "NAME RUN [OPTION]...", "wait for a run's result", "How it ended is how this ends: an exception of your code exits with 4. JSON, as of a run that was started over HTTP.",
         "roundhouse runs result box nightly --timeout 60", declare_result},
        {"runs cancel", "NAME RUN [OPTION]...", "ask a run to stop", "", "roundhouse runs cancel box nightly", declare_cancel},
        {"runs forget", "NAME RUN", "remove an ended run with all its attempts", "Its name is free then.", "roundhouse runs forget box nightly", declare_forget},
    };
    return k_commands;
}

}  // namespace rh::cli
