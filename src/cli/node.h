#pragma once

// A connection to one node for as long as a command runs: asks the node itself, and makes calls whose output goes to the
// screen. Ctrl-C, a reader that is gone and --timeout end a call in an orderly way: it is cancelled there, and what it
// still prints is shown.

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/body.h"
#include "base/result.h"
#include "cli/place.h"
#include "client/client.h"
#include "client/code.h"

namespace rh::cli {

using Json = nlohmann::json;

class Screen;

// Where a call's output goes.
enum class Prints { split, err, none };

struct Called {
    std::string service;
    std::string method;
    std::vector<std::string> parts;
    Encoding encoding = Encoding::json;
    std::optional<std::uint64_t> timeout_ms{};
    Prints prints = Prints::split;
    bool quietly_on_signal = false;  // goes on when it is interrupted: cleaning up
    // Each item of a generator, as it comes.
    std::function<void(ByteView)> on_item{};
};

class Node {
public:
    static Result<Node> open(Place place, Screen& screen);

    const Place& place() const { return place_; }
    // The outcome, and an Error for what is none: lost, refused, interrupted, or an exception of the user's.
    Result<Body> call(const Called& called);
    // Asks the node (protocol/node.md). Attachments are raw parts.
    Result<Json> ask(std::string_view method, const Json& request = Json::object(), const std::vector<std::string>& attachments = {}, bool quietly_on_signal = false);
    // Sends what the node lacks of a project, and says on the screen how far it is.
    Result<client::CodeSent> send_code(const std::string& root);

private:
    Node(Place place, std::shared_ptr<client::Client> client, Screen& screen) : place_(std::move(place)), client_(std::move(client)), screen_(&screen) {}

    Place place_;
    std::shared_ptr<client::Client> client_;
    Screen* screen_;
};

// The name and a node that is up, in one step.
Result<Node> open_node(const std::string& name, Screen& screen);

// JSON as the protocol wants it; Code::bad_arguments where a text is no UTF-8.
Result<std::string> dump(const Json& value);
// One field of an object; `otherwise` where it is not there or something else.
std::string text_of(const Json& object, const char* key);
double number_of(const Json& object, const char* key);

}  // namespace rh::cli
