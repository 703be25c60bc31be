#include "cli/command.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <sstream>

#include "cli/screen.h"

namespace rh::cli {

namespace {

// A list of names, as CLI11 splits it: the shortest and the longest.
std::vector<std::string> names_of(const Taken& taken) {
    std::vector<std::string> names;
    std::istringstream all(taken.names);
    for (std::string name; std::getline(all, name, ',');) names.push_back(name);
    return names;
}

template <class T>
void number(CLI::App& app, const std::string& names, std::optional<T>& to, const char* kind) {
    app.add_option_function<std::string>(names, [&to, names, kind](const std::string& text) {
        T value{};
        if (!CLI::detail::lexical_cast(text, value) || text.starts_with('-')) throw CLI::ValidationError(names, fmt::format("{} is no {}", text, kind));
        to = value;
    });
}

}  // namespace

Options::Options() : app_(std::make_unique<CLI::App>()) {
    app_->set_help_flag();
    app_->allow_extras();
}
Options::~Options() = default;

void Options::positional(std::string name, std::string& to, std::string help, bool required) {
    app_->add_option(name, to);
    taken_.push_back({std::move(name), "", std::move(help), required, false});
}
void Options::positional(std::string name, std::vector<std::string>& to, std::string help, bool required) {
    app_->add_option(name, to);
    taken_.push_back({std::move(name), "", std::move(help), required, true});
}
void Options::flag(std::string names, bool& to, std::string help) {
    app_->add_flag(names, to);
    taken_.push_back({std::move(names), "", std::move(help)});
}
void Options::value(std::string names, std::string placeholder, std::string& to, std::string help, bool required) {
    app_->add_option(names, to)->allow_extra_args(false);
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help), required, false});
}
void Options::value(std::string names, std::string placeholder, std::optional<std::string>& to, std::string help) {
    app_->add_option_function<std::string>(names, [&to](const std::string& text) { to = text; });
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help)});
}
void Options::value(std::string names, std::string placeholder, std::optional<std::uint64_t>& to, std::string help) {
    number(*app_, names, to, "whole number");
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help)});
}
void Options::value(std::string names, std::string placeholder, std::optional<double>& to, std::string help) {
    number(*app_, names, to, "number");
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help)});
}
void Options::value(std::string names, std::string placeholder, std::vector<std::string>& to, std::string help) {
    app_->add_option(names, to)->allow_extra_args(false);
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help), false, true});
}
void Options::choice(std::string names, std::vector<std::string> words, std::string& to, std::string help) {
    to = words.front();
    std::string placeholder = fmt::format("{}", fmt::join(words, "|"));
    app_->add_option_function<std::string>(names, [&to, names, words = std::move(words)](const std::string& text) {
        if (std::find(words.begin(), words.end(), text) == words.end())
            throw CLI::ValidationError(names, fmt::format("it is one of {}, not {}", fmt::join(words, ", "), text));
        to = text;
    });
    taken_.push_back({std::move(names), std::move(placeholder), std::move(help)});
}

const Taken* Options::find(std::string_view name) const {
    for (const Taken& taken : taken_) {
        const auto names = names_of(taken);
        if (std::find(names.begin(), names.end(), name) != names.end()) return &taken;
    }
    return nullptr;
}

Result<void> Options::parse(std::vector<std::string> words) {
    std::reverse(words.begin(), words.end());
    try {
        app_->parse(std::move(words));
    } catch (const CLI::ParseError& error) {
        return usage_error(error.what());
    }
    const std::vector<std::string> extras = app_->remaining();
    if (!extras.empty()) {
        std::vector<std::string> known;
        for (const Taken& taken : taken_) {
            for (const std::string& name : names_of(taken)) known.push_back(name);
        }
        const std::string close = extras.front().starts_with('-') ? nearest(extras.front(), known) : std::string();
        return usage_error(fmt::format("{} was not expected{}", extras.front().empty() ? "an empty word" : harmless(extras.front()), close.empty() ? "" : fmt::format(". Did you mean {}?", close)));
    }
    for (const Taken& taken : taken_) {
        if (!taken.required) continue;
        const std::string name = names_of(taken).back();
        if (app_->get_option(name)->count() == 0) return usage_error(fmt::format("{} is missing: {}", name, taken.help));
    }
    return {};
}

// --- near names ----------------------------------------------------------------------------------------------------

namespace {

// Edits between the two, two neighbours that changed places counted as one.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> rows(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
        }
    }
    return rows[a.size()][b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& among) {
    constexpr std::size_t k_longest = 64;
    std::string best;
    std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
    if (word.size() > k_longest) return best;
    for (const std::string& other : among) {
        if (other.size() > k_longest) continue;
        const std::size_t edits = distance(word, other);
        if (edits < least) {
            least = edits;
            best = other;
        }
    }
    return best;
}

// --- errors --------------------------------------------------------------------------------------------------------

Error raised_error(std::string type, std::string message, std::string traceback) {
    return Error(Code::unknown, std::move(message)).with("raised", std::move(type)).with("traceback", std::move(traceback));
}

Error interrupted_error(int signal) { return Error(Code::cancelled, "interrupted").with("signal", std::to_string(signal)); }

Exit exit_of(const Error& error) {
    if (!error.fact("raised").empty()) return Exit::raised;
    if (error.code == Code::cancelled) {
        if (error.fact("signal") == std::to_string(SIGPIPE)) return Exit::closed;
        if (error.fact("signal") == std::to_string(SIGTERM)) return Exit::terminated;
        if (!error.fact("signal").empty()) return Exit::interrupted;
    }
    return static_cast<Exit>(code_exit(error.code));
}

}  // namespace rh::cli
