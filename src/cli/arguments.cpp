#include "cli/arguments.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/fd.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/screen.h"

namespace rh::cli {

namespace {

constexpr std::uint64_t k_json_bytes_max = 64 * 1024 * 1024;
// As deep as the worker takes it (protocol/http.md).
constexpr int k_json_depth_max = 64;

// "--rate=0.1" is the argument "rate"; everything that does not begin with two dashes is a value.
bool is_name(const std::string& word) { return word.size() > 2 && word.starts_with("--"); }

Result<Json> texts_of(const std::vector<std::string>& rest) {
    Json args = Json::array(), kwargs = Json::object();
    bool values_only = false;
    for (std::size_t at = 0; at < rest.size(); ++at) {
        const std::string& word = rest[at];
        if (!values_only && word == "--") {
            values_only = true;
            continue;
        }
        if (values_only || !is_name(word)) {
            args.push_back(word);
            continue;
        }
        const auto equals = word.find('=');
        std::string name = word.substr(2, equals == word.npos ? word.npos : equals - 2);
        std::replace(name.begin(), name.end(), '-', '_');
        if (name.empty()) return usage_error(fmt::format("{} names no parameter. Try: --NAME=VALUE", word));
        const bool bare = equals == word.npos && (at + 1 == rest.size() || is_name(rest[at + 1]) || rest[at + 1] == "--");
        Json value = bare ? Json("true") : equals != word.npos ? Json(word.substr(equals + 1)) : Json(rest[++at]);
        const auto there = kwargs.find(name);
        if (there == kwargs.end()) {
            kwargs[name] = std::move(value);
        } else if (there->is_array()) {
            there->push_back(std::move(value));
        } else {
            *there = Json::array({*there, std::move(value)});
        }
    }
    return Json{{"args", std::move(args)}, {"kwargs", std::move(kwargs)}, {"texts", true}};
}

Error not_json(const std::string& text, std::size_t byte, std::string_view why) {
    const std::size_t from = byte > 20 ? byte - 20 : 0;
    return Error(Code::bad_arguments, fmt::format("--json is not JSON at character {}, near \"{}\": {}", byte, harmless(text.substr(from, 30)), why)).with("usage", "");
}

// Its own words, without the numbers that name its kinds of errors.
std::string words_of(const Json::parse_error& error) {
    const std::string_view text(error.what());
    const auto colon = text.rfind("; ");
    return std::string(colon == text.npos ? "it ends too early, or a quote, comma or bracket is missing" : text.substr(colon + 2));
}

std::string_view first_part(const Body& body) {
    const auto parts = body.parts();
    return parts.empty() ? std::string_view("null") : as_text(parts.front());
}

// What stands for raw bytes beside it: {"$part": 1, "type": ".."}.
std::optional<ByteView> raw_part(const Body& body) {
    const auto parts = body.parts();
    if (parts.size() < 2 || !as_text(parts.front()).starts_with("{\"$part\"")) return std::nullopt;
    return parts[1];
}

std::string text_if_string(std::string_view json, bool raw) {
    if (raw && json.starts_with('"')) {
        const Json value = Json::parse(json, nullptr, false);
        if (value.is_string()) return value.get<std::string>();
    }
    return std::string(json);
}

}  // namespace

Result<std::string> arguments_of(const std::vector<std::string>& rest, const std::optional<std::string>& json, const std::string& accept) {
    if (!json) {
        RH_TRY(Json request, texts_of(rest));
        if (!accept.empty()) request["accept"] = accept;
        return dump(request);
    }
    if (!rest.empty()) return usage_error(fmt::format("--json gives all arguments, and {} is one more. Try: leave one of them out", rest.front()));
    Json value;
    bool deep = false;
    try {
        value = Json::parse(*json, [&](int depth, Json::parse_event_t, Json&) {
            deep = deep || depth > k_json_depth_max;
            return !deep;
        });
    } catch (const Json::parse_error& error) {
        return fail(not_json(*json, error.byte, words_of(error)));
    }
    if (deep) return usage_error(fmt::format("--json has more than {} levels", k_json_depth_max));
    if (!value.is_object() && !value.is_array())
        return usage_error(R"(--json is an object with named arguments, or an array with positional ones. Try: --json '{"epochs": 3}' or --json '[3]')");
    Json args = Json::array();
    // As it was typed: numbers may have more digits than this program could keep.
    std::string positional = "[]", named = "{}";
    if (value.is_array()) {
        positional = *json;
    } else if (const auto star = value.find("*"); star != value.end()) {
        if (!star->is_array()) return usage_error(R"(the key "*" of --json holds the positional arguments, an array)");
        positional = star->dump();
        value.erase("*");
        named = value.dump();
    } else {
        named = *json;
    }
    return fmt::format(R"({{"args":{},"kwargs":{}{}}})", positional, named, accept.empty() ? "" : fmt::format(R"(,"accept":{})", Json(accept).dump()));
}

Result<std::string> read_input(const std::string& path, std::uint64_t bytes_max) {
    const bool standard = path == "-";
    const Fd file(standard ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!standard && !file) {
        Error error = os_error(fmt::format("cannot read {}", path), errno);
        if (errno == ENOENT) error.code = Code::not_found;
        return fail(std::move(error));
    }
    std::string text;
    std::string buffer(256 * 1024, '\0');
    for (;;) {
        const auto count = ::read(standard ? STDIN_FILENO : file.get(), buffer.data(), buffer.size());
        if (count < 0 && errno != EINTR) return fail(os_error(fmt::format("cannot read {}", standard ? "standard input" : path), errno));
        if (count < 0) return fail(interrupted_error(2));
        if (count == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > bytes_max) return fail(Code::limit_exceeded, fmt::format("{} has more than {}, the most that is taken there", standard ? "standard input" : path, bytes_text(static_cast<double>(bytes_max))));
    }
}

Result<std::string> read_json_option(const std::string& text) {
    if (text == "-") return read_input("-", k_json_bytes_max);
    if (text.starts_with('@')) return read_input(text.substr(1), k_json_bytes_max);
    return text;
}

Result<void> write_file(const std::string& path, std::string_view bytes) {
    std::FILE* const file = std::fopen(path.c_str(), "we");
    if (file == nullptr) return fail(os_error(fmt::format("cannot write {}", path), errno));
    const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    const int why = errno;
    if (std::fclose(file) != 0 || !written) return fail(os_error(fmt::format("cannot write {}", path), written ? errno : why));
    return {};
}

Result<void> write_secret(const std::string& path, std::string_view text) {
    const std::string draft = fmt::format("{}.{}", path, ::getpid());
    Fd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail(os_error(fmt::format("cannot write {}", path), errno));
    std::string_view left = text;
    while (!left.empty()) {
        const auto count = ::write(file.get(), left.data(), left.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            const int why = errno;
            ::unlink(draft.c_str());
            return fail(os_error(fmt::format("cannot write {}", path), why));
        }
        left.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::rename(draft.c_str(), path.c_str()) == 0) return {};
    const int why = errno;
    ::unlink(draft.c_str());
    return fail(os_error(fmt::format("cannot write {}", path), why));
}

Result<void> show_value(const Body& body, const Showing& showing, Screen& screen) {
    if (body.encoding != Encoding::json && body.encoding != Encoding::empty)
        return fail(Code::unsupported, "the value came in a form that is not JSON: its worker does not speak that. Try: call it from its own language");
    const auto raw = raw_part(body);
    if (showing.output) {
        if (raw) return write_file(*showing.output, as_text(*raw));
        return write_file(*showing.output, text_if_string(first_part(body), showing.raw) + "\n");
    }
    if (showing.quiet) return {};
    if (!raw) {
        const std::string_view text = first_part(body);
        if (showing.raw) {
            screen.out(text_if_string(text, true));
        } else {
            screen.out(text);
        }
        screen.out("\n");
        return {};
    }
    if (screen.out_is_terminal())
        return fail(Code::bad_arguments, fmt::format("the value is {} of bytes, which are not for a terminal. Try: -o FILE, or a pipe", bytes_text(static_cast<double>(raw->size()))));
    screen.out(as_text(*raw));
    return {};
}

void show_item(ByteView item, const Showing& showing, Screen& screen) {
    if (showing.quiet) return;
    screen.out(showing.raw ? text_if_string(as_text(item), true) : std::string(as_text(item)));
    screen.out("\n");
}

}  // namespace rh::cli
