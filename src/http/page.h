#pragma once

// The page on which a node's services are tried in a browser. It loads nothing but itself, reads the OpenAPI document of
// where it came from, and keeps a token for as long as its tab is open.

#include <string_view>

namespace rh::http {

// text/html; charset=utf-8.
std::string_view docs_page();
// What its answer says under Content-Security-Policy: its own script and style by their hashes, and nothing else.
std::string_view docs_page_policy();

}  // namespace rh::http
