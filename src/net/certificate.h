#pragma once

// Certificates that a node makes for itself, and the pins by which clients know a server's key.

#include <string>
#include <vector>

#include "base/result.h"

struct x509_st;

namespace rh::net {

struct Certificate {
    std::string certificate_path;
    std::string key_path;
};

// The node's own certificate in that folder, self-signed: made on first use, with a new P-256 key (mode 0600). When it is not for all of
// these names (host names and numeric addresses), or about to end, it is made anew with the same key, so that its pin stays.
Result<Certificate> own_certificate(const std::string& folder, std::vector<std::string> names);

// "sha256/" and the base64 of the SHA-256 of its SubjectPublicKeyInfo, as `openssl` and HTTP's own pins have it.
Result<std::string> pin_of(x509_st* certificate);

// The host names and addresses that the certificate in that file is for.
Result<std::vector<std::string>> names_in(const std::string& certificate_path);

// The certificates in that file as PEM, and nothing else that may stand in it.
Result<std::string> certificates_in(const std::string& path);

// SHA-256, for secrets that are themselves random.
std::string sha256(std::string_view bytes);
// RFC 4648, with padding; `for_urls`: "-" and "_" instead of "+" and "/", and no padding.
std::string base64(std::string_view bytes, bool for_urls = false);
// Whether they are the same, in a time that says nothing of where they differ.
bool same_secret(std::string_view one, std::string_view other);

}  // namespace rh::net
