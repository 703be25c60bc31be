#pragma once

// Sends a project's code to a node, as far as the node lacks it, and fetches what a node keeps. What the node makes of it is an
// immutable snapshot (protocol/node.md, Code). Everything blocks, on the caller's thread, and is nobody's to stop but the waiter's.

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "client/client.h"

namespace rh::client {

// The nearest folder above `path` (or itself, where it is one) that is a project's root: it holds .git, setup.py, setup.cfg,
// pyproject.toml or requirements.txt; where there is none, the nearest that holds rh. Empty where there is neither.
std::string project_root(const std::string& path);

struct CodeWanted {
    std::string root;
    std::vector<std::string> also;                  // files beneath it that are taken although they are ignored
    std::optional<std::vector<std::string>> files;  // by their paths beneath it: these and nothing else
};

struct CodeProgress {
    bool sending = false;  // before that, files are looked at
    std::size_t files = 0;
    std::size_t files_all = 0;
    std::uint64_t bytes = 0;
    std::uint64_t bytes_all = 0;
};
// Called often, in the caller's thread. False ends it with Code::cancelled. May be empty.
using OnCode = std::function<bool(const CodeProgress&)>;

struct CodeSent {
    std::string snapshot;
    std::size_t files = 0;
    std::uint64_t bytes = 0;
    std::size_t sent_files = 0;
    std::uint64_t sent_bytes = 0;
    std::vector<std::pair<std::string, std::string>> left_out;  // what could not be taken, and why
    std::size_t left_out_more = 0;
};

// Code::code_sync where there is no sending it as it is: the root is no project, too big, or its files do not keep still.
Result<CodeSent> send_code(Client& client, const CodeWanted& wanted, Waiter& waiter, const OnCode& on_progress);

// That snapshot's files, in this user's cache: the folder where they are.
Result<std::string> fetch_code(Client& client, const std::string& snapshot, Waiter& waiter);

}  // namespace rh::client
