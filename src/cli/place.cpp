#include "cli/place.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "base/limits.h"
#include "cli/command.h"
#include "launch/local_names.h"
#include "launch/state_base.h"

namespace rh::cli {

namespace {

using Json = nlohmann::json;

constexpr std::string_view k_prefix = "ROUNDHOUSE_CLUSTER_";

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

bool is_folder(const std::string& path) {
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

std::string text_of(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The text holds a secret, so no message quotes any of it.
Result<Place> parse_elsewhere(std::string name, const std::string& from, std::string_view text) {
    const Json value = Json::parse(text, nullptr, false);
    Place place{std::move(name), false, {}, "", "", ""};
    if (value.is_object()) {
        place.url = text_of(value, "url");
        place.token = text_of(value, "token");
        place.pin = text_of(value, "pin");
    }
    if (!place.url.starts_with("http://") && !place.url.starts_with("https://"))
        return fail(Code::bad_arguments, fmt::format("{} is not what `roundhouse export` writes: a JSON object with \"url\", \"pin\" and \"token\". Try: unset it, or export the cluster again", from));
    while (place.url.ends_with('/')) place.url.pop_back();
    return place;
}

Result<std::optional<Place>> find_saved(const std::string& name) {
    RH_TRY(const std::string base, launch::state_base());
    RH_TRY(const auto saved, registry::Registry(base + "/registry.db").find_cluster(name));
    return saved ? saved_place(*saved) : std::nullopt;
}

}  // namespace

std::optional<Place> saved_place(const registry::SavedCluster& saved) {
    const Json config = Json::parse(saved.config, nullptr, false);
    if (!config.is_object()) return std::nullopt;
    const std::string connection = text_of(config, "server_connection_type");
    std::string host = text_of(config, "host");
    if (const auto ips = config.find("ips"); host.empty() && ips != config.end() && ips->is_array() && !ips->empty() && ips->front().is_string()) host = ips->front();
    if (host.empty() || (connection != "tls" && connection != "none")) return std::nullopt;
    const auto port = config.find("server_port");
    const int number = port != config.end() && port->is_number_integer() ? port->get<int>() : connection == "tls" ? 443 : 80;
    if (host.find(':') != host.npos) host = "[" + host + "]";
    return Place{saved.name, false, {}, fmt::format("{}://{}:{}", connection == "tls" ? "https" : "http", host, number), saved.token, text_of(config, "pin")};
}

std::string Place::endpoint() const {
    if (local) return cluster.socket_path;
    return url.starts_with("https://") ? "tls://" + url.substr(8) : "tcp://" + url.substr(7);
}

std::string variable_of(std::string_view name) {
    std::string variable(k_prefix);
    for (const char c : name) variable += std::isalnum(static_cast<unsigned char>(c)) != 0 ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
    return variable;
}

bool inside_worker() { return std::getenv("ROUNDHOUSE_SOCKET") != nullptr && std::getenv("ROUNDHOUSE_WORKER") != nullptr; }

Result<Place> find_place(const std::string& name) {
    if (name.empty()) {
        if (!inside_worker()) return usage_error("NAME is missing: which cluster? `roundhouse list` shows those that are known here");
        const std::string folder = variable("ROUNDHOUSE_NODE");
        // It may have been renamed since this process was started.
        const std::string called = is_folder(folder) ? launch::local_name(folder) : variable("ROUNDHOUSE_CLUSTER");
        return Place{called, true, {called, folder, variable("ROUNDHOUSE_SOCKET")}, "", "", ""};
    }
    RH_TRY_VOID(check_name("cluster", name, limits::k_cluster_name_bytes_max));
    const std::string from = variable_of(name);
    if (const std::string told = variable(from.c_str()); !told.empty()) return parse_elsewhere(name, from, told);
    RH_TRY(launch::LocalCluster cluster, launch::locate_local(name));
    if (!is_folder(cluster.state_folder)) {
        RH_TRY(std::optional<Place> saved, find_saved(name));
        if (saved) return std::move(*saved);
    }
    return Place{name, true, std::move(cluster), "", "", ""};
}

Result<Place> find_local_place(const std::string& name) {
    RH_TRY(Place place, find_place(name));
    if (!place.local)
        return fail(Code::unsupported, fmt::format("cluster {} is elsewhere, at {}, as {} or what was saved here says: it is brought up and ended there. Try: another name", name, place.url, variable_of(name)));
    return place;
}

std::vector<Place> places_elsewhere() {
    std::vector<Place> places;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const auto equals = text.find('=');
        if (!text.starts_with(k_prefix) || equals == text.npos || equals == k_prefix.size()) continue;
        const std::string from(text.substr(0, equals));
        if (auto place = parse_elsewhere(from.substr(k_prefix.size()), from, text.substr(equals + 1))) places.push_back(std::move(*place));
    }
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.name < b.name; });
    return places;
}

std::vector<std::string> known_names() {
    std::vector<std::string> names;
    if (const auto local = launch::list_local()) {
        for (const auto& cluster : *local) names.push_back(cluster.name);
    }
    for (const Place& place : places_elsewhere()) {
        std::string name = place.name;
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        names.push_back(std::move(name));
    }
    return names;
}

Error not_up(const Place& place) {
    if (!place.local) return Error(Code::not_found, fmt::format("cluster {} at {} does not answer. Try: `roundhouse server status` on its own machine", place.name, place.url));
    std::string message = fmt::format("cluster {} is not up. Try: roundhouse up {}", place.name, place.name);
    if (!is_folder(place.cluster.state_folder)) {
        const std::string close = nearest(place.name, known_names());
        if (!close.empty() && close != place.name) message = fmt::format("there is no cluster {}. Did you mean {}? To make it: roundhouse up {}", place.name, close, place.name);
    }
    return Error(Code::not_found, std::move(message)).with("name", place.name).with("started", "no");
}

}  // namespace rh::cli
