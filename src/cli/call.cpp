// `roundhouse call`: a service, a method, and what the user typed for it.

#include "cli/nouns.h"

#include <fmt/format.h>

#include "cli/arguments.h"
#include "cli/node.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

struct CallOptions {
    std::string cluster, service, prints;
    std::optional<std::string> json, as, output;
    std::optional<double> timeout;
    bool raw = false, quiet = false;
};

// A name may have dots of its own, so the whole is looked for first.
Result<Json> describe(Node& node, std::string& service, std::string& method) {
    auto whole = node.ask("describe", {{"name", service}});
    if (whole || whole.error().code != Code::not_found) return whole;
    const auto dot = service.rfind('.');
    if (dot == service.npos || dot == 0) return whole;
    method = service.substr(dot + 1);
    service.resize(dot);
    return node.ask("describe", {{"name", service}});
}

// Who wrote our option behind the service gets told by the worker that it has no such parameter; this says why.
Error with_hint(Error error, const std::vector<std::string>& rest) {
    if (error.code != Code::bad_arguments) return error;
    for (const std::string& word : rest) {
        for (const std::string_view ours : {"--json", "--timeout", "--raw", "--as", "--prints", "--quiet"}) {
            if (word == ours) error.message += fmt::format(". (If you meant the {} of `roundhouse call`: it stands before the cluster's name)", ours);
        }
    }
    return error;
}

Result<void> call(const CallOptions& options, Context& context) {
    std::optional<std::string> json;
    if (options.json) {
        RH_TRY(json, read_json_option(*options.json));
    }
    RH_TRY(std::string arguments, arguments_of(context.rest, json));
    RH_TRY(Node node, open_node(options.cluster, context.screen));
    std::string service = options.service, method;
    RH_TRY(const Json description, describe(node, service, method));
    const std::string kind = text_of(description, "kind");
    const Showing showing{options.raw, options.quiet, options.output};
    if (kind == "class" && method.empty()) {
        const Json request{{"class", service}, {"method", nullptr}, {"name", options.as ? Json(*options.as) : Json()}, {"encoding", static_cast<int>(Encoding::json)}};
        auto made = node.ask("create", request, {arguments});
        if (!made) return fail(with_hint(std::move(made.error()), context.rest));
        RH_TRY(const std::string name, dump(Json(text_of(*made, "name"))));
        return show_value(Body::one(Encoding::json, as_byte_view(name)), showing, context.screen);
    }
    if (options.as) return usage_error(fmt::format("--as names the instance that a class makes, and {} is no class", options.service));
    if (method.empty()) {
        if (kind != "function") {
            std::vector<std::string> names;
            if (const auto methods = description.find("methods"); methods != description.end() && methods->is_object()) {
                for (const auto& [name, told] : methods->items()) {
                    if (!name.starts_with('_')) names.push_back(name);
                }
            }
            return usage_error(fmt::format("{} is {} {}: say which of its methods to call, as {}.{}. It has {}", service, kind == "class" ? "a" : "an", kind, service,
                                           names.empty() ? "METHOD" : names.front(), names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
        }
        method = "call";
    }
    std::string method_kind;
    if (const auto methods = description.find("methods"); methods != description.end() && methods->contains(method)) method_kind = text_of((*methods)[method], "kind");
    const bool generator = method_kind.ends_with("generator");
    Called called{service, method, {std::move(arguments)}};
    if (options.timeout) called.timeout_ms = static_cast<std::uint64_t>(*options.timeout * 1000) + 1;
    called.prints = prints_of(options.prints);
    if (generator) called.on_item = [&](ByteView item) { show_item(item, showing, context.screen); };
    auto value = node.call(called);
    if (!value) return fail(with_hint(std::move(value.error()), context.rest));
    if (generator) return {};
    return show_value(*value, showing, context.screen);
}

Run declare_call(Options& options) {
    const auto wanted = std::make_shared<CallOptions>();
    options.positional("NAME", wanted->cluster, "the cluster");
    options.positional("SERVICE", wanted->service, "the service, with .METHOD where it is no function");
    options.value("--json", "JSON", wanted->json, "all arguments as JSON: {named}, [positional], or both with the key \"*\"; - reads them, @FILE too");
    options.value("-t,--timeout", "SECONDS", wanted->timeout, "end the call when it takes longer");
    options.value("--as", "INSTANCE", wanted->as, "of a class: what the new instance is called");
    options.value("-o,--output", "FILE", wanted->output, "write the result there");
    options.flag("-r,--raw", wanted->raw, "a text without its quotes");
    options.flag("-q,--quiet", wanted->quiet, "no result");
    options.choice("--prints", {"split", "stderr", "none"}, wanted->prints, "where what the method prints goes");
    return [wanted](Context& context) { return call(*wanted, context); };
}

}  // namespace

Prints prints_of(std::string_view word) { return word == "stderr" ? Prints::err : word == "none" ? Prints::none : Prints::split; }

std::span<const Command> call_commands() {
    static constexpr Command k_commands[] = {
        {"call", "[OPTION]... NAME SERVICE[.METHOD] [ARGUMENT]... [--PARAMETER VALUE]...", "call a service",
         "Options of this command stand before the cluster's name: everything behind the service is the service's own.\n"
         "Arguments are texts, which become what the parameters' annotations ask for. What the method prints appears as it\n"
         "prints it; the result comes last, as one line of JSON, each item of a generator on a line of its own. Calling a\n"
         "class makes an instance and prints its name. Ctrl-C cancels the call.",
         "roundhouse call box train 3 --rate 0.1\n"
         "roundhouse call --json '{\"epochs\": 3}' box train\n"
         "roundhouse call --as visits box Counter --start 10",
         declare_call, 2},
    };
    return k_commands;
}

}  // namespace rh::cli
