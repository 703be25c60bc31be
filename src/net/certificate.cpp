#include "net/certificate.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ids.h"
#include "net/endpoint.h"
#include "net/tls.h"

namespace rh::net {

namespace {

template <auto Free>
struct Freed {
    template <class T>
    void operator()(T* it) const {
        Free(it);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Freed<X509_free>>;
using File = std::unique_ptr<BIO, Freed<BIO_free_all>>;

constexpr long k_day_s = 24 * 60 * 60;
constexpr long k_lifetime_s = 3650 * k_day_s;
constexpr int k_renewed_before_days = 30;
constexpr std::size_t k_names_max = 64;

tl::unexpected<Error> failed(std::string_view what) { return fail(Code::io, fmt::format("the node's certificate could not be made: {} failed: {}", what, openssl_words())); }

Result<Cert> read_certificate(const std::string& path) {
    const File file(BIO_new_file(path.c_str(), "r"));
    Cert certificate(file != nullptr ? PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr) : nullptr);
    if (certificate == nullptr) return fail(Code::io, fmt::format("the certificate {} cannot be read: {}", path, openssl_words()));
    return certificate;
}

std::string address_text(const ASN1_OCTET_STRING* address) {
    char text[INET6_ADDRSTRLEN] = {};
    const int size = ASN1_STRING_length(address);
    if (size != 4 && size != 16) return {};
    ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text, sizeof text);
    return text;
}

std::vector<std::string> names_of(const X509* certificate) {
    std::vector<std::string> names;
    const std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> all(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all.get()); ++i) {
        int type = 0;
        const void* const value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all.get(), i), &type);
        if (type == GEN_DNS) {
            const auto* const text = static_cast<const ASN1_IA5STRING*>(value);
            names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)), static_cast<std::size_t>(ASN1_STRING_length(text)));
        }
        if (type == GEN_IPADD) names.push_back(address_text(static_cast<const ASN1_OCTET_STRING*>(value)));
    }
    return names;
}

// One spelling for each address.
std::string canonical(const std::string& name) {
    unsigned char bytes[16];
    char text[INET6_ADDRSTRLEN] = {};
    for (const int family : {AF_INET, AF_INET6}) {
        if (::inet_pton(family, name.c_str(), bytes) == 1 && ::inet_ntop(family, bytes, text, sizeof text) != nullptr) return text;
    }
    return name;
}

Result<void> check_names(const std::vector<std::string>& names) {
    if (names.size() > k_names_max) return fail(Code::limit_exceeded, fmt::format("a certificate can be for {} names, not {}", k_names_max, names.size()));
    for (const std::string& name : names) {
        const bool fine = !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':' || c == '*';
        });
        if (!fine || (name.find(':') != name.npos && !is_numeric(name)))
            return fail(Code::bad_arguments, fmt::format("\"{:.64}\" is neither a host name nor a numeric address, which a certificate could be for", name));
    }
    return {};
}

// Whole or not at all, and never readable for others.
Result<void> write_private(const std::string& path, BIO* memory) {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(memory, &bytes);
    const std::string draft = fmt::format("{}.{}", path, random_hex(4));
    Fd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail(os_error("cannot write " + path, errno));
    const bool written = ::write(file.get(), bytes, static_cast<std::size_t>(size)) == size && ::fsync(file.get()) == 0;
    if (!written || ::rename(draft.c_str(), path.c_str()) != 0) {
        const int why = errno;
        ::unlink(draft.c_str());
        return fail(os_error("cannot write " + path, why));
    }
    return {};
}

Result<Key> own_key(const std::string& path) {
    struct stat there {};
    if (::lstat(path.c_str(), &there) == 0) {
        if (there.st_uid != ::geteuid() || !S_ISREG(there.st_mode)) return fail(Code::not_allowed, fmt::format("the key {} is not this user's own file: remove it, and another is made", path));
        if ((there.st_mode & 077) != 0) ::chmod(path.c_str(), 0600);
        const File file(BIO_new_file(path.c_str(), "r"));
        Key key(file != nullptr ? PEM_read_bio_PrivateKey(file.get(), nullptr, nullptr, nullptr) : nullptr);
        if (key == nullptr) return fail(Code::io, fmt::format("the key {} cannot be read: {}. Try: remove it, and another is made (clients then need the new pin)", path, openssl_words()));
        return key;
    }
    Key key(EVP_EC_gen("P-256"));
    const File memory(BIO_new(BIO_s_secmem()));
    if (key == nullptr || memory == nullptr || PEM_write_bio_PrivateKey(memory.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) return failed("the key");
    RH_TRY_VOID(write_private(path, memory.get()));
    return key;
}

bool add_extension(X509* certificate, int id, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>> extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
    return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

Result<void> make_certificate(const std::string& path, EVP_PKEY* key, const std::vector<std::string>& names) {
    const Cert certificate(X509_new());
    unsigned char serial[16];
    const std::string random = random_bytes(sizeof serial);
    std::memcpy(serial, random.data(), sizeof serial);
    serial[0] &= 0x7f;  // a positive number
    const std::unique_ptr<BIGNUM, Freed<BN_free>> number(BN_bin2bn(serial, sizeof serial, nullptr));
    std::string alternatives;
    for (const std::string& name : names) alternatives += fmt::format("{}{}:{}", alternatives.empty() ? "" : ",", is_numeric(name) ? "IP" : "DNS", name);
    X509_NAME* const subject = X509_get_subject_name(certificate.get());
    const bool made = X509_set_version(certificate.get(), X509_VERSION_3) == 1 && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
                      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -k_day_s) != nullptr &&
                      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), k_lifetime_s) != nullptr && X509_set_pubkey(certificate.get(), key) == 1 &&
                      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("roundhouse node"), -1, -1, 0) == 1 &&
                      X509_set_issuer_name(certificate.get(), subject) == 1 && add_extension(certificate.get(), NID_subject_alt_name, alternatives) &&
                      add_extension(certificate.get(), NID_basic_constraints, "critical,CA:FALSE") && add_extension(certificate.get(), NID_key_usage, "critical,digitalSignature") &&
                      add_extension(certificate.get(), NID_ext_key_usage, "serverAuth") && X509_sign(certificate.get(), key, EVP_sha256()) > 0;
    const File memory(BIO_new(BIO_s_mem()));
    if (!made || PEM_write_bio_X509(memory.get(), certificate.get()) != 1) return failed("the certificate");
    return write_private(path, memory.get());
}

// Whether it is of that key, for all of those names, and not about to end.
bool is_good(const X509* certificate, const EVP_PKEY* key, const std::vector<std::string>& names) {
    if (X509_check_private_key(certificate, key) != 1) return false;
    int days = 0;
    int seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1 || days < k_renewed_before_days) return false;
    const std::vector<std::string> has = names_of(certificate);
    return std::all_of(names.begin(), names.end(), [&](const std::string& name) { return std::find(has.begin(), has.end(), name) != has.end(); });
}

}  // namespace

Result<Certificate> own_certificate(const std::string& folder, std::vector<std::string> names) {
    begin_openssl();
    RH_TRY_VOID(check_names(names));
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail(os_error("cannot make the folder " + folder, errno));
    Certificate own{folder + "/certificate.pem", folder + "/key.pem"};
    RH_TRY(const Key key, own_key(own.key_path));
    for (std::string& name : names) name = canonical(name);
    if (::access(own.certificate_path.c_str(), F_OK) == 0) {
        const Result<Cert> before = read_certificate(own.certificate_path);
        if (before && is_good(before->get(), key.get(), names)) return own;
        // Names that were asked for once stay.
        if (before) {
            for (const std::string& name : names_of(before->get())) names.push_back(name);
        }
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    if (names.size() > k_names_max) names.resize(k_names_max);
    RH_TRY_VOID(make_certificate(own.certificate_path, key.get(), names));
    return own;
}

Result<std::string> pin_of(x509_st* certificate) {
    unsigned char* bytes = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &bytes);
    if (size <= 0) return fail(Code::not_allowed, fmt::format("the certificate's key cannot be read: {}", openssl_words()));
    const std::string pin = "sha256/" + base64(sha256({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)}));
    OPENSSL_free(bytes);
    return pin;
}

Result<std::vector<std::string>> names_in(const std::string& certificate_path) {
    begin_openssl();
    RH_TRY(const Cert certificate, read_certificate(certificate_path));
    return names_of(certificate.get());
}

Result<std::string> certificates_in(const std::string& path) {
    constexpr std::string_view k_begin = "-----BEGIN CERTIFICATE-----";
    constexpr std::string_view k_end = "-----END CERTIFICATE-----";
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::string found;
    for (std::size_t at = text.find(k_begin); at != text.npos; at = text.find(k_begin, at + 1)) {
        const std::size_t end = text.find(k_end, at);
        if (end == text.npos) break;
        found += text.substr(at, end + k_end.size() - at) + "\n";
    }
    if (found.empty()) return fail(Code::io, fmt::format("there is no certificate to be read in {}", path));
    return found;
}

std::string sha256(std::string_view bytes) {
    begin_openssl();
    std::string digest(SHA256_DIGEST_LENGTH, '\0');
    SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()));
    return digest;
}

std::string base64(std::string_view bytes, bool for_urls) {
    std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(size));
    if (!for_urls) return text;
    std::replace(text.begin(), text.end(), '+', '-');
    std::replace(text.begin(), text.end(), '/', '_');
    text.resize(std::min(text.find('='), text.size()));
    return text;
}

bool same_secret(std::string_view one, std::string_view other) { return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0; }

}  // namespace rh::net
