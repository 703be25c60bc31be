// `roundhouse completion` and `version`, and what a shell asks while somebody types. The scripts only ask this program, so
// that they never have to change with it.

#include <fmt/format.h>

#include <set>
#include <sstream>

#include "cli/nouns.h"
#include "cli/screen.h"
#include "launch/local_names.h"

namespace rh::cli {

namespace {

constexpr std::string_view k_bash = R"sh(# roundhouse completion bash
_roundhouse() {
    local line lines=()
    COMPREPLY=()
    while IFS= read -r line; do lines+=("${line%%$'\t'*}"); done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${lines[0]} == ":files" ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    COMPREPLY=("${lines[@]}")
}
complete -F _roundhouse roundhouse rh
)sh";

constexpr std::string_view k_zsh = R"sh(#compdef roundhouse rh
# roundhouse completion zsh
_roundhouse() {
    local line
    local -a lines found
    lines=("${(@f)$("$words[1]" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $lines[1] == ":files" ]]; then
        _files
        return
    fi
    for line in $lines; do
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe roundhouse found
}
if [[ $funcstack[1] == _roundhouse ]]; then
    _roundhouse "$@"
else
    compdef _roundhouse roundhouse rh
fi
)sh";

constexpr std::string_view k_fish = R"sh(# roundhouse completion fish
function __roundhouse_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null | string match -v -- ':files'
end
complete -c roundhouse -a '(__roundhouse_complete)'
complete -c rh -a '(__roundhouse_complete)'
)sh";

Run declare_completion(Options& options) {
    const auto shell = std::make_shared<std::string>();
    options.positional("SHELL", *shell, "bash, zsh or fish");
    return [shell](Context& context) -> Result<void> {
        const std::string_view script = *shell == "bash" ? k_bash : *shell == "zsh" ? k_zsh : *shell == "fish" ? k_fish : "";
        if (script.empty()) return usage_error(fmt::format("there is no script for {}. Try: bash, zsh or fish", harmless(*shell)));
        if (context.json) {
            context.screen.json({{"shell", *shell}, {"script", script}});
        } else {
            context.screen.out(script);
        }
        return {};
    };
}

Run declare_version(Options&) {
    return [](Context& context) -> Result<void> {
        if (context.json) {
            context.screen.json({{"version", ROUNDHOUSE_VERSION}});
        } else {
            context.screen.out("roundhouse " ROUNDHOUSE_VERSION "\n");
        }
        return {};
    };
}

// --- what may come next --------------------------------------------------------------------------------------------

// bash takes "=" and ":" for words of their own.
std::vector<std::string> rejoined(const std::vector<std::string>& words) {
    std::vector<std::string> joined;
    bool glue = false;
    for (const std::string& word : words) {
        const bool mark = word == "=" || word == ":" || word == "::";
        if ((mark || glue) && !joined.empty()) {
            joined.back() += word;
        } else {
            joined.push_back(word);
        }
        glue = mark;
    }
    return joined;
}

class Candidates {
public:
    Candidates(std::string typed, Screen& screen) : typed_(std::move(typed)), screen_(screen) {}
    void add(std::string_view word, std::string_view meaning = "") {
        if (word.starts_with(typed_) && seen_.insert(std::string(word)).second) screen_.out(meaning.empty() ? fmt::format("{}\n", word) : fmt::format("{}\t{}\n", word, meaning));
    }
    void files() { screen_.out(":files\n"); }
    const std::string& typed() const { return typed_; }

private:
    const std::string typed_;
    Screen& screen_;
    std::set<std::string> seen_;
};

void add_command_words(std::span<const std::string> before, Candidates& candidates) {
    for (const Command* const command : all_commands()) {
        std::istringstream path{std::string(command->path)};
        std::vector<std::string> words;
        for (std::string word; path >> word;) words.push_back(word);
        if (words.size() > before.size() && std::equal(before.begin(), before.end(), words.begin()))
            candidates.add(words[before.size()], words.size() == before.size() + 1 ? command->summary : "");
    }
    if (before.empty()) {
        candidates.add("cluster", "up, down, list, status, ps, logs, export");
        candidates.add("help", "explain a command");
    } else if (before.size() == 1 && before[0] == "cluster") {
        for (const std::string_view word : {"up", "down", "list", "status", "ps", "logs", "export"}) candidates.add(word);
    }
}

void add_services(const std::string& cluster, Screen& screen, Candidates& candidates) {
    auto node = open_node(cluster, screen);
    if (!node) return;
    const auto status = node->ask("status");
    if (!status) return;
    for (const Json& service : status->value("services", Json::array())) {
        const std::string name = text_of(service, "name");
        candidates.add(name, text_of(service, "kind"));
        if (!candidates.typed().starts_with(name + ".")) continue;
        const auto description = node->ask("describe", {{"name", name}});
        if (!description || !description->contains("methods")) continue;
        for (const auto& [method, told] : (*description)["methods"].items()) {
            if (!method.starts_with('_')) candidates.add(name + "." + method, text_of(told, "signature"));
        }
    }
}

void add_runs(const std::string& cluster, Screen& screen, Candidates& candidates) {
    auto node = open_node(cluster, screen);
    if (!node) return;
    const auto runs = node->ask("run_list");
    if (!runs || !runs->is_array()) return;
    for (const Json& run : *runs) candidates.add(text_of(run, "name"), text_of(run, "state"));
}

// Those elsewhere might take long to answer.
std::vector<std::string> up_here() {
    std::vector<std::string> names;
    if (const auto local = launch::list_local()) {
        for (const auto& cluster : *local) {
            if (launch::is_up_local(cluster)) names.push_back(cluster.name);
        }
    }
    return names;
}

}  // namespace

void complete(const std::vector<std::string>& asked, Screen& screen) {
    std::vector<std::string> words = rejoined(asked);
    if (words.empty()) words.emplace_back();
    const std::string typed = words.back();
    words.pop_back();
    Candidates candidates(typed, screen);
    std::size_t used = 0;
    const Command* const command = find_command(words, used);
    if (command == nullptr || (used == words.size() && !typed.starts_with('-'))) add_command_words(words, candidates);
    if (command == nullptr) return;
    Options options;
    command->declare(options);
    std::vector<std::string> given;
    const Taken* waiting = nullptr;
    for (std::size_t at = used; at < words.size(); ++at) {
        if (waiting != nullptr) {
            waiting = nullptr;
        } else if (words[at] == "--") {
            return candidates.files();
        } else if (words[at].starts_with('-')) {
            const Taken* const taken = options.find(words[at]);
            if (taken != nullptr && !taken->value.empty()) waiting = taken;
        } else {
            given.push_back(words[at]);
        }
    }
    std::string expected = waiting != nullptr ? waiting->value : "";
    if (waiting == nullptr && typed.starts_with('-')) {
        for (const Taken& taken : options.taken()) {
            if (!taken.positional()) candidates.add(taken.names.substr(taken.names.rfind(',') + 1), taken.help);
        }
        if (options.find("--json") == nullptr) candidates.add("--json", "print JSON, for programs");
        candidates.add("--help", "explain this command");
        return;
    }
    if (expected.empty()) {
        std::size_t index = 0;
        for (const Taken& taken : options.taken()) {
            if (taken.positional() && (index++ == given.size() || (taken.many && index <= given.size()))) expected = taken.names;
        }
    }
    if (expected.find('|') != expected.npos) {
        std::istringstream choices(expected);
        for (std::string word; std::getline(choices, word, '|');) candidates.add(word);
    } else if (expected == "NAME") {
        for (const std::string& name : known_names()) candidates.add(name);
    } else if ((expected == "SERVICE" || expected == "KEY") && !given.empty()) {
        add_services(given.front(), screen, candidates);
    } else if (expected == "RUN" || expected == "CALL") {
        for (const std::string& cluster : given.empty() ? up_here() : std::vector{given.front()}) {
            add_runs(cluster, screen, candidates);
            if (expected == "CALL") add_services(cluster, screen, candidates);
        }
    } else if (expected == "SHELL") {
        for (const std::string_view shell : {"bash", "zsh", "fish"}) candidates.add(shell);
    } else if (expected.starts_with("FILE") || expected == "PATH") {
        candidates.files();
    }
}

std::span<const Command> completion_commands() {
    static constexpr Command k_commands[] = {
        {"completion", "SHELL", "a script that completes commands and names in bash, zsh or fish",
         "The names of clusters, and of the services that live there, are asked for while you type.", "source <(roundhouse completion bash)", declare_completion},
        {"version", "", "the version", "", "roundhouse version", declare_version},
    };
    return k_commands;
}

}  // namespace rh::cli
