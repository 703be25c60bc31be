#pragma once

// What a user typed for a method, as the worker takes it (protocol/http.md, "In the worker"); and values on their way back.

#include <optional>
#include <string>
#include <vector>

#include "base/body.h"
#include "base/result.h"
#include "cli/node.h"

namespace rh::cli {

// Part 0 of a call. `rest` are texts that the worker converts; `json` (a JSON text) stands in their place.
Result<std::string> arguments_of(const std::vector<std::string>& rest, const std::optional<std::string>& json, const std::string& accept = "");

// The text of --json: as it stands, or from where "-" and "@FILE" say.
Result<std::string> read_json_option(const std::string& text);
// A whole file, or standard input for "-".
Result<std::string> read_input(const std::string& path, std::uint64_t bytes_max);

// How a value is shown.
struct Showing {
    bool raw = false;                    // a text without its quotes
    bool quiet = false;                  // not at all
    std::optional<std::string> output{};  // a file
};
Result<void> show_value(const Body& body, const Showing& showing, Screen& screen);
// An item of a generator.
void show_item(ByteView item, const Showing& showing, Screen& screen);
// A file for this user alone, whole or not at all.
Result<void> write_secret(const std::string& path, std::string_view text);
Result<void> write_file(const std::string& path, std::string_view bytes);

}  // namespace rh::cli
