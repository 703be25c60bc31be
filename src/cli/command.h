#pragma once

// What a command is: how it is called, what it takes, what it says of itself, and what it does. Each noun's file has a
// table of its commands; commands.cpp has the list of tables. --help, completion and the man page all read these, so that
// they cannot disagree. Nothing is built before it is known which command runs: a program that starts a thousand times
// must start cheaply.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace rh::cli {

class Screen;

// Never renumber: scripts look at these (docs/cli.md).
enum class Exit : int {
    ok = 0,
    failed = 1,
    usage = 2,
    not_found = 3,
    raised = 4,
    timeout = 124,
    interrupted = 130,
    closed = 141,  // nobody reads the output any more
    terminated = 143,
};

struct Context {
    Screen& screen;
    bool json = false;              // for programs, not for people
    std::vector<std::string> rest{};  // what stands behind the command's own words
};

// One thing that a command takes, for people and for completion.
struct Taken {
    std::string names;  // "-f,--follow", or the name of a positional: "SERVICE"
    std::string value;  // "SECONDS"; empty for flags and positionals
    std::string help;
    bool required = false;
    bool many = false;

    bool positional() const { return names.front() != '-'; }
};

// What a command takes, declared once. The variables must live as long as the command runs.
class Options {
public:
    Options();
    ~Options();

    void positional(std::string name, std::string& to, std::string help, bool required = true);
    void positional(std::string name, std::vector<std::string>& to, std::string help, bool required = true);
    void flag(std::string names, bool& to, std::string help);
    void value(std::string names, std::string placeholder, std::string& to, std::string help, bool required = false);
    void value(std::string names, std::string placeholder, std::optional<std::string>& to, std::string help);
    void value(std::string names, std::string placeholder, std::optional<std::uint64_t>& to, std::string help);
    void value(std::string names, std::string placeholder, std::optional<double>& to, std::string help);
    void value(std::string names, std::string placeholder, std::vector<std::string>& to, std::string help);
    // One of those words, the first of which is the default.
    void choice(std::string names, std::vector<std::string> words, std::string& to, std::string help);

    const std::vector<Taken>& taken() const { return taken_; }
    // The option of that name ("-f", "--follow"), or null.
    const Taken* find(std::string_view name) const;
    Result<void> parse(std::vector<std::string> words);

private:
    std::unique_ptr<CLI::App> app_;
    std::vector<Taken> taken_;
};

using Run = std::function<Result<void>(Context&)>;

struct Command {
    std::string_view path;     // "token create"
    std::string_view usage;    // what follows it: "NAME [OPTION]..."
    std::string_view summary;  // in a few words, for lists
    std::string_view text;     // the rest of its help
    std::string_view example;  // lines to type
    Run (*declare)(Options& options);
    // After so many positionals everything belongs to the user's function; -1: after "--" only; nothing: it takes none.
    std::optional<int> rest_after{};
};

// Every command, in the order of the page.
std::vector<const Command*> all_commands();
// The command that these words begin with, and how many of them it is; null when they name none.
const Command* find_command(std::span<const std::string> words, std::size_t& used);
// Also by the names that Runhouse had: "cluster up" is "up".
std::string_view without_alias(std::string_view path);

std::string help_of(const Command& command, const Screen& screen);
std::string overview(const Screen& screen);
std::string man_page();
// The nearest of the words, when it is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& among);

// The command line's whole life: parses, runs, prints, and says how it ended.
int run(int argc, char** argv);

// Errors of the command line's own.
inline tl::unexpected<Error> usage_error(std::string message) { return fail(Error(Code::bad_arguments, std::move(message)).with("usage", "")); }
// What a remote exception becomes here.
Error raised_error(std::string type, std::string message, std::string traceback);
Error interrupted_error(int signal);
Exit exit_of(const Error& error);

}  // namespace rh::cli
