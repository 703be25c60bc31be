#pragma once

// How routes ask the node (protocol/node.md), and what they make of its answers.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "http/running.h"

namespace rh::http {

using Json = nlohmann::json;
// Names of a request's fields. Lists of them stand outside the coroutines: g++ 12 cannot compile an initializer list within one.
using Fields = std::vector<std::string_view>;

std::string dump(const Json& json);
Json named(const std::string& name);
void copy_fields(const Json& from, const Fields& fields, Json& to);

// What the node answered: a value, or how it failed.
struct Asked {
    Outcome outcome;
    Json value;
    bool ok() const { return outcome.kind == Outcome::Kind::returned; }
};

net::asio::awaitable<Asked> ask(Running& running, std::string method, Json request, Arguments attachments = {});
net::asio::awaitable<void> answer_asked(Exchange& exchange, int status, const Asked& asked, Headers headers = {});
// What a process was told in its environment may be secret.
void drop_environments(Json& processes);
// The body of a request: one object, with nothing in it that would be ignored.
net::asio::awaitable<Try<Json>> read_object(Exchange& exchange, const Fields& known);
// How a worker is started, from the fields "command", or "python", and "env", "cwd" and amounts.
Try<Json> start_request(const Json& wanted);
// Starts a worker and deploys to it, or to the process that `request` names.
net::asio::awaitable<Asked> deploy(Running& running, Json start, Json request, Arguments attachments);

}  // namespace rh::http
