// `roundhouse run`: the text of a Python file, a worker for it, and a call of one of its functions.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/ids.h"
#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "process/spawn.h"

namespace rh::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t k_source_bytes_max = 16 * 1024 * 1024;

struct RunOptions {
    std::string target, cluster, prints;
    std::optional<std::string> python, name, memory, json, output;
    std::optional<std::uint64_t> cpus, gpus, workers;
    std::optional<double> timeout;
    std::vector<std::string> env;
    bool keep = false, replace = false, raw = false, quiet = false;
};

struct Target {
    std::string file;
    std::string callable;
};

Result<Target> parse_target(const std::string& text) {
    const auto colons = text.rfind("::");
    if (colons == text.npos || colons == 0 || colons + 2 == text.size())
        return usage_error(fmt::format("{} does not say which function of which file. Try: {}::FUNCTION", text, text.ends_with("::") ? text.substr(0, text.size() - 2) : text));
    return Target{text.substr(0, colons), text.substr(colons + 2)};
}

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

bool is_program(const fs::path& path) {
    std::error_code error;
    return ::access(path.c_str(), X_OK) == 0 && !fs::is_directory(path, error);
}

std::string in_path(const std::string& program) {
    std::istringstream folders(variable("PATH"));
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (!folder.empty() && is_program(fs::path(folder) / program)) return fs::path(folder) / program;
    }
    return program;
}

// What is missing most often, in words that help.
Error with_advice(Error error, const std::vector<std::string>& command) {
    const std::string_view tail = error.fact("stderr_tail");
    const std::string all = error.message + std::string(tail);
    if (all.find("No module named roundhouse") != all.npos || all.find("No module named 'roundhouse'") != all.npos)
        error.message = fmt::format("{} has no Roundhouse, which a worker needs. Try: --python PATH of one that has, or install it there: {} -m pip install roundhouse", command.front(), command.front());
    return error;
}

// The service goes in the end, however that comes, unless it is to be kept.
class Guard {
public:
    Guard(Node& node, std::string name) : node_(node), name_(std::move(name)) {}
    ~Guard() {
        if (!name_.empty()) [[maybe_unused]] const auto gone = node_.ask("delete", {{"name", name_}}, {}, true);
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    void keep() { name_.clear(); }

private:
    Node& node_;
    std::string name_;
};

Result<Json> deploy(Node& node, const RunOptions& options, const Target& target, const std::string& name, const std::string& source, Screen& screen) {
    const std::vector<std::string> command = worker_command(options.python, node.place());
    Json start = start_request(command, node.place(), options.env);
    start["count"] = options.workers.value_or(1);
    if (options.cpus) start["cpus"] = *options.cpus;
    if (options.gpus) start["gpus"] = *options.gpus;
    if (options.memory) {
        RH_TRY(start["memory"], parse_bytes(*options.memory));
    }
    std::error_code error;
    fs::path file = fs::weakly_canonical(target.file, error);
    if (error) file = target.file;
    start["import_path"] = Json::array({file.parent_path().string()});
    screen.progress(fmt::format("starting {} ...", command.front()));
    RH_TRY(const Json started, node.ask("start", start));
    screen.progress(fmt::format("sending {} ...", target.file));
    Json code{{"callable", target.callable}};
    // What it imports of its project, as that is now.
    if (const std::string root = client::project_root(file); !root.empty()) {
        RH_TRY(const client::CodeSent sent, node.send_code(root));
        code["snapshot"] = {{"id", sent.snapshot}, {"root", root}};
    } else if (!node.place().local) {
        file = file.filename();
    }
    code["file"] = file.string();
    const Json request{{"name", name}, {"kind", nullptr}, {"workers", started.value("workers", Json::array())}, {"source", code},
                       {"encoding", static_cast<int>(Encoding::empty)}, {"replace", options.replace}};
    auto deployed = node.ask("deploy", request, {source});
    screen.progress("");
    if (!deployed) return fail(with_advice(std::move(deployed.error()), command));
    return deployed;
}

Result<void> run_file(const RunOptions& options, Context& context) {
    RH_TRY(const Target target, parse_target(options.target));
    std::optional<std::string> json;
    if (options.json) {
        RH_TRY(json, read_json_option(*options.json));
    }
    RH_TRY(std::string arguments, arguments_of(context.rest, json));
    RH_TRY(const std::string source, read_input(target.file, k_source_bytes_max));
    RH_TRY(const Place place, find_place(options.cluster));
    // Any that this user has under the name that a file's function usually gets must not be replaced by a run that is to
    // leave nothing behind.
    const std::string plain = target.callable.substr(target.callable.rfind('.') + 1);
    const std::string name = options.name.value_or(options.keep ? plain : fmt::format("{}-{}", plain, random_hex(4)));
    if (place.local) {
        RH_TRY([[maybe_unused]] const bool started, bring_up(place, {}, context.screen));
    }
    RH_TRY(Node node, Node::open(place, context.screen));
    RH_TRY(const Json description, deploy(node, options, target, name, source, context.screen));
    Guard guard(node, name);
    if (options.keep) guard.keep();
    const std::string kind = text_of(description, "kind");
    if (kind == "class") {
        if (!options.keep) return usage_error(fmt::format("{} is a class, which is of use only when it stays. Try: --keep, then `roundhouse call {} {}` makes an instance", target.callable, place.name, plain));
        if (!context.rest.empty()) return usage_error(fmt::format("{} is a class and is there now. To make an instance: roundhouse call {} {} ARGUMENT...", target.callable, place.name, name));
        context.screen.note(fmt::format("{} is there. To make an instance: roundhouse call --as NAME {} {} ARGUMENT...", name, place.name, name));
        return {};
    }
    Called called{name, "call", {std::move(arguments)}};
    if (options.timeout) called.timeout_ms = static_cast<std::uint64_t>(*options.timeout * 1000) + 1;
    called.prints = prints_of(options.prints);
    const Showing showing{options.raw, options.quiet, options.output};
    std::string method_kind;
    if (const auto methods = description.find("methods"); methods != description.end() && methods->contains("call")) method_kind = text_of((*methods)["call"], "kind");
    const bool generator = method_kind.ends_with("generator");
    if (generator) called.on_item = [&](ByteView item) { show_item(item, showing, context.screen); };
    RH_TRY(const Body value, node.call(called));
    if (options.keep) context.screen.note(fmt::format("{} stays. To call it: roundhouse call {} {} ARGUMENT...", name, place.name, name));
    Result<void> shown;
    if (!generator) shown = show_value(value, showing, context.screen);
    // Before the service goes, which takes a moment.
    context.screen.flush();
    return shown;
}

Run declare_run(Options& options) {
    const auto wanted = std::make_shared<RunOptions>();
    options.positional("FILE::FUNCTION", wanted->target, "a Python file, and a function or class in it");
    options.value("--on", "NAME", wanted->cluster, "the cluster; a local one is brought up if it is not", true);
    options.value("--python", "PATH", wanted->python, "the worker's Python; else that of $VIRTUAL_ENV, else python3 in $PATH");
    options.flag("-k,--keep", wanted->keep, "the service stays when the call has ended");
    options.value("--name", "SERVICE", wanted->name, "what it is called there, instead of like the function");
    options.flag("--replace", wanted->replace, "also where that is another's, or busy");
    options.value("--workers", "N", wanted->workers, "as many workers, of a function");
    options.value("--cpus", "N", wanted->cpus, "CPUs for each worker alone");
    options.value("--gpus", "N", wanted->gpus, "GPUs for each worker alone");
    options.value("--memory", "SIZE", wanted->memory, "memory that each worker may have");
    options.value("-e,--env", "NAME=VALUE", wanted->env, "a variable for the worker; may be given again");
    options.value("--json", "JSON", wanted->json, "all arguments as JSON; - reads them, @FILE too");
    options.value("-t,--timeout", "SECONDS", wanted->timeout, "end the call when it takes longer");
    options.value("-o,--output", "FILE", wanted->output, "write the result there");
    options.flag("-r,--raw", wanted->raw, "a text without its quotes");
    options.flag("-q,--quiet", wanted->quiet, "no result");
    options.choice("--prints", {"split", "stderr", "none"}, wanted->prints, "where what the function prints goes");
    return [wanted](Context& context) { return run_file(*wanted, context); };
}

}  // namespace

std::string python_here(const std::optional<std::string>& chosen) {
    if (chosen) return chosen->find('/') != chosen->npos ? fs::absolute(*chosen).string() : *chosen;
    if (const std::string environment = variable("VIRTUAL_ENV"); !environment.empty() && is_program(fs::path(environment) / "bin/python")) return fs::path(environment) / "bin/python";
    return in_path("python3");
}

std::vector<std::string> worker_command(const std::optional<std::string>& chosen, const Place& place) {
    return {place.local ? python_here(chosen) : chosen.value_or("python3"), "-m", "roundhouse._worker"};
}

Json start_request(const std::vector<std::string>& command, const Place& place, const std::vector<std::string>& env) {
    Json variables = Json::object();
    std::string folder = "/";
    if (place.local) {
        // A worker that is started from inside another one is no part of that one.
        for (const std::string& entry : process::without_marks(process::current_environment())) {
            const auto equals = entry.find('=');
            // Tokens of other clusters are none of a worker's business.
            if (equals != entry.npos && equals != 0 && !entry.starts_with("ROUNDHOUSE_CLUSTER_")) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
        }
        std::error_code error;
        const fs::path here = fs::current_path(error);
        if (!error) folder = here.string();
    } else {
        variables = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LANG", "C.UTF-8"}};
    }
    for (const std::string& entry : env) {
        const auto equals = entry.find('=');
        if (equals != entry.npos && equals != 0) {
            variables[entry.substr(0, equals)] = entry.substr(equals + 1);
        } else if (const char* const value = std::getenv(entry.c_str())) {
            variables[entry] = value;  // As `docker run -e NAME` has it.
        }
    }
    return {{"command", command}, {"env", std::move(variables)}, {"cwd", std::move(folder)}, {"count", 1}};
}

std::span<const Command> run_commands() {
    static constexpr Command k_commands[] = {
        {"run", "FILE::FUNCTION --on NAME [OPTION]... [-- ARGUMENT...]", "send a Python file and call a function in it",
         "The file's text travels, and runs in a new worker: a Python with Roundhouse installed. What stands behind -- belongs\n"
         "to the function. What it prints appears as it prints it; the result comes last, as one line of JSON. Then the\n"
         "service goes, unless --keep. Ctrl-C cancels the call.",
         "roundhouse run train.py::train --on box -- --epochs 3\nroundhouse run train.py::Trainer --on box --keep", declare_run, -1},
    };
    return k_commands;
}

}  // namespace rh::cli
