#include "net/accepted.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace rh::net {

bool Door::is_named(std::string_view host_header) const {
    const std::size_t bracket = host_header.rfind(']');
    const std::size_t colon = host_header.rfind(':');
    std::string_view host = host_header;
    if (colon != host.npos && (bracket == host.npos || colon > bracket)) {
        const std::string_view digits = host.substr(colon + 1);
        std::uint16_t number = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        // Behind a proxy or tunnel the port may be another one; what stands there must be one.
        if (error != std::errc() || end != digits.data() + digits.size()) return false;
        host = host.substr(0, colon);
    }
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    std::string wanted(host);
    std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (wanted.empty()) return false;
    return std::any_of(hosts.begin(), hosts.end(), [&](const std::string& known) {
        if (!known.starts_with("*.")) return known == wanted;
        const std::size_t dot = wanted.find('.');
        return dot != wanted.npos && dot > 0 && std::string_view(wanted).substr(dot) == std::string_view(known).substr(1);
    });
}

}  // namespace rh::net
