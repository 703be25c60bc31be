#pragma once

// Each noun's commands, and the little that nouns share.

#include <span>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/node.h"

namespace rh::cli {

std::span<const Command> cluster_commands();
std::span<const Command> status_commands();
std::span<const Command> log_commands();
std::span<const Command> export_commands();
std::span<const Command> run_commands();
std::span<const Command> call_commands();
std::span<const Command> object_commands();
std::span<const Command> runs_commands();
std::span<const Command> debug_commands();
std::span<const Command> server_commands();
std::span<const Command> token_commands();
std::span<const Command> config_commands();
std::span<const Command> completion_commands();

Prints prints_of(std::string_view word);

// The daemon's program: $ROUNDHOUSE_DAEMON, or what was installed with this one.
std::string daemon_binary();
// Brings a local cluster up, showing progress. True when it was not up before.
Result<bool> bring_up(const Place& place, const launch::Sizes& sizes, Screen& screen);
// "2GiB", "512 MB" or a number of bytes.
Result<std::uint64_t> parse_bytes(const std::string& text);
// Candidates for the last of these words, one a line.
void complete(const std::vector<std::string>& words, Screen& screen);
// Ends the clusters of those names; asks first where there is somebody to ask, unless `yes`.
struct Ending {
    bool yes = false;
    bool forget = false;    // state folder, logs and saved name go as well
    bool unlisten = false;  // the next daemon there opens no port
};
Result<void> end_clusters(const std::vector<std::string>& names, const Ending& ending, Context& context);
// Writes a token that was just made to a file; where that fails it is taken back, because nobody would have it.
Result<void> write_token(Node& node, const Json& made, const std::string& path, std::string_view text);
// The Python of this machine: `chosen`, else that of $VIRTUAL_ENV, else python3 in $PATH.
std::string python_here(const std::optional<std::string>& chosen);
// What starts a worker: with that one on this machine; for workers elsewhere its name alone.
std::vector<std::string> worker_command(const std::optional<std::string>& chosen, const Place& place);
// The request that starts a worker of it (protocol/node.md), with this process's environment and folder if that is here.
Json start_request(const std::vector<std::string>& command, const Place& place, const std::vector<std::string>& env);

}  // namespace rh::cli
