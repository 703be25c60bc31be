// Which commands there are, and how they explain themselves: --help, the overview and the man page, all from the tables of
// the nouns.

#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/nouns.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

struct Group {
    std::string_view title;
    std::span<const Command> (*commands)();
};

constexpr Group k_groups[] = {
    {"Clusters", cluster_commands}, {"", status_commands},        {"", log_commands},         {"", export_commands}, {"Calls", run_commands},       {"", call_commands},
    {"Runs", runs_commands},        {"", debug_commands},           {"Values", object_commands},    {"Doors", server_commands},   {"", token_commands},       {"This program", config_commands}, {"", completion_commands},
};

// What Runhouse has behind "cluster" stands here by itself.
constexpr std::string_view k_of_cluster[] = {"up", "down", "list", "status", "ps", "logs", "export"};

constexpr std::string_view k_exits =
    "0 it worked; 1 it failed; 2 the command was not understood, or the arguments do not fit; 3 there is no such cluster or\n"
    "service, or the cluster is not up; 4 your code raised an exception; 124 it took longer than --timeout; 130 interrupted\n"
    "(143 by SIGTERM); 141 whoever read the output has closed it.";

std::vector<std::string_view> words_of(std::string_view path) {
    std::vector<std::string_view> words;
    for (;;) {
        const auto space = path.find(' ');
        words.push_back(path.substr(0, space));
        if (space == path.npos) return words;
        path.remove_prefix(space + 1);
    }
}

std::string indented(std::string_view text, std::string_view by) {
    std::string lines;
    for (;;) {
        const auto end = text.find('\n');
        lines += fmt::format("{}{}\n", by, text.substr(0, end));
        if (end == text.npos) return lines;
        text.remove_prefix(end + 1);
    }
}

std::string label_of(const Taken& taken) {
    std::string names = taken.names;
    for (auto at = names.find(','); at != names.npos; at = names.find(',', at + 2)) names.insert(at + 1, " ");
    if (!taken.value.empty()) names += " " + taken.value;
    return names;
}

// What every command takes.
void declare_all(const Command& command, Options& options, bool& json, bool& help) {
    command.declare(options);
    if (options.find("--json") == nullptr) options.flag("--json", json, "print JSON, for programs");
    options.flag("-h,--help", help, "explain this command");
}

}  // namespace

std::vector<const Command*> all_commands() {
    std::vector<const Command*> all;
    for (const Group& group : k_groups) {
        for (const Command& command : group.commands()) all.push_back(&command);
    }
    return all;
}

const Command* find_command(std::span<const std::string> words, std::size_t& used) {
    const bool of_cluster = words.size() > 1 && words[0] == "cluster" && std::find(std::begin(k_of_cluster), std::end(k_of_cluster), words[1]) != std::end(k_of_cluster);
    if (of_cluster) words = words.subspan(1);
    const Command* best = nullptr;
    used = 0;
    for (const Group& group : k_groups) {
        for (const Command& command : group.commands()) {
            const auto path = words_of(command.path);
            if (path.size() <= used || path.size() > words.size() || !std::equal(path.begin(), path.end(), words.begin())) continue;
            best = &command;
            used = path.size();
        }
    }
    used += of_cluster ? 1 : 0;
    return best;
}

std::string help_of(const Command& command, const Screen& screen) {
    Options options;
    bool json = false, help = false;
    declare_all(command, options, json, help);
    std::string text = fmt::format("{}: {}\n\n  roundhouse {} {}\n", screen.bold(fmt::format("roundhouse {}", command.path)), command.summary, command.path, command.usage);
    if (!command.text.empty()) text += "\n" + indented(command.text, "");
    std::size_t width = 0;
    for (const Taken& taken : options.taken()) width = std::max(width, std::min<std::size_t>(label_of(taken).size(), 26));
    for (const bool positional : {true, false}) {
        std::string lines;
        for (const Taken& taken : options.taken()) {
            if (taken.positional() != positional) continue;
            const std::string label = label_of(taken);
            lines += label.size() > width ? fmt::format("  {}\n  {:<{}}  {}\n", label, "", width, taken.help) : fmt::format("  {:<{}}  {}\n", label, width, taken.help);
        }
        if (!lines.empty()) text += "\n" + lines;
    }
    return text + fmt::format("\n{}\n{}", screen.dim(command.example.find('\n') == command.example.npos ? "Example" : "Examples"), indented(command.example, "  "));
}

std::string overview(const Screen& screen) {
    std::string text = fmt::format("{}: your functions and objects, on compute outside your own process\n\n  roundhouse COMMAND [ARGUMENT]...\n", screen.bold("roundhouse"));
    for (const Group& group : k_groups) {
        if (!group.title.empty()) text += fmt::format("\n{}\n", screen.dim(group.title));
        for (const Command& command : group.commands()) text += fmt::format("  {:<16}{}\n", command.path, command.summary);
    }
    return text + "\n`roundhouse COMMAND --help` explains one and gives an example; `man roundhouse` has them all.\n"
                  "--json prints JSON, for programs; --version the version.\n";
}

// --- the man page --------------------------------------------------------------------------------------------------

namespace {

// Text for roff: what it would take for a request, an escape or a hyphen to break at is none.
std::string roff(std::string_view text) {
    std::string out;
    bool line_begins = true;
    for (const char c : text) {
        if (line_begins && (c == '.' || c == '\'')) out += "\\&";
        line_begins = c == '\n';
        if (c == '\\') {
            out += "\\e";
        } else if (c == '-') {
            out += "\\-";
        } else if (c == '\'') {
            out += "\\(aq";
        } else if (c == '`') {
            out += "\\(ga";
        } else if (c == '"') {
            out += "\\(dq";
        } else if (c == '~') {
            out += "\\(ti";
        } else if (c == '^') {
            out += "\\(ha";
        } else {
            out += c;
        }
    }
    return out;
}

void append_command(std::string& page, const Command& command) {
    Options options;
    bool json = false, help = false;
    declare_all(command, options, json, help);
    const std::string_view text = command.text;
    page += fmt::format(".SS {}\n.B roundhouse {}\n{}\n.PP\n{}.\n{}", roff(command.path), roff(command.path), roff(command.usage), roff(std::string(1, static_cast<char>(std::toupper(static_cast<unsigned char>(command.summary[0]))))) + roff(command.summary.substr(1)),
                        text.empty() ? "" : roff(text) + "\n");
    for (const Taken& taken : options.taken()) {
        if (taken.names == "-h,--help") continue;
        page += fmt::format(".TP\n.B {}\n{}\n", roff(label_of(taken)), roff(taken.help));
    }
    page += fmt::format(".PP\n.EX\n{}\n.EE\n", roff(command.example));
}

}  // namespace

std::string man_page() {
    std::string page =
        ".\\\" Made from the program's own tables: roundhouse help --man\n"
        ".TH ROUNDHOUSE 1 \"\" \"Roundhouse " ROUNDHOUSE_VERSION "\" \"User Commands\"\n"
        ".SH NAME\nroundhouse, rh \\- your functions and objects, on compute outside your own process\n"
        ".SH SYNOPSIS\n.B roundhouse\n.I command\n.RI [ argument ]...\n"
        ".SH DESCRIPTION\n"
        "Brings clusters up, runs a Python file on one, calls what lives there, and tells what goes on.\n"
        "A plain name is a cluster on this machine, unless a variable\n.B ROUNDHOUSE_CLUSTER_NAME\nsays that it is elsewhere.\n"
        ".PP\n"
        "Standard output has the answer, standard error everything else.\n"
        "Tables are for people; with\n.B \\-\\-json\nevery command prints one JSON value instead, and errors as JSON to standard error.\n"
        "Colour and progress are for terminals only.\n"
        ".SH COMMANDS\n"
        "The commands\n.BR up ,\n.BR down ,\n.BR list ,\n.BR status ,\n.BR ps ,\n.B logs\nand\n.B export\nare also\n.B roundhouse cluster up\nand so on.\n";
    for (const Command* const command : all_commands()) append_command(page, *command);
    page += fmt::format(".SH EXIT STATUS\n{}\n", roff(k_exits));
    page += ".SH ENVIRONMENT\n";
    static constexpr std::pair<std::string_view, std::string_view> k_variables[] = {
        {"ROUNDHOUSE_STATE", "The folder of local clusters, instead of the usual one."},
        {"ROUNDHOUSE_CLUSTER_NAME", "Where the cluster of that name is, as `roundhouse export` writes it."},
        {"ROUNDHOUSE_DAEMON", "The daemon's program, instead of the one that was installed with this one."},
        {"VIRTUAL_ENV", "Whose Python run and put start workers with."},
        {"NO_COLOR", "No colour."},
    };
    for (const auto& [name, meaning] : k_variables) page += fmt::format(".TP\n.B {}\n{}\n", roff(name), roff(meaning));
    page += ".SH SEE ALSO\n.BR curl (1)\n";
    return page;
}

}  // namespace rh::cli
