#include "daemon/live.h"

#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/requests.h"
#include "daemon/worker.h"

namespace rh::daemon {

namespace {

namespace fs = std::filesystem;

bool write_all(int file, ByteView bytes) {
    while (!bytes.empty()) {
        const auto count = ::write(file, bytes.data(), bytes.size());
        if (count < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
}

std::string read_all(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Json error_json(const Error& error) {
    Json facts = Json::array();
    for (const auto& [key, value] : error.context) facts.push_back({key, value});
    return {{"code", static_cast<std::uint32_t>(error.code)}, {"message", error.message}, {"facts", facts}};
}

// A program's own words may be no UTF-8.
std::string to_text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

Live::Live(std::string folder) : folder_(std::move(folder)) {
    for (const char* const each : {"", "/services", "/workers"}) ::mkdir((folder_ + each).c_str(), 0700);
}

// Whole or not at all: a daemon may die in the middle of it.
void Live::write(const std::string& path, std::string_view text, ByteView attachments) const {
    const std::string beside = folder_ + "/new";
    const Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const bool written = file && write_all(file.get(), as_byte_view(text)) && write_all(file.get(), attachments);
    if (!written || ::rename(beside.c_str(), path.c_str()) != 0) spdlog::warn("{} cannot be written: {}", path, os_error("write", errno).message);
}

void Live::put(const Service& service, const std::vector<std::string>& old_names) {
    Json workers = Json::array();
    for (const auto& worker : service.workers) workers.push_back(worker->id);
    Json copies = Json::array();
    for (const auto& copy : service.copies) {
        if (const auto worker = copy.lock()) copies.push_back(worker->id);
    }
    Json about{{"name", service.name}, {"kind", static_cast<int>(service.kind)}, {"language", service.language}, {"class", service.class_name}, {"process", service.process},
               {"described", service.described}, {"workers", workers}, {"copies", copies}, {"old_names", old_names}, {"code_digest", service.code_digest}};
    if (service.dead) about["dead"] = error_json(*service.dead);
    // What lives in a worker cannot be made again.
    const bool has_code = service.code != nullptr && !is_live_object(service.kind);
    if (has_code) {
        const Body& body = service.code->attachments;
        about["code"] = {{"request", service.code->request}, {"encoding", static_cast<int>(body.encoding)}, {"parts", body.part_bytes}, {"snapshot", service.code->snapshot}};
    }
    write(fmt::format("{}/services/{}", folder_, service.name), to_text(about) + "\n", has_code ? service.code->attachments.bytes.view() : ByteView());
}

void Live::erase_service(std::string_view name) { ::unlink(fmt::format("{}/services/{}", folder_, name).c_str()); }

void Live::put(const Worker& worker, const std::map<std::string, std::string>* process_vars) {
    Json about{{"process", worker.process}, {"retired", worker.retired},
               {"allocation", {{"cpus", worker.allocation.cpus}, {"gpus", worker.allocation.gpus}, {"memory", worker.allocation.memory_bytes}}}};
    if (!worker.snapshots.empty()) about["snapshots"] = worker.snapshots;
    if (worker.launch != nullptr) {
        const Amounts& amounts = worker.launch->amounts;
        about["amounts"] = {{"cpus", amounts.cpus}, {"gpus", amounts.gpus}, {"memory", amounts.memory_bytes}};
        if (worker.launch->import_path) about["import_path"] = *worker.launch->import_path;
    }
    if (process_vars != nullptr) about["vars"] = *process_vars;
    write(fmt::format("{}/workers/{}", folder_, worker.id), to_text(about));
}

void Live::erase_worker(std::string_view id) { ::unlink(fmt::format("{}/workers/{}", folder_, id).c_str()); }

void Live::put_vars(const std::map<std::string, std::string>& vars) { write(folder_ + "/vars", to_text(Json(vars))); }

std::vector<Live::Record> Live::services() const {
    std::vector<Record> all;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_ + "/services", ignored)) {
        const std::string text = read_all(entry.path());
        const std::size_t end = text.find('\n');
        Record record;
        record.about = Json::parse(std::string_view(text).substr(0, end), nullptr, false);
        if (end == std::string::npos || !record.about.is_object()) continue;
        try {
            if (const auto code = record.about.find("code"); code != record.about.end()) {
                record.attachments.encoding = static_cast<Encoding>(code->at("encoding").get<int>());
                record.attachments.part_bytes = code->at("parts").get<std::vector<std::uint64_t>>();
                record.attachments.bytes.append(as_byte_view(std::string_view(text).substr(end + 1)));
            }
            all.push_back(std::move(record));
        } catch (const Json::exception& error) {
            spdlog::warn("{} cannot be read: {}", entry.path().string(), error.what());
        }
    }
    return all;
}

std::map<std::string, Live::Json> Live::workers() const {
    std::map<std::string, Json> all;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_ + "/workers", ignored)) {
        Json about = Json::parse(read_all(entry.path()), nullptr, false);
        if (about.is_object()) all.emplace(entry.path().filename(), std::move(about));
    }
    return all;
}

std::map<std::string, std::string> Live::vars() const {
    const Json vars = Json::parse(read_all(folder_ + "/vars"), nullptr, false);
    return vars.is_object() ? vars.get<std::map<std::string, std::string>>() : std::map<std::string, std::string>();
}

}  // namespace rh::daemon
