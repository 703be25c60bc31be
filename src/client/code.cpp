#include "client/code.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "base/limits.h"
#include "sync/code_folder.h"
#include "sync/packed.h"
#include "sync/scan.h"

namespace rh::client {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

// $XDG_CACHE_HOME/roundhouse/NAME, made where it is not there; empty where it cannot be.
std::string cache_folder(const char* name) {
    const std::string base = variable("XDG_CACHE_HOME");
    const fs::path folder = (base.starts_with('/') ? fs::path(base) : fs::path(variable("HOME")) / ".cache") / "roundhouse" / name;
    std::error_code error;
    if (!folder.is_absolute()) return {};
    fs::create_directories(folder, error);
    return error ? std::string() : folder.string();
}

// --- asking the node -------------------------------------------------------------------------------------------------

struct Answered {
    Json json;
    Body body;
};

Result<Answered> answered(Outcome outcome) {
    if (outcome.kind == Outcome::Kind::failed) return fail(std::move(outcome.error));
    Answered answer;
    const std::vector<ByteView> parts = outcome.body.parts();
    answer.json = parts.empty() ? Json::object() : Json::parse(as_text(parts.front()), nullptr, false);
    if (!answer.json.is_object()) return fail(Code::protocol, "the node's answer about code is no JSON object");
    answer.body = std::move(outcome.body);
    return answer;
}

Result<std::shared_ptr<Call>> start(Client& client, std::string_view method, const Json& request, std::optional<ByteView> attachment = {}) {
    const std::string text = request.dump();
    std::vector<ByteView> parts{as_byte_view(text)};
    if (attachment) parts.push_back(*attachment);
    Request asked;
    asked.service = "_node";
    asked.method = method;
    asked.encoding = Encoding::json;
    asked.parts = parts;
    return client.start(asked, nullptr);
}

Result<Answered> finish(Call& call, Waiter& waiter) {
    while (call.wait({}, waiter) == WaitEnd::interrupted) call.cancel(false);
    return answered(call.take_outcome());
}

Result<Answered> ask(Client& client, std::string_view method, const Json& request, Waiter& waiter, std::optional<ByteView> attachment = {}) {
    RH_TRY(const std::shared_ptr<Call> call, start(client, method, request, attachment));
    return finish(*call, waiter);
}

Result<std::vector<std::size_t>> missing_in(const Answered& answer, std::size_t entries) {
    const auto missing = answer.json.find("missing");
    if (missing == answer.json.end() || !missing->is_array()) return fail(Code::protocol, "the node does not say which files it lacks");
    std::vector<std::size_t> all;
    for (const Json& each : *missing) {
        if (!each.is_number_unsigned() || each.get<std::size_t>() >= entries) return fail(Code::protocol, "the node lacks a file that there is not");
        all.push_back(each.get<std::size_t>());
    }
    return all;
}

// --- sending ---------------------------------------------------------------------------------------------------------

// Contents on their way: what fits into a message leaves together, and the next is read while the node stores the one before.
class Sender {
public:
    Sender(Client& client, Waiter& waiter, const OnCode& on_progress, CodeProgress progress) : client_(client), waiter_(waiter), on_progress_(on_progress), progress_(progress) {}

    Result<void> send(const sync::Scanned& scanned, std::size_t at) {
        const sync::Entry& entry = scanned.manifest.entries[at];
        RH_TRY(sync::Content content, sync::Content::open(scanned, at));
        if (files_.size() == limits::k_sync_batch_files_max) RH_TRY_VOID(leave());
        std::uint64_t offset = 0, piece = 0;
        for (;;) {
            // Only what was read to its end is known to be what was scanned, so the last piece waits for that.
            if (contents_.size() == limits::k_sync_batch_bytes) {
                add(entry, offset, piece);
                offset += std::exchange(piece, 0);
                RH_TRY_VOID(leave());
            }
            const std::size_t room = std::min<std::size_t>(limits::k_sync_batch_bytes - contents_.size(), k_step_bytes);
            const Result<std::size_t> count = content.read({contents_.extend(room), room});
            contents_.truncate(contents_.size() - room + count.value_or(0));
            if (!count) return fail(count.error());
            if (*count == 0) break;
            piece += *count;
            progress_.bytes += *count;
            if (on_progress_ && !on_progress_(progress_)) return fail(Code::cancelled, "sending code was cancelled");
        }
        add(entry, offset, piece);
        ++progress_.files;
        return {};
    }

    Result<void> end() {
        if (!files_.empty()) RH_TRY_VOID(leave());
        return await_one();
    }

private:
    static constexpr std::size_t k_step_bytes = 256 * 1024;

    void add(const sync::Entry& entry, std::uint64_t offset, std::uint64_t piece) {
        if (piece != 0 || entry.bytes == 0) files_.push_back({entry.digest.hex(), entry.bytes, offset, piece});
    }

    Result<void> leave() {
        RH_TRY(const Bytes packed, sync::pack(contents_.view()));
        RH_TRY_VOID(await_one());
        RH_TRY(call_, start(client_, "code_files", Json{{"files", std::exchange(files_, Json::array())}}, packed.view()));
        contents_.clear();
        return {};
    }

    Result<void> await_one() {
        const auto call = std::exchange(call_, nullptr);
        if (call == nullptr) return {};
        const auto stored = finish(*call, waiter_);
        return stored ? Result<void>() : fail(stored.error());
    }

    Client& client_;
    Waiter& waiter_;
    const OnCode& on_progress_;
    CodeProgress progress_;
    Json files_ = Json::array();
    Bytes contents_;
    std::shared_ptr<Call> call_;
};

Result<sync::Scanned> scan(const CodeWanted& wanted, const std::string& project, const OnCode& on_progress) {
    std::string index = cache_folder("index");
    if (!index.empty()) index += fmt::format("/{:016x}", path_hash(project));
    const auto told = [&](const sync::ScanProgress& at) {
        return !on_progress || on_progress({false, at.files_hashed, at.files_to_hash, at.bytes_hashed, at.bytes_to_hash});
    };
    if (!wanted.files) return sync::scan({wanted.root, wanted.also, index, variable("HOME")}, told);
    std::vector<std::pair<std::string, std::string>> files;
    for (const std::string& file : *wanted.files) files.emplace_back(file, wanted.root + '/' + file);
    return sync::scan_files(std::move(files), index, told);
}

// Sends what is lacking and has the snapshot made; false where something was collected meanwhile.
Result<bool> send_missing(Client& client, const sync::Scanned& scanned, const Json& about, ByteView encoded, Waiter& waiter, const OnCode& on_progress, CodeSent& sent) {
    RH_TRY(const Bytes packed, sync::pack(encoded));
    RH_TRY(const Answered lacking, ask(client, "code_manifest", about, waiter, packed.view()));
    RH_TRY(const std::vector<std::size_t> missing, missing_in(lacking, scanned.manifest.entries.size()));
    CodeProgress progress{true, 0, missing.size(), 0, 0};
    for (const std::size_t at : missing) progress.bytes_all += scanned.manifest.entries[at].bytes;
    Sender sender(client, waiter, on_progress, progress);
    for (const std::size_t at : missing) RH_TRY_VOID(sender.send(scanned, at));
    RH_TRY_VOID(sender.end());
    sent.sent_files += missing.size();
    sent.sent_bytes += progress.bytes_all;
    RH_TRY(const Answered made, ask(client, "code_commit", about, waiter));
    RH_TRY(const std::vector<std::size_t> still_missing, missing_in(made, scanned.manifest.entries.size()));
    return still_missing.empty();
}

bool has_any(const fs::path& folder, std::initializer_list<const char*> names) {
    std::error_code ignored;
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return fs::exists(folder / name, ignored); });
}

}  // namespace

std::string project_root(const std::string& path) {
    std::error_code error;
    fs::path begin = fs::absolute(path, error).lexically_normal();
    if (error) return {};
    if (!fs::is_directory(begin, error)) begin = begin.parent_path();
    for (const std::initializer_list<const char*>& marks : {std::initializer_list<const char*>{".git", "setup.py", "setup.cfg", "pyproject.toml", "requirements.txt"}, {"rh"}}) {
        for (fs::path folder = begin;; folder = folder.parent_path()) {
            if (has_any(folder, marks)) return folder.string();
            if (folder == folder.parent_path()) break;
        }
    }
    return {};
}

Result<CodeSent> send_code(Client& client, const CodeWanted& wanted, Waiter& waiter, const OnCode& on_progress) {
    const std::string project = wanted.files ? wanted.root + " (loose files)" : wanted.root;
    CodeSent sent;
    Error why;
    for (int round = 0; round < limits::k_sync_rounds_max; ++round) {
        RH_TRY(const sync::Scanned scanned, scan(wanted, project, on_progress));
        const Bytes encoded = sync::encode(scanned.manifest);
        sent.snapshot = sync::id_of(encoded.view()).hex();
        sent.files = scanned.manifest.entries.size();
        sent.bytes = scanned.bytes;
        sent.left_out_more = scanned.left_out_more;
        sent.left_out.clear();
        for (const sync::LeftOut& each : scanned.left_out) sent.left_out.emplace_back(sync::shown(each.path), each.why);
        const Json about{{"snapshot", sent.snapshot}, {"project", project}};
        RH_TRY(const Answered offered, ask(client, "code_offer", about, waiter));
        if (offered.json.value("there", false)) return sent;
        const Result<bool> made = send_missing(client, scanned, about, encoded.view(), waiter, on_progress, sent);
        if (made && *made) return sent;
        // A file that was changed meanwhile: the next scan finds it as it is by then.
        if (!made && made.error().fact("changed").empty()) return fail(made.error());
        why = made ? Error(Code::code_sync, "the node has collected what was just sent to it. Try: again") : made.error();
    }
    why.message += fmt::format(" ({} times)", limits::k_sync_rounds_max);
    return fail(std::move(why));
}

// --- fetching --------------------------------------------------------------------------------------------------------

namespace {

// As many as come; how many that were.
Result<void> fetch_files(Client& client, sync::CodeFolder& folder, const std::string& snapshot, const sync::Manifest& manifest, std::vector<std::size_t> wanted, Waiter& waiter) {
    std::uint64_t offset = 0;
    for (std::size_t next = 0; next < wanted.size();) {
        const std::size_t count = std::min(wanted.size() - next, limits::k_sync_batch_files_max);
        const std::vector<std::size_t> asked(wanted.begin() + static_cast<std::ptrdiff_t>(next), wanted.begin() + static_cast<std::ptrdiff_t>(next + count));
        RH_TRY(const Answered answer, ask(client, "code_fetch", Json{{"snapshot", snapshot}, {"files", asked}, {"offset", offset}}, waiter));
        const auto listed = answer.json.find("pieces");
        if (listed == answer.json.end() || !listed->is_array() || listed->empty() || listed->size() > count || answer.body.part_bytes.size() != 2) return fail(Code::protocol, "the node's answer with code is not as it should be");
        RH_TRY(const Bytes contents, sync::unpack(answer.body.parts()[1], limits::k_sync_batch_bytes));
        std::size_t at = 0;
        for (const Json& each : *listed) {
            const std::size_t bytes = each.is_number_unsigned() ? each.get<std::size_t>() : contents.size() + 1;
            const sync::Entry& entry = manifest.entries[wanted[next]];
            if (bytes > contents.size() - at || (bytes == 0 && entry.bytes != offset)) return fail(Code::protocol, "the node's answer with code is not as it should be");
            RH_TRY_VOID(folder.put({entry.digest, entry.bytes, offset, contents.view().subspan(at, bytes)}));
            at += bytes;
            offset += bytes;
            if (offset < entry.bytes) break;
            ++next;
            offset = 0;
        }
    }
    return {};
}

}  // namespace

Result<std::string> fetch_code(Client& client, const std::string& snapshot, Waiter& waiter) {
    const std::string cache = cache_folder("code");
    if (cache.empty()) return fail(Code::io, "there is no folder for fetched code. Try: set XDG_CACHE_HOME to one that can be written");
    RH_TRY(const sync::Digest id, sync::Digest::from_hex(snapshot));
    sync::CodeFolder folder(cache);
    if (!folder.has_snapshot(id)) {
        RH_TRY(const Answered answer, ask(client, "code_fetch", Json{{"snapshot", snapshot}}, waiter));
        if (answer.body.part_bytes.size() != 2) return fail(Code::protocol, "the node's answer with code is not as it should be");
        RH_TRY(const Bytes encoded, sync::unpack(answer.body.parts()[1], limits::k_sync_manifest_bytes_max));
        RH_TRY_VOID(folder.put_manifest(id, encoded.view()));
        RH_TRY(const sync::Manifest manifest, folder.manifest(id));
        RH_TRY(std::vector<std::size_t> absent, folder.absent(id, ""));
        RH_TRY_VOID(fetch_files(client, folder, snapshot, manifest, std::move(absent), waiter));
        RH_TRY(const std::vector<std::size_t> still_absent, folder.make(id, ""));
        if (!still_absent.empty()) return fail(Code::protocol, "the node has not sent all of the code that it was asked for");
    }
    return sync::snapshot_path(cache, id.hex());
}

}  // namespace rh::client
