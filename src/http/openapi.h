#pragma once

// OpenAPI 3.1 documents: of the server, which is protocol/openapi.yaml with the paths of what lives on the node, and of one
// service, from its own type hints and docstrings. Pure functions of the descriptions that `_node.describe` gives with
// "schemas" (protocol/node.md); `url` is how whoever asks reaches the server, such as "https://box:32300".

#include <nlohmann/json.hpp>
#include <string_view>

namespace rh::http {

// `descriptions`: an array of them. A service whose description cannot be understood is left out.
nlohmann::json openapi_of_server(const nlohmann::json& descriptions, std::string_view url);
nlohmann::json openapi_of_service(const nlohmann::json& description, std::string_view url);

}  // namespace rh::http
