#include "launch/reach.h"

#include <cctype>
#include <cstdlib>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/local.h"
#include "net/endpoint.h"

namespace rh::launch {

namespace {

using Json = nlohmann::json;

std::string text_in(const Json& json, const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::string variable_for(std::string_view cluster_name) {
    std::string name = "ROUNDHOUSE_CLUSTER_";
    for (const char c : cluster_name) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
    return name;
}

Result<std::optional<Reach>> reach_of(std::string_view json, std::string_view where) {
    const Json found = Json::parse(json, nullptr, false);
    if (!found.is_object()) return fail(Code::bad_arguments, fmt::format("{} is not what Cluster.export() makes: {{\"url\", \"pin\", \"token\"}}", where));
    std::string url = text_in(found, "url");
    const auto port = found.find("server_port");
    if (url.empty() && found.contains("host") && port != found.end() && port->is_number_unsigned())
        url = fmt::format("{}://{}:{}", text_in(found, "server_connection_type") == "tls" ? "tls" : "tcp", net::bracketed(text_in(found, "host")), port->get<std::uint64_t>());
    if (url.empty()) return std::optional<Reach>();
    const Result<net::Endpoint> endpoint = net::Endpoint::parse(url);
    if (!endpoint) return fail(Code::bad_arguments, fmt::format("{}: {}", where, endpoint.error().message));
    return Reach{endpoint->text(), text_in(found, "token"), text_in(found, "pin"), false};
}

Result<Reach> reach(std::string_view cluster_name) {
    const std::string variable = variable_for(cluster_name);
    if (const char* const text = std::getenv(variable.c_str()); text != nullptr && *text != '\0') {
        RH_TRY(auto found, reach_of(text, "the environment variable " + variable));
        if (found) return std::move(*found);
        return fail(Code::bad_arguments, fmt::format("the environment variable {} has no \"url\"", variable));
    }
    RH_TRY(const LocalCluster local, locate_local(cluster_name));
    return Reach{"unix:" + local.socket_path, {}, {}, true};
}

}  // namespace rh::launch
