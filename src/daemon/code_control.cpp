#include "daemon/code_control.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "daemon/requests.h"
#include "sync/packed.h"

namespace rh::daemon {

using net::asio::awaitable;
using sync::Digest;

namespace {

using Absent = std::vector<std::size_t>;

// What is remembered of who asked for what; where more is forgotten, snapshots are made from nothing.
constexpr std::size_t k_asked_for_max = 16;
constexpr std::size_t k_projects_max = 256;

Result<Digest> id_in(const Json& request) {
    RH_TRY(const auto text, field<std::string>(request, "snapshot"));
    return Digest::from_hex(text);
}

// The one attachment that there must be.
Result<ByteView> attachment_of(const Body& body) {
    if (body.part_bytes.size() != 2) return fail(Code::bad_arguments, "one attachment must come with it (protocol/node.md)");
    return body.parts()[1];
}

// What comes in one message: contents, one behind the other, and how they are cut.
struct Files {
    Bytes contents;
    std::vector<sync::CodeFolder::Piece> pieces;  // their contents are views of that
};

Result<std::shared_ptr<Files>> files_in(const Json& request, const Body& body) {
    RH_TRY(const auto listed, (field<std::vector<std::tuple<std::string, std::uint64_t, std::uint64_t, std::uint64_t>>>(request, "files")));
    if (listed.size() > limits::k_sync_batch_files_max) return fail(Code::code_sync, fmt::format("{} files come at once, and at most {} may", listed.size(), limits::k_sync_batch_files_max));
    auto files = std::make_shared<Files>();
    std::uint64_t all = 0;
    for (const auto& [digest, bytes, offset, count] : listed) {
        if (bytes > limits::k_sync_bytes_max || count > limits::k_sync_batch_bytes - all) return fail(Code::code_sync, fmt::format("at most {} bytes of files may come at once, and a file may have {}", limits::k_sync_batch_bytes, limits::k_sync_bytes_max));
        all += count;
        RH_TRY(const Digest parsed, Digest::from_hex(digest));
        files->pieces.push_back({parsed, bytes, offset, {}});
    }
    RH_TRY(const ByteView packed, attachment_of(body));
    RH_TRY(files->contents, sync::unpack(packed, all));
    if (files->contents.size() != all) return fail(Code::code_sync, fmt::format("{} bytes of files came, and {} were announced", files->contents.size(), all));
    std::size_t at = 0;
    for (std::size_t i = 0; i < listed.size(); ++i) {
        const auto count = static_cast<std::size_t>(std::get<3>(listed[i]));
        files->pieces[i].content = files->contents.view().subspan(at, count);
        at += count;
    }
    return files;
}

// The end of a call that has one packed attachment.
Outcome packed_outcome(const Json& answer, ByteView unpacked) {
    const Result<Bytes> packed = sync::pack(unpacked);
    if (!packed) return Outcome::failed(packed.error());
    Body body = Body::one(Encoding::json, as_byte_view(dump(answer)));
    body.add(packed->view());
    return Outcome::returned(std::move(body));
}

// These stand outside the coroutines: g++ 12 cannot compile a nested initializer list within one.
Json there_json(bool there) { return {{"there", there}}; }
Json missing_json(const Absent& absent) { return {{"missing", absent}}; }
Json pieces_json(const std::vector<std::uint64_t>& pieces) { return {{"pieces", pieces}}; }

// Of some entries, as many bytes as one message may carry, from `offset` in the first on.
struct Fetched {
    Bytes contents;
    std::vector<std::uint64_t> pieces;
};

Result<Fetched> fetch_files(const sync::CodeFolder& folder, const Digest& id, const std::vector<std::size_t>& wanted, std::uint64_t offset) {
    RH_TRY(const sync::Manifest manifest, folder.manifest(id));
    Fetched fetched;
    for (const std::size_t at : wanted) {
        if (at >= manifest.entries.size() || manifest.entries[at].kind == sync::EntryKind::link) return fail(Code::bad_arguments, fmt::format("the snapshot has no file {}", at));
        if (fetched.contents.size() == limits::k_sync_batch_bytes) break;
        RH_TRY(const Bytes content, folder.read(manifest.entries[at], fetched.pieces.empty() ? offset : 0, limits::k_sync_batch_bytes - fetched.contents.size()));
        fetched.contents.append(content.view());
        fetched.pieces.push_back(content.size());
    }
    return fetched;
}

}  // namespace

struct CodeControl::Sent {
    Json request;
    Body body;
};

CodeControl::CodeControl(const net::asio::any_io_executor& executor, const std::string& state_folder, Runs& runs, net::TaskGroup& tasks, std::function<Snapshots()> in_use)
    : executor_(executor), runs_(runs), tasks_(tasks), in_use_(std::move(in_use)), path_(code_folder(state_folder)), folder_(path_) {}

CodeControl::~CodeControl() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        queue_.clear();
    }
    more_.notify_one();
    if (thread_.joinable()) thread_.join();
}

awaitable<Outcome> CodeControl::call(std::string method, Body body, Asker asker) {
    Result<Json> request = parse_request(body);
    if (!request) co_return Outcome::failed(request.error());
    if (const auto may = asker.principal.may(Scope::deploy, "to send or read code"); !may) co_return Outcome::failed(may.error());
    if (method == "code_offer") co_return co_await offer(*request);
    if (method == "code_commit") co_return co_await commit(*request);
    if (method == "code_fetch") co_return co_await fetch(*request);
    auto sent = std::make_shared<Sent>();
    sent->request = std::move(*request);
    sent->body = std::move(body);
    if (method == "code_manifest") co_return co_await take_manifest(std::move(sent));
    if (method == "code_files") co_return co_await take_files(std::move(sent));
    co_return Outcome::failed(Error(Code::not_found, fmt::format("\"_node\" has no method \"{:.64}\"; for code it has code_offer, code_manifest, code_files, code_commit and code_fetch", method)));
}

Result<void> CodeControl::check_here(const std::string& id) const {
    const auto digest = Digest::from_hex(id);
    if (!digest) return fail(digest.error());
    if (!leaving_.contains(id) && ::access(sync::snapshot_path(path_, id).c_str(), F_OK) == 0) return {};
    return fail(Error(Code::not_found, fmt::format("the code of snapshot {} is not on this node (any more). Try: deploy it again", id)).with("snapshot", id).with("started", "no"));
}

awaitable<Outcome> CodeControl::offer(const Json& request) {
    const auto id = id_in(request);
    const auto project = field<std::string>(request, "project", std::string());
    if (!id || !project) co_return Outcome::failed(id ? project.error() : id.error());
    const auto there_answer = on_disk<bool>([id = *id, project = *project](Folder& folder) -> Result<bool> {
        if (!folder.has_snapshot(id)) return false;
        RH_TRY(const Absent absent, folder.make(id, project));
        return absent.empty();
    });
    co_await there_answer->arrived.wait();
    const auto& there = there_answer->result;
    if (there && *there) note(*project, id->hex());
    co_return there ? json_outcome(there_json(*there)) : Outcome::failed(there.error());
}

awaitable<Outcome> CodeControl::take_manifest(std::shared_ptr<const Sent> sent) {
    const auto absent_answer = on_disk<Absent>([sent = std::move(sent)](Folder& folder) -> Result<Absent> {
        RH_TRY(const Digest id, id_in(sent->request));
        RH_TRY(const auto project, field<std::string>(sent->request, "project", std::string()));
        RH_TRY(const ByteView packed, attachment_of(sent->body));
        RH_TRY(const Bytes encoded, sync::unpack(packed, limits::k_sync_manifest_bytes_max));
        RH_TRY_VOID(folder.put_manifest(id, encoded.view()));
        return folder.absent(id, project);
    });
    co_await absent_answer->arrived.wait();
    const auto& absent = absent_answer->result;
    co_return absent ? json_outcome(missing_json(*absent)) : Outcome::failed(absent.error());
}

awaitable<Outcome> CodeControl::take_files(std::shared_ptr<const Sent> sent) {
    const auto taken_answer = on_disk<bool>([sent = std::move(sent)](Folder& folder) -> Result<bool> {
        RH_TRY(const std::shared_ptr<Files> files, files_in(sent->request, sent->body));
        for (const auto& piece : files->pieces) RH_TRY_VOID(folder.put(piece));
        return true;
    });
    co_await taken_answer->arrived.wait();
    const auto& taken = taken_answer->result;
    co_return taken ? json_outcome(Json::object()) : Outcome::failed(taken.error());
}

awaitable<Outcome> CodeControl::commit(const Json& request) {
    const auto id = id_in(request);
    const auto project = field<std::string>(request, "project", std::string());
    if (!id || !project) co_return Outcome::failed(id ? project.error() : id.error());
    const std::optional<Snapshots> used = co_await needed();
    // From here on nobody deploys it.
    const std::optional<std::string> spare = used ? spare_of(*project, *used) : std::nullopt;
    if (spare) leaving_.insert(*spare);
    const auto absent_answer = on_disk<Absent>([id = *id, project = *project, spare](Folder& folder) -> Result<Absent> {
        return folder.make(id, project, spare ? std::optional(Digest::from_hex(*spare).value()) : std::nullopt);
    });
    co_await absent_answer->arrived.wait();
    const auto& absent = absent_answer->result;
    if (spare) leaving_.erase(*spare);
    if (!absent) co_return Outcome::failed(absent.error());
    if (absent->empty()) {
        note(*project, id->hex());
        tasks_.spawn(collect());
    }
    co_return json_outcome(missing_json(*absent));
}

void CodeControl::note(const std::string& project, const std::string& id) {
    auto& all = asked_for_[project];
    std::erase(all, id);
    all.push_back(id);
    if (all.size() > k_asked_for_max) all.pop_front();
    if (asked_for_.size() > k_projects_max) asked_for_.erase(asked_for_.begin());
}

// The oldest that nothing needs, but for the last two: whoever asked for those may be about to deploy them. One who is later than that
// hears that it is gone, and sends it again.
std::optional<std::string> CodeControl::spare_of(const std::string& project, const Snapshots& used) const {
    const auto found = asked_for_.find(project);
    if (found == asked_for_.end()) return std::nullopt;
    const std::deque<std::string>& all = found->second;
    for (std::size_t at = 0; at + 2 < all.size(); ++at) {
        if (!used.contains(all[at]) && !leaving_.contains(all[at]) && check_here(all[at])) return all[at];
    }
    return std::nullopt;
}

awaitable<Outcome> CodeControl::fetch(const Json& request) {
    const auto id = id_in(request);
    if (!id) co_return Outcome::failed(id.error());
    const auto wanted = field<std::vector<std::size_t>>(request, "files", std::vector<std::size_t>());
    if (!wanted) co_return Outcome::failed(wanted.error());
    const auto offset = amount(request, "offset", 0, limits::k_sync_bytes_max);
    if (!offset) co_return Outcome::failed(offset.error());
    if (wanted->empty()) {
        const auto manifest_answer = on_disk<Bytes>([id = *id](Folder& folder) -> Result<Bytes> {
            folder.touch(id);
            RH_TRY(const sync::Manifest found, folder.manifest(id));
            return sync::encode(found);
        });
        co_await manifest_answer->arrived.wait();
        const auto& manifest = manifest_answer->result;
        co_return manifest ? packed_outcome(Json::object(), manifest->view()) : Outcome::failed(manifest.error());
    }
    const auto fetched_answer = on_disk<Fetched>([id = *id, wanted = *wanted, offset = *offset](Folder& folder) { return fetch_files(folder, id, wanted, offset); });
    co_await fetched_answer->arrived.wait();
    const auto& fetched = fetched_answer->result;
    co_return fetched ? packed_outcome(pieces_json(fetched->pieces), fetched->contents.view()) : Outcome::failed(fetched.error());
}

// The snapshots that must stay; nothing where that cannot be known just now.
awaitable<std::optional<CodeControl::Snapshots>> CodeControl::needed() {
    const auto of_runs = co_await runs_.ask<std::vector<std::string>>([](store::Journal& journal, auto done) { journal.read_snapshots(std::move(done)); });
    if (!of_runs) co_return std::nullopt;
    Snapshots all = in_use_();
    all.insert(of_runs->begin(), of_runs->end());
    co_return all;
}

// After each new snapshot, when nobody waits for it: what it took the place of may be in nobody's way any more.
awaitable<void> CodeControl::collect() {
    std::optional<Snapshots> used = co_await needed();
    if (used) add([this, used = std::move(*used)] { folder_.collect(used, limits::k_sync_kept, limits::k_sync_grace); });
}

// --- the thread ------------------------------------------------------------------------------------------------------

// No coroutine: g++ 12 destroys twice what a lambda in a co_await expression has captured.
template <class T>
std::shared_ptr<CodeControl::Answer<T>> CodeControl::on_disk(std::function<Result<T>(Folder&)> work) {
    auto answer = std::make_shared<Answer<T>>(executor_);
    const bool added = add([this, answer, work = std::move(work)] {
        answer->result = work(folder_);
        net::asio::post(executor_, [answer] { answer->arrived.set(); });
    });
    if (!added) {
        answer->result = fail(Error(Code::limit_exceeded, fmt::format("{} requests wait for this node's disk, the most that may: try again in a moment", limits::k_sync_queue_max)).with("started", "no"));
        answer->arrived.set();
    }
    return answer;
}

bool CodeControl::add(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= limits::k_sync_queue_max) return false;
        queue_.push_back(std::move(task));
        if (!thread_.joinable()) thread_ = std::thread([this] { this->work(); });
    }
    more_.notify_one();
    return true;
}

void CodeControl::work() {
    for (;;) {
        std::function<void()> task;
        {
            std::unique_lock lock(mutex_);
            more_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (stopping_) return;
            task = std::move(queue_.front());
            queue_.pop_front();
        }
        task();
    }
}

}  // namespace rh::daemon
