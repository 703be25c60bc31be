#include "http/metrics.h"

#include <fmt/format.h>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

namespace rh::http {

namespace {

using Json = nlohmann::json;

std::string label(std::string_view text) {
    std::string clean;
    for (const char c : text) {
        if (c == '\\' || c == '"') clean += '\\';
        if (c == '\n') {
            clean += "\\n";
        } else {
            clean += c;
        }
    }
    return clean;
}

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    file >> size >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

double processor_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Writer {
public:
    void family(std::string_view name, std::string_view kind, std::string_view help) {
        name_ = name;
        text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, kind);
    }
    template <class Number>
    void value(Number number, std::string_view labels = "") {
        text_ += fmt::format("{}{} {}\n", name_, labels, number);
    }
    std::string take() { return std::move(text_); }

private:
    std::string_view name_;
    std::string text_;
};

}  // namespace

std::string metrics_text(const Json& status, std::size_t framed_connections, const Shared& shared) {
    Writer out;
    out.family("roundhouse_calls_total", "counter", "Calls that were passed to workers since the daemon started.");
    out.value(status.value("calls", std::uint64_t{0}));
    std::uint64_t in_flight = 0;
    const Json workers = status.value("workers", Json::array());
    for (const Json& worker : workers) in_flight += worker.value("calls", std::uint64_t{0});
    out.family("roundhouse_calls_in_flight", "gauge", "Calls that are on their way through a worker.");
    out.value(in_flight);
    const Json services = status.value("services", Json::array());
    out.family("roundhouse_service_calls_in_flight", "gauge", "The same for each service.");
    std::map<std::string, std::uint64_t> kinds;
    for (const Json& service : services) {
        ++kinds[service.value("kind", "")];
        out.value(service.value("calls", std::uint64_t{0}), fmt::format("{{service=\"{}\"}}", label(service.value("name", ""))));
    }
    out.family("roundhouse_services", "gauge", "Services by kind.");
    for (const auto& [kind, count] : kinds) out.value(count, fmt::format("{{kind=\"{}\"}}", label(kind)));
    out.family("roundhouse_workers", "gauge", "Worker processes.");
    out.value(workers.size());
    out.family("roundhouse_connections", "gauge", "Open connections by what they carry.");
    out.value(framed_connections, "{protocol=\"frames\"}");
    out.value(shared.connections, "{protocol=\"http\"}");
    out.family("roundhouse_http_requests_total", "counter", "HTTP requests that were answered.");
    for (const auto& [code, count] : shared.answers) out.value(count, fmt::format("{{code=\"{}\"}}", code));
    out.family("roundhouse_http_received_bytes_total", "counter", "Bytes read from HTTP connections.");
    out.value(shared.bytes_in);
    out.family("roundhouse_http_sent_bytes_total", "counter", "Bytes written to HTTP connections.");
    out.value(shared.bytes_out);
    out.family("roundhouse_uptime_seconds", "gauge", "Since the daemon started.");
    out.value(status.value("uptime_s", 0.0));
    out.family("process_resident_memory_bytes", "gauge", "Resident memory of the daemon.");
    out.value(resident_bytes());
    out.family("process_cpu_seconds_total", "counter", "Processor time of the daemon.");
    out.value(processor_seconds());
    out.family("roundhouse_info", "gauge", "The version that runs here.");
    out.value(1, fmt::format("{{version=\"{}\"}}", label(status.value("version", ""))));
    return out.take();
}

}  // namespace rh::http
