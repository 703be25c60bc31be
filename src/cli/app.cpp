// From the words that were typed to how it ended.

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "cli/command.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "cli/signals.h"

namespace rh::cli {

namespace {

// --help and --json may also stand before the command, where no command's own option can be meant.
struct Typed {
    std::vector<std::string> words;
    bool json = false;
    bool help = false;
    bool version = false;
};

Result<Typed> parse_front(int argc, char** argv) {
    Typed typed;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; ++at) {
        const std::string_view word = argv[at];
        if (word == "--json") {
            typed.json = true;
        } else if (word == "-h" || word == "--help") {
            typed.help = true;
        } else if (word == "-v" || word == "-V" || word == "--version") {
            typed.version = true;
        } else {
            return usage_error(fmt::format("{} was not expected before a command", word));
        }
    }
    for (; at < argc; ++at) typed.words.emplace_back(argv[at]);
    return typed;
}

// What belongs to the user's function, cut off.
std::vector<std::string> cut_rest(const Command& command, const Options& options, std::vector<std::string>& words) {
    if (!command.rest_after) return {};
    int positionals = 0;
    std::size_t end = words.size(), rest = end;
    for (std::size_t at = 0; at < words.size() && end == words.size(); ++at) {
        const std::string& word = words[at];
        if (word == "--" && *command.rest_after < 0) {
            end = at;
            rest = at + 1;
        } else if (word.size() > 1 && word.front() == '-') {
            const Taken* const taken = options.find(word);
            if (taken != nullptr && !taken->value.empty()) ++at;
        } else if (++positionals == *command.rest_after) {
            end = rest = at + 1;
        }
    }
    std::vector<std::string> cut(words.begin() + static_cast<std::ptrdiff_t>(std::min(rest, words.size())), words.end());
    words.resize(end);
    return cut;
}

// Where a shell has closed one (`>&-`), the connection to the node must not get its number, and our output with it.
void keep_standard_descriptors() {
    for (int number = 0; number <= 2; ++number) {
        if (::fcntl(number, F_GETFD) == -1) [[maybe_unused]] const int opened = ::open("/dev/null", O_RDWR);
    }
}

Error unknown_command(const std::vector<std::string>& words) {
    std::vector<std::string> known{"cluster", "help"};
    const std::string typed = fmt::format("{}", fmt::join(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(words.size(), 2)), " "));
    std::string members;
    for (const Command* const command : all_commands()) {
        known.emplace_back(command->path);
        if (command->path.starts_with(words.front() + " ")) members += fmt::format("{}{}", members.empty() ? "" : ", ", command->path);
    }
    if (words.front() == "cluster") members = "cluster up, down, list, status, ps, logs, export";
    std::string close = nearest(typed, known);
    if (close.empty()) close = nearest(words.front(), known);
    std::string message = members.empty() || (words.size() > 1 && !close.empty())
                              ? fmt::format("there is no command \"{}\"{}", harmless(close.empty() || close.find(' ') == close.npos ? words.front() : typed), close.empty() ? "" : fmt::format(". Did you mean \"{}\"?", close))
                              : fmt::format("\"{}\" is several commands: {}", harmless(words.front()), members);
    return Error(Code::bad_arguments, message + (message.ends_with('?') ? "" : ".") + " `roundhouse --help` lists all").with("usage", "");
}

bool is_usage(const Error& error) {
    return std::any_of(error.context.begin(), error.context.end(), [](const auto& fact) { return fact.first == "usage"; });
}

std::string_view plain_type(std::string_view type) { return type.starts_with("builtins.") ? type.substr(9) : type; }

std::string error_json(const Error& error) {
    const bool raised = !error.fact("raised").empty();
    Json facts = Json::object();
    for (const auto& [key, value] : error.context) {
        if (key != "raised" && key != "traceback" && key != "usage") facts[key] = value;
    }
    const Json told{{"type", raised ? plain_type(error.fact("raised")) : code_type(error.code)}, {"code", raised ? "raised" : is_usage(error) ? "usage" : code_name(error.code)},
                    {"message", error.message}, {"traceback", raised ? Json(std::string(error.fact("traceback"))) : Json()}, {"facts", facts}};
    return Json{{"error", told}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void tell(const Error& error, std::string_view command, bool json, Screen& screen) {
    if (exit_of(error) == Exit::closed) return;
    if (json) return screen.err(error_json(error));
    const auto line = [&](std::string_view word, std::string_view text) { screen.err(fmt::format("roundhouse: {}: {}\n", screen.red_err(word), text)); };
    if (const std::string_view raised = error.fact("raised"); !raised.empty()) {
        std::string traceback(error.fact("traceback"));
        if (!traceback.empty() && !traceback.ends_with('\n')) traceback += '\n';
        screen.err(traceback);
        return line("raised", fmt::format("{}: {}", plain_type(raised), error.message.substr(0, traceback.empty() ? error.message.npos : error.message.find('\n'))));
    }
    if (is_usage(error)) {
        const bool closed = error.message.ends_with('?') || error.message.ends_with("lists all");
        return line("usage", command.empty() ? error.message : fmt::format("{}{} `roundhouse {} --help` explains it", error.message, closed ? "" : ".", command));
    }
    line(code_name(error.code), error.message);
    const std::string_view tail = error.fact("stderr_tail");
    if (!tail.empty() && error.message.find(tail.substr(0, 40)) == error.message.npos) screen.err(fmt::format("{}{}", tail, tail.ends_with('\n') ? "" : "\n"));
}

int finish(const Result<void>& done, std::string_view command, bool json, Screen& screen) {
    screen.progress("");
    screen.flush();
    if (!done) {
        tell(done.error(), command, json, screen);
        return static_cast<int>(exit_of(done.error()));
    }
    if (!screen.problem().empty()) {
        tell(Error(Code::io, screen.problem()), command, json, screen);
        return static_cast<int>(Exit::failed);
    }
    return static_cast<int>(screen.closed() ? Exit::closed : Exit::ok);
}

Result<void> run_command(const Command& command, std::vector<std::string> words, Context& context) {
    Options options;
    const Run run = command.declare(options);
    bool help = false;
    if (options.find("--json") == nullptr) options.flag("--json", context.json, "print JSON, for programs");
    options.flag("-h,--help", help, "explain this command");
    context.rest = cut_rest(command, options, words);
    if (std::any_of(words.begin(), words.end(), [](const std::string& word) { return word == "-h" || word == "--help"; })) {
        context.screen.out(help_of(command, context.screen));
        return {};
    }
    if (const auto parsed = options.parse(std::move(words)); !parsed) {
        Error error = parsed.error();
        if (command.rest_after && *command.rest_after < 0 && error.message.find("was not expected") != error.message.npos) error.message += ". (Arguments of the function stand behind --)";
        return fail(std::move(error));
    }
    return run(context);
}

Result<void> help(std::span<const std::string> words, Screen& screen) {
    std::size_t used = 0;
    if (!words.empty() && words.front() == "--man") {
        screen.out(man_page());
        return {};
    }
    const Command* const command = words.empty() ? nullptr : find_command(words, used);
    if (command == nullptr && !words.empty()) return fail(unknown_command({words.begin(), words.end()}));
    screen.out(command == nullptr ? overview(screen) : help_of(*command, screen));
    return {};
}

}  // namespace

int run(int argc, char** argv) {
    keep_standard_descriptors();
    watch_signals();
    Screen screen;
    const Result<Typed> typed = parse_front(argc, argv);
    if (!typed) return finish(fail(typed.error()), "", false, screen);
    std::vector<std::string> words = typed->words;
    Context context{screen, typed->json};
    if (typed->version) words = {"version"};
    if (words.empty() && !typed->help) {
        screen.err(overview(screen));
        return static_cast<int>(Exit::usage);
    }
    if (typed->help || words.front() == "help") {
        if (!words.empty() && words.front() == "help") words.erase(words.begin());
        return finish(help(words, screen), "", context.json, screen);
    }
    if (words.front() == "__complete") {
        complete({words.begin() + 1, words.end()}, screen);
        return finish({}, "", false, screen);
    }
    std::size_t used = 0;
    const Command* const command = find_command(words, used);
    const bool group_help = command == nullptr && words.size() > 1 && (words[1] == "--help" || words[1] == "-h");
    if (group_help) {
        screen.out(overview(screen));
        return finish({}, "", false, screen);
    }
    if (command == nullptr) return finish(fail(unknown_command(words)), "", context.json, screen);
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
    Result<void> done;
    try {
        done = run_command(*command, std::move(words), context);
    } catch (const std::exception& error) {
        // A library's, of which none should come this far.
        done = fail(Code::internal, fmt::format("{} (this is a bug of Roundhouse)", error.what()));
    }
    return finish(done, command->path, context.json, screen);
}

}  // namespace rh::cli
