#include "net/certificate.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/ids.h"
#include "net/tls.h"

namespace rh::net {
namespace {

namespace fs = std::filesystem;

class CertificateTest : public ::testing::Test {
protected:
    CertificateTest() { fs::create_directory(folder_); }
    ~CertificateTest() override { fs::remove_all(folder_); }

    static std::string text_of(const std::string& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static std::string pin(const Certificate& certificate) {
        const Result<TlsServer> server = TlsServer::make(certificate.certificate_path, certificate.key_path);
        return server ? server->pin() : server.error().message;
    }
    static bool has(const Certificate& certificate, std::string_view name) {
        const auto names = names_in(certificate.certificate_path).value();
        return std::find(names.begin(), names.end(), name) != names.end();
    }

    const std::string folder_ = "/tmp/rh-test-" + random_hex(8);
    const std::string tls_ = folder_ + "/tls";
};

TEST_F(CertificateTest, IsMadeOnceAndKept) {
    const Result<Certificate> first = own_certificate(tls_, {"localhost", "127.0.0.1", "::1"});
    ASSERT_TRUE(first) << first.error().message;
    struct stat key {};
    ASSERT_EQ(::stat(first->key_path.c_str(), &key), 0);
    EXPECT_EQ(key.st_mode & 0777, 0600U);
    EXPECT_TRUE(has(*first, "localhost") && has(*first, "127.0.0.1") && has(*first, "::1"));
    const std::string text = text_of(first->certificate_path);
    ASSERT_TRUE(own_certificate(tls_, {"127.0.0.1"}));
    EXPECT_EQ(text_of(first->certificate_path), text);
    EXPECT_TRUE(pin(*first).starts_with("sha256/")) << pin(*first);
    EXPECT_EQ(pin(*first).size(), 7U + 44U);
}

TEST_F(CertificateTest, NewNamesKeepKeyAndPin) {
    const Certificate first = own_certificate(tls_, {"localhost"}).value();
    const std::string before = pin(first);
    const Certificate second = own_certificate(tls_, {"box.example", "0:0:0:0:0:0:0:1"}).value();
    EXPECT_EQ(pin(second), before);
    EXPECT_TRUE(has(second, "localhost") && has(second, "box.example") && has(second, "::1"));
    fs::remove(second.key_path);
    EXPECT_NE(pin(own_certificate(tls_, {"localhost"}).value()), before);
}

TEST_F(CertificateTest, WhatIsBrokenIsSaidOrMadeAnew) {
    const Certificate own = own_certificate(tls_, {"localhost"}).value();
    const std::string before = pin(own);
    std::ofstream(own.certificate_path) << "no certificate";
    EXPECT_EQ(pin(own_certificate(tls_, {"localhost"}).value()), before);
    ::chmod(own.key_path.c_str(), 0644);
    ASSERT_TRUE(own_certificate(tls_, {"localhost"}));
    struct stat key {};
    ASSERT_EQ(::stat(own.key_path.c_str(), &key), 0);
    EXPECT_EQ(key.st_mode & 0777, 0600U);
    std::ofstream(own.key_path) << "no key";
    const Result<Certificate> refused = own_certificate(tls_, {"localhost"});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(own.key_path), std::string::npos);
    fs::remove(own.key_path);
    fs::create_symlink(folder_ + "/elsewhere", own.key_path);
    EXPECT_FALSE(own_certificate(tls_, {"localhost"}));
    EXPECT_FALSE(fs::exists(folder_ + "/elsewhere"));
}

TEST_F(CertificateTest, NamesCannotSayMore) {
    for (const char* name : {"", "a,DNS:evil.example", "a b", "a\nb", "1.2.3.4:80", "box/", "\xc3\xa9"}) {
        const Result<Certificate> refused = own_certificate(tls_, {name});
        ASSERT_FALSE(refused) << name;
        EXPECT_EQ(refused.error().code, Code::bad_arguments) << name;
    }
    EXPECT_EQ(own_certificate(tls_, std::vector<std::string>(65, "a")).error().code, Code::limit_exceeded);
}

TEST_F(CertificateTest, AServerNeedsAPairThatFits) {
    const Certificate one = own_certificate(folder_ + "/one", {"localhost"}).value();
    const Certificate two = own_certificate(folder_ + "/two", {"localhost"}).value();
    for (const auto& [certificate, key] : {std::pair(one.certificate_path, two.key_path), std::pair(one.key_path, one.key_path), std::pair(folder_ + "/none", one.key_path),
                                           std::pair(one.certificate_path, folder_ + "/none")}) {
        const auto refused = TlsServer::make(certificate, key);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::bad_arguments);
    }
}

TEST(Secrets, HashesAndTexts) {
    std::string hex;
    for (const char c : sha256("abc")) hex += "0123456789abcdef"[(c >> 4) & 15], hex += "0123456789abcdef"[c & 15];
    EXPECT_EQ(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-2, B.1
    EXPECT_EQ(base64(""), "");
    EXPECT_EQ(base64("f"), "Zg==");
    EXPECT_EQ(base64("foobar"), "Zm9vYmFy");  // RFC 4648, 10
    EXPECT_EQ(base64("\xff\xfe\xfd\xfc"), "//79/A==");
    EXPECT_EQ(base64("\xff\xfe\xfd\xfc", true), "__79_A");
    EXPECT_TRUE(same_secret("a", "a"));
    EXPECT_FALSE(same_secret("a", "b"));
    EXPECT_FALSE(same_secret("a", "aa"));
    EXPECT_TRUE(same_secret("", ""));
}

}  // namespace
}  // namespace rh::net
