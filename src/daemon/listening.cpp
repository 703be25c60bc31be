#include "daemon/listening.h"

#include <algorithm>
#include <arpa/inet.h>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <cerrno>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>

#include "daemon/requests.h"
#include "net/certificate.h"
#include "net/endpoint.h"
#include "net/tls_stream.h"

namespace rh::daemon {

using net::asio::awaitable;

// What was asked for, checked, with everything decided.
struct Listening::Wanted {
    std::string host;  // numeric
    std::uint16_t port = 0;
    bool tls = false;
    std::string certificate;
    std::string key;
    std::vector<std::string> names;
    bool runhouse = false;

    Json json() const {
        return {{"host", host}, {"port", port}, {"tls", tls}, {"certificate", certificate}, {"key", key}, {"names", names}, {"runhouse", runhouse}};
    }
};

struct Listening::Open {
    Wanted wanted;
    net::TcpListener listener;
    std::optional<net::TlsServer> tls;
    std::shared_ptr<const net::Door> door;
    std::string url;
};

namespace {

constexpr const char* k_setting = "listener";
constexpr std::chrono::seconds k_try_again{1};

bool is_any(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

// This machine's own addresses, those that others reach first.
std::vector<std::string> own_addresses() {
    std::vector<std::string> far;
    std::vector<std::string> near;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return {"127.0.0.1"};
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        char text[INET6_ADDRSTRLEN] = {};
        if (entry->ifa_addr == nullptr) continue;
        if (entry->ifa_addr->sa_family == AF_INET) ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text);
        if (entry->ifa_addr->sa_family == AF_INET6) {
            const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr;
            if (!IN6_IS_ADDR_LINKLOCAL(&address)) ::inet_ntop(AF_INET6, &address, text, sizeof text);
        }
        if (*text != '\0') (net::is_loopback(text) ? near : far).emplace_back(text);
    }
    ::freeifaddrs(list);
    far.insert(far.end(), near.begin(), near.end());
    return far;
}

std::string host_name() {
    utsname machine{};
    ::uname(&machine);
    return machine.nodename;
}

// Everything that the port is reached by, as far as the node knows; the first is for its URL.
std::vector<std::string> names_for(const std::string& host, const std::vector<std::string>& names) {
    std::vector<std::string> all = is_any(host) ? own_addresses() : std::vector<std::string>{host};
    if (net::is_loopback(host) || is_any(host)) all.emplace_back("localhost");
    if (!net::is_loopback(host)) all.push_back(host_name());
    all.insert(all.end(), names.begin(), names.end());
    return all;
}

void lower(std::string& text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
}

}  // namespace

Listening::Listening(const net::asio::any_io_executor& executor, const store::Store& store, const std::string& state_folder)
    : executor_(executor), store_(store), certificate_folder_(state_folder + "/tls"), changed_(executor) {}

Listening::~Listening() = default;

Result<Listening::Wanted> Listening::check(const Json& request) const {
    Wanted wanted;
    RH_TRY(wanted.host, field<std::string>(request, "host", std::string("127.0.0.1")));
    RH_TRY(const std::uint64_t port, amount(request, "port", 0, 65535));
    wanted.port = static_cast<std::uint16_t>(port);
    RH_TRY(wanted.certificate, field<std::string>(request, "certificate", std::string()));
    RH_TRY(wanted.key, field<std::string>(request, "key", std::string()));
    RH_TRY(wanted.names, field<std::vector<std::string>>(request, "names", std::vector<std::string>()));
    RH_TRY(wanted.runhouse, field<bool>(request, "runhouse", false));
    if (wanted.host == "localhost") wanted.host = "127.0.0.1";
    if (!net::is_numeric(wanted.host))
        return fail(Code::bad_arguments, fmt::format("a node listens on a numeric address, and \"{:.64}\" is none. Try: 127.0.0.1 for this machine alone, 0.0.0.0 for all of its addresses",
                                                     wanted.host));
    if (wanted.certificate.empty() != wanted.key.empty()) return fail(Code::bad_arguments, "a certificate and its key are given together, or neither");
    const bool loopback = net::is_loopback(wanted.host);
    RH_TRY(wanted.tls, field<bool>(request, "tls", !loopback || !wanted.certificate.empty()));
    if (!wanted.tls && !loopback)
        return fail(Code::not_allowed, fmt::format("{} is reached from other machines, and is listened on with TLS only: without, anybody on the way could read tokens and data. Try: without "
                                                   "tls=False, or 127.0.0.1 and an SSH tunnel", wanted.host));
    if (!wanted.tls && !wanted.certificate.empty()) return fail(Code::bad_arguments, "a certificate is for TLS, which \"tls\": false turns off");
    return wanted;
}

Result<std::shared_ptr<Listening::Open>> Listening::open(const Wanted& wanted) const {
    std::vector<std::string> names = names_for(wanted.host, wanted.names);
    std::optional<net::TlsServer> tls;
    std::string shown;
    if (wanted.tls) {
        net::Certificate certificate{wanted.certificate, wanted.key};
        if (certificate.certificate_path.empty()) {
            RH_TRY(certificate, net::own_certificate(certificate_folder_, names));
        } else {
            RH_TRY(const std::vector<std::string> more, net::names_in(certificate.certificate_path));
            names.insert(names.end(), more.begin(), more.end());
        }
        RH_TRY(shown, net::certificates_in(certificate.certificate_path));
        RH_TRY(tls, net::TlsServer::make(certificate.certificate_path, certificate.key_path));
    }
    // The port as the very last: nothing may fail behind it.
    RH_TRY(net::TcpListener listener, net::TcpListener::listen(executor_, wanted.host, wanted.port));
    const std::uint16_t port = listener.port();
    const std::string url = fmt::format("{}://{}:{}", wanted.tls ? "https" : "http", net::bracketed(names.front()), port);
    std::for_each(names.begin(), names.end(), lower);
    auto door = std::make_shared<net::Door>(net::Door{wanted.tls, wanted.runhouse, port, std::move(names), std::move(shown)});
    auto opened = std::make_shared<Open>(Open{wanted, std::move(listener), std::move(tls), std::move(door), url});
    opened->wanted.port = port;
    return opened;
}

void Listening::take(std::shared_ptr<Open> open) {
    const std::shared_ptr<Open> before = std::exchange(open_, std::move(open));
    if (before != nullptr) before->listener.close();
    restoring_.reset();
    changed_.set();
}

Result<void> Listening::listen(const Json& request) {
    RH_TRY(const Wanted wanted, check(request));
    // Its own port is free for it.
    const bool same = open_ != nullptr && wanted.port == open_->wanted.port;
    if (same) open_->listener.close();
    Result<std::shared_ptr<Open>> opened = open(wanted);
    if (!opened) {
        if (same) {
            // What was there before comes back.
            Result<std::shared_ptr<Open>> again = open(open_->wanted);
            take(again ? std::move(*again) : nullptr);
        }
        return fail(opened.error());
    }
    const Json kept = (*opened)->wanted.json();
    take(std::move(*opened));
    spdlog::info("listening at {}", open_->url);
    return store_.set(k_setting, dump(kept));
}

Result<void> Listening::unlisten() {
    if (open_ == nullptr && restoring_ == nullptr) return {};
    take(nullptr);
    return store_.set(k_setting, std::nullopt);
}

Listening::Json Listening::description() const {
    if (open_ == nullptr) return Json::object();
    return {{"host", open_->wanted.host}, {"port", open_->wanted.port}, {"tls", open_->wanted.tls}, {"url", open_->url}, {"pin", open_->tls ? Json(open_->tls->pin()) : Json()},
            {"certificate", open_->tls ? Json(open_->door->certificate) : Json()}, {"runhouse", open_->wanted.runhouse}};
}

void Listening::restore() {
    if (restoring_ == nullptr) {
        const Result<std::optional<std::string>> kept = store_.setting(k_setting);
        if (!kept) spdlog::error("{}", kept.error().message);
        if (!kept || !*kept) return;
        restoring_ = std::make_unique<Json>(Json::parse(**kept, nullptr, false));
        if (!restoring_->is_object()) {
            restoring_.reset();
            return;
        }
        changed_.set();
    }
    const Result<Wanted> wanted = check(*restoring_);
    Result<std::shared_ptr<Open>> opened = wanted ? open(*wanted) : fail(wanted.error());
    if (opened) {
        take(std::move(*opened));
        spdlog::info("listening again at {}", open_->url);
        return;
    }
    spdlog::error("{}", opened.error().message);
    // Only a port may come free.
    if (opened.error().code != Code::name_taken) restoring_.reset();
}

awaitable<Result<net::Accepted>> Listening::accept() {
    while (!stopped_) {
        changed_.reset();
        const std::shared_ptr<Open> open = open_;
        if (open == nullptr) {
            const auto deadline = restoring_ != nullptr ? std::chrono::steady_clock::now() + k_try_again : std::chrono::steady_clock::time_point::max();
            co_await changed_.wait_until(deadline);
            if (restoring_ != nullptr && open_ == nullptr && !stopped_) restore();
            continue;
        }
        Result<net::TcpListener::Connected> connected = co_await open->listener.accept();
        if (!connected) {
            // It was closed: another has its place, or none.
            if (connected.error().fact("errno") == std::to_string(ECANCELED) || connected.error().fact("errno") == std::to_string(EBADF)) {
                continue;
            }
            co_return fail(connected.error());
        }
        std::unique_ptr<net::Stream> stream;
        if (open->tls) {
            stream = net::accept_tls(open->tls->context(), std::move(connected->socket));
        } else {
            stream = std::make_unique<net::SocketStream>(std::move(connected->socket));
        }
        co_return net::Accepted{std::move(stream), net::Peer{0, 0, std::move(connected->address)}, open->door};
    }
    co_return fail(Error(Code::node_lost, "the node ends").with("errno", std::to_string(ECANCELED)));
}

void Listening::stop() {
    stopped_ = true;
    take(nullptr);
}

}  // namespace rh::daemon
