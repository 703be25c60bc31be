// `roundhouse put`, `get`, `keys` and `delete`: values, and names.

#include <fmt/format.h>

#include "base/limits.h"
#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

constexpr std::string_view k_bytes = "application/octet-stream";
constexpr std::string_view k_npy = "application/x-npy";
// Where Python puts values as well (box.put), unless it is told otherwise.
constexpr std::string_view k_default_process = "default_process";
constexpr std::uint64_t k_value_bytes_max = std::uint64_t{16} << 30;

// --- put -----------------------------------------------------------------------------------------------------------

struct PutOptions {
    std::string cluster, key, file, type;
    std::optional<std::string> json, python;
    std::string process{k_default_process};
};

std::string type_of(const PutOptions& options) {
    if (options.type != "auto") return options.type;
    return options.file.ends_with(".npy") ? "npy" : options.file.ends_with(".json") ? "json" : "bytes";
}

// The parts of the value: JSON, or what stands for raw bytes beside it.
Result<std::vector<std::string>> value_parts(const PutOptions& options) {
    if (options.json || type_of(options) == "json") {
        RH_TRY(std::string text, options.json ? read_json_option(*options.json) : read_input(options.file, k_value_bytes_max));
        if (!Json::accept(text)) return usage_error(fmt::format("{} is not JSON. Try: --type text, or quotes around a text: '\"like this\"'", options.json ? "what --json gives" : options.file));
        return std::vector<std::string>{std::move(text)};
    }
    RH_TRY(std::string content, read_input(options.file, k_value_bytes_max));
    if (type_of(options) == "text") {
        RH_TRY(std::string text, dump(Json(content)));
        return std::vector<std::string>{std::move(text)};
    }
    const Json marker{{"$part", 1}, {"type", type_of(options) == "npy" ? k_npy : k_bytes}};
    return std::vector<std::string>{marker.dump(), std::move(content)};
}

Result<void> put(const PutOptions& options, Context& context) {
    if (options.json && !options.file.empty()) return usage_error("a FILE and --json are two values. Try: leave one of them out");
    if (!options.json && options.file.empty()) return usage_error("the value is missing. Try: a FILE, - for standard input, or --json VALUE");
    RH_TRY(const std::vector<std::string> parts, value_parts(options));
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    Json process = start_request(worker_command(options.python, node.place()), node.place(), {});
    process["name"] = options.process;
    process["exist_ok"] = true;
    process["vars"] = Json::object();
    RH_TRY([[maybe_unused]] const Json made, node.ask("create_process", process));
    RH_TRY(const Json kept, node.ask("deploy", {{"name", options.key}, {"kind", "object"}, {"process", options.process}, {"encoding", static_cast<int>(Encoding::json)}}, parts));
    if (context.json) {
        context.screen.json({{"key", options.key}, {"kind", "object"}});
    } else {
        context.screen.note(fmt::format("{} is on {}", options.key, node.place().name));
    }
    return {};
}

Run declare_put(Options& options) {
    const auto wanted = std::make_shared<PutOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("KEY", wanted->key, "what the value is called there");
    options.positional("FILE", wanted->file, "what it is; - for standard input", false);
    options.value("--json", "JSON", wanted->json, "the value itself, as JSON; - reads it, @FILE too");
    options.choice("--type", {"auto", "bytes", "text", "json", "npy"}, wanted->type, "what the file holds; auto: by its name's end, else bytes");
    options.value("--process", "PROCESS", wanted->process, "the process that it lives in, which is made if need be");
    options.value("--python", "PATH", wanted->python, "the Python of a process that is made, as for run");
    return [wanted](Context& context) { return put(*wanted, context); };
}

// --- get -----------------------------------------------------------------------------------------------------------

struct GetOptions {
    std::string cluster, key;
    std::optional<std::string> output;
    bool raw = false;
};

Result<void> get(const GetOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    RH_TRY(const Json description, node.ask("describe", {{"name", options.key}}));
    const std::string kind = text_of(description, "kind");
    if (kind == "function" || kind == "class")
        return fail(Code::bad_arguments, fmt::format("{} is a {}, which can be called, not read. Try: roundhouse call {} {}", options.key, kind, node.place().name, options.key));
    const bool array = options.output && options.output->ends_with(".npy");
    RH_TRY(std::string arguments, arguments_of({}, std::nullopt, array ? std::string(k_npy) : ""));
    RH_TRY(const Body value, node.call({options.key, "@fetch", {std::move(arguments)}}));
    return show_value(value, {options.raw, false, options.output}, context.screen);
}

Run declare_get(Options& options) {
    const auto wanted = std::make_shared<GetOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("KEY", wanted->key, "the value");
    options.value("-o,--output", "FILE", wanted->output, "write it there; an array to FILE.npy as NumPy saves it");
    options.flag("-r,--raw", wanted->raw, "a text without its quotes");
    return [wanted](Context& context) { return get(*wanted, context); };
}

// --- keys, delete --------------------------------------------------------------------------------------------------

Result<void> keys(const std::string& name, Context& context) {
    RH_TRY(Node node, open_node(name, context.screen));
    RH_TRY(const Json status, node.ask("status"));
    Json all = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const Json& service : status.value("services", Json::array())) {
        const std::string process = text_of(service, "process");
        all.push_back({{"key", service.value("name", Json())}, {"kind", service.value("kind", Json())}, {"process", process.empty() ? Json() : Json(process)}});
        rows.push_back({text_of(service, "name"), text_of(service, "kind"), process.empty() ? "-" : process});
    }
    if (context.json) {
        context.screen.json(all);
    } else if (!rows.empty()) {
        context.screen.table({"KEY", "KIND", "PROCESS"}, rows);
    }
    return {};
}

Run declare_keys(Options& options) {
    const auto name = std::make_shared<std::string>();
    options.positional("NAME", *name, "the cluster");
    return [name](Context& context) { return keys(*name, context); };
}

struct DeleteOptions {
    std::string cluster;
    std::vector<std::string> keys;
};

Result<void> remove(const DeleteOptions& options, Context& context) {
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    Json deleted = Json::array();
    for (const std::string& key : options.keys) {
        RH_TRY([[maybe_unused]] const Json gone, node.ask("delete", {{"name", key}}));
        deleted.push_back(key);
        if (!context.json) context.screen.note(fmt::format("{} is gone", key));
    }
    if (context.json) context.screen.json({{"deleted", deleted}});
    return {};
}

Run declare_delete(Options& options) {
    const auto wanted = std::make_shared<DeleteOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("KEY", wanted->keys, "services and values; instances outlive their class");
    return [wanted](Context& context) { return remove(*wanted, context); };
}

}  // namespace

std::span<const Command> object_commands() {
    static constexpr Command k_commands[] = {
        {"put", "NAME KEY [FILE] [OPTION]...", "keep a value under a key",
         "A file's bytes, what standard input brings, or JSON. Methods that are called over HTTP take it as {\"$ref\": KEY}; Python\n"
         "reads it with get(). It lives in a process of the cluster, and dies with that.",
         "roundhouse put box settings --json '{\"rate\": 0.1}'\nroundhouse put box digits digits.npy", declare_put},
        {"get", "NAME KEY [OPTION]...", "read a value",
         "JSON on standard output; bytes as they are, except to a terminal.", "roundhouse get box settings\nroundhouse get box digits -o digits.npy", declare_get},
        {"keys", "NAME", "every name on a cluster", "Functions, classes, instances and values.", "roundhouse keys box", declare_keys},
        {"delete", "NAME KEY...", "delete services and values", "Calls that run in them end with their worker.", "roundhouse delete box settings digits", declare_delete},
    };
    return k_commands;
}

}  // namespace rh::cli
