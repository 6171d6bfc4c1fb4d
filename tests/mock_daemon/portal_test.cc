// SPDX-License-Identifier: Apache-2.0
// The portal's certificates, judged by libcrypto: chains, dates, names, extensions, PKCS#12, files.
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "portal/portal.h"
#include "portal/ssl.h"

namespace tocsin::portal {
namespace {

using Store = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;

constexpr std::int64_t kNow = 1'790'000'000;

// X509_V_OK, or why the chain does not hold for `purpose` at `when`.
int verify(const std::string& ca_pem, const std::string& leaf_pem, int purpose, std::int64_t when = kNow) {
  const Certificate ca = certificate_from(ca_pem);
  const Certificate leaf = certificate_from(leaf_pem);
  const Store store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), ca.get());
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  X509_STORE_CTX_set_time(context.get(), 0, when);
  X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context.get()), X509_V_FLAG_X509_STRICT);
  return X509_verify_cert(context.get()) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context.get());
}

std::string subject(const std::string& pem) {
  const Certificate certificate = certificate_from(pem);
  const Bio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate.get()), 0, XN_FLAG_RFC2253);
  return bio_text(bio.get());
}

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/tocsin-portal-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() { std::filesystem::remove_all(path); }
  std::string path;
};

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

KitOptions options_now() {
  KitOptions options;
  options.now_unix_s = kNow;
  return options;
}

TEST(Portal, ChainsHoldForTheirPurposeOnly) {
  const Result<Kit> kit = make_kit(options_now());
  ASSERT_TRUE(kit.ok()) << kit.error().message;
  EXPECT_EQ(verify(kit->ca_pem, kit->server.certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(verify(kit->ca_pem, kit->push.certificate_pem, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_NE(verify(kit->ca_pem, kit->push.certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_NE(verify(kit->ca_pem, kit->server.certificate_pem, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  const Result<Kit> other = make_kit(options_now());
  ASSERT_TRUE(other.ok());
  EXPECT_NE(verify(other->ca_pem, kit->server.certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_NE(kit->topic, other->topic);
}

TEST(Portal, PushCertificateLooksLikeApples) {
  const Result<Kit> kit = make_kit(options_now());
  ASSERT_TRUE(kit.ok());
  EXPECT_EQ(kit->topic.rfind("com.apple.mgmt.External.", 0), 0u);
  const std::string uuid = kit->topic.substr(24);
  EXPECT_EQ(uuid.size(), 36u);
  const std::string name = subject(kit->push.certificate_pem);
  EXPECT_NE(name.find("UID=" + kit->topic), std::string::npos) << name;
  EXPECT_NE(name.find("CN=APSP:" + uuid), std::string::npos) << name;
  const Certificate leaf = certificate_from(kit->push.certificate_pem);
  EXPECT_EQ(EVP_PKEY_get_bits(X509_get0_pubkey(leaf.get())), 2048);
  EXPECT_EQ(X509_check_private_key(leaf.get(), key_from(kit->push.key_pem).get()), 1);
  const Object topics(OBJ_txt2obj("1.2.840.113635.100.6.3.6", 1));
  EXPECT_EQ(X509_get_ext_by_OBJ(leaf.get(), topics.get(), -1), -1);
}

TEST(Portal, AppCertificateCarriesItsTopics) {
  KitOptions options = options_now();
  options.topic = "com.example.app";
  const Result<Kit> kit = make_kit(options);
  ASSERT_TRUE(kit.ok());
  const Certificate leaf = certificate_from(kit->push.certificate_pem);
  const Object oid(OBJ_txt2obj("1.2.840.113635.100.6.3.6", 1));
  const int at = X509_get_ext_by_OBJ(leaf.get(), oid.get(), -1);
  ASSERT_GE(at, 0);
  const ASN1_OCTET_STRING* data = X509_EXTENSION_get_data(X509_get_ext(leaf.get(), at));
  const unsigned char* bytes = ASN1_STRING_get0_data(data);
  const std::unique_ptr<ASN1_TYPE, Freer<ASN1_TYPE_free>> whole(d2i_ASN1_TYPE(nullptr, &bytes, ASN1_STRING_length(data)));
  ASSERT_NE(whole, nullptr);
  ASSERT_EQ(whole->type, V_ASN1_SEQUENCE);
  const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(data)),
                         static_cast<std::size_t>(ASN1_STRING_length(data)));
  EXPECT_NE(text.find(std::string("\x0c\x0f") + "com.example.app\x30\x05\x0c\x03" + "app"), std::string::npos);
  EXPECT_NE(text.find("com.example.app.voip\x30\x06\x0c\x04voip"), std::string::npos);
}

TEST(Portal, ServerNames) {
  KitOptions options = options_now();
  options.names = {"push.example.org", "10.1.2.3"};
  const Result<Kit> kit = make_kit(options);
  ASSERT_TRUE(kit.ok());
  const Certificate leaf = certificate_from(kit->server.certificate_pem);
  for (const char* name : {"localhost", "api.push.apple.com", "push.example.org"}) {
    EXPECT_EQ(X509_check_host(leaf.get(), name, 0, 0, nullptr), 1) << name;
  }
  for (const char* address : {"127.0.0.1", "::1", "10.1.2.3"}) {
    EXPECT_EQ(X509_check_ip_asc(leaf.get(), address, 0), 1) << address;
  }
  EXPECT_EQ(X509_check_host(leaf.get(), "example.org", 0, 0, nullptr), 0);
  options.names = {"a,DNS:b"};
  EXPECT_FALSE(make_kit(options).ok());
}

TEST(Portal, MakesExpiredAndFutureOnesForTests) {
  const Result<std::unique_ptr<Authority>> authority = Authority::make({kNow, -500, 2000});
  ASSERT_TRUE(authority.ok());
  ServerSpec spec;
  spec.validity = {kNow, -400, 365};
  const Result<Issued> expired = (*authority)->issue_server(spec);
  spec.validity = {kNow, 1, 365};
  const Result<Issued> future = (*authority)->issue_server(spec);
  ASSERT_TRUE(expired.ok() && future.ok());
  const std::string& ca = (*authority)->ca_pem();
  EXPECT_EQ(verify(ca, expired->certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(verify(ca, expired->certificate_pem, X509_PURPOSE_SSL_SERVER, kNow - 100 * 86'400), X509_V_OK);
  EXPECT_EQ(verify(ca, future->certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_ERR_CERT_NOT_YET_VALID);
  PushSpec bare;
  bare.validity = {kNow, 0, 365};
  const Result<Issued> no_uid = (*authority)->issue_push(bare);
  ASSERT_TRUE(no_uid.ok());
  EXPECT_EQ(subject(no_uid->certificate_pem).find("UID="), std::string::npos);
}

TEST(Portal, Pkcs12OpensWithItsPasswordOnlyAndIsNotLegacy) {
  KitOptions options = options_now();
  options.p12_password = "s3cret";
  const Result<Kit> kit = make_kit(options);
  ASSERT_TRUE(kit.ok());
  const Bio bio = memory_bio(kit->push_p12);
  const Pkcs12 p12(d2i_PKCS12_bio(bio.get(), nullptr));
  ASSERT_NE(p12, nullptr);
  EVP_PKEY* key = nullptr;
  X509* leaf = nullptr;
  STACK_OF(X509)* chain = nullptr;
  EXPECT_EQ(PKCS12_parse(p12.get(), "wrong", &key, &leaf, &chain), 0);
  ASSERT_EQ(PKCS12_parse(p12.get(), "s3cret", &key, &leaf, &chain), 1);
  const Key key_owner(key);
  const Certificate leaf_owner(leaf);
  const CertificateStack chain_owner(chain);
  EXPECT_EQ(X509_cmp(leaf, certificate_from(kit->push.certificate_pem).get()), 0);
  EXPECT_EQ(X509_check_private_key(leaf, key), 1);
  ASSERT_EQ(sk_X509_num(chain), 1);
  EXPECT_EQ(X509_cmp(sk_X509_value(chain, 0), certificate_from(kit->ca_pem).get()), 0);
  // AES-256-CBC's object identifier stands in it (2.16.840.1.101.3.4.1.42), RC2-40's does not.
  EXPECT_NE(kit->push_p12.find("\x60\x86\x48\x01\x65\x03\x04\x01\x2a"), std::string::npos);
}

TEST(Kit, IsWrittenOnceAndReused) {
  const Directory directory;
  const std::string path = directory.path + "/certs";
  const Result<Kit> made = open_kit(path, options_now());
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(made->made);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    ++files;
    struct stat status{};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    const std::string extension = entry.path().extension();
    EXPECT_EQ(status.st_mode & 0777, extension == ".pem" || extension == ".txt" ? 0644u : 0600u) << entry.path();
  }
  EXPECT_EQ(files, 12u);
  const Result<Kit> again = open_kit(path, options_now());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_FALSE(again->made);
  EXPECT_EQ(again->push_p12, made->push_p12);
  EXPECT_EQ(again->topic, made->topic);
  EXPECT_EQ(again->provider_keys, made->provider_keys);
  EXPECT_EQ(again->expired_server.certificate_pem, made->expired_server.certificate_pem);
}

// A directory of an earlier version gets a provider key; certificates it cannot get: its CA's key is gone.
TEST(Kit, OlderDirectoriesAreCompleted) {
  const Directory directory;
  ASSERT_TRUE(open_kit(directory.path, options_now()).ok());
  for (const char* name : {"server-expired.pem", "server-expired.key", "server-wrong-name.pem", "server-wrong-name.key", "provider.p8",
                           "provider-keys.txt"}) {
    std::filesystem::remove(directory.path + "/" + name);
  }
  const Result<Kit> kit = open_kit(directory.path, options_now());
  ASSERT_TRUE(kit.ok()) << kit.error().message;
  EXPECT_TRUE(kit->expired_server.certificate_pem.empty());
  EXPECT_EQ(kit->provider_keys, slurp(directory.path + "/provider-keys.txt"));
  EXPECT_EQ(kit->provider_p8, slurp(directory.path + "/provider.p8"));
  std::filesystem::remove(directory.path + "/provider.p8");
  EXPECT_NE(open_kit(directory.path, options_now()).error().message.find("one of them is missing"), std::string::npos);
}

TEST(Kit, VariantsAreWrongInOneWayOnly) {
  const Result<Kit> kit = make_kit(options_now());
  ASSERT_TRUE(kit.ok());
  EXPECT_EQ(verify(kit->ca_pem, kit->expired_server.certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(verify(kit->ca_pem, kit->wrong_name_server.certificate_pem, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  const Certificate leaf = certificate_from(kit->wrong_name_server.certificate_pem);
  EXPECT_NE(X509_check_host(leaf.get(), "localhost", 0, 0, nullptr), 1);
}

TEST(Kit, SaysWhatIsWrongAndOverwritesNothing) {
  const Directory directory;
  ASSERT_TRUE(open_kit(directory.path, options_now()).ok());
  const auto message = [&](const KitOptions& options) {
    const Result<Kit> kit = open_kit(directory.path, options);
    return kit.ok() ? std::string("ok") : kit.error().message;
  };
  KitOptions later = options_now();
  later.now_unix_s += 366 * 86'400;
  EXPECT_NE(message(later).find("ca.pem expired on "), std::string::npos) << message(later);
  KitOptions password = options_now();
  password.p12_password = "hunter2";
  EXPECT_NE(message(password).find("push.p12 was made with another password"), std::string::npos);
  EXPECT_EQ(message(password).find("hunter2"), std::string::npos);
  KitOptions name = options_now();
  name.names = {"other.example"};
  EXPECT_NE(message(name).find("does not carry the name other.example"), std::string::npos);
  KitOptions topic = options_now();
  topic.topic = "com.example.app";
  EXPECT_NE(message(topic).find("not for com.example.app"), std::string::npos);

  const std::string key = slurp(directory.path + "/server.key");
  std::filesystem::copy_file(directory.path + "/push.key", directory.path + "/server.key",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(message(options_now()).find("server.key does not belong to server.pem"), std::string::npos);
  std::ofstream(directory.path + "/server.key") << "junk";
  EXPECT_NE(message(options_now()).find("server.key holds no unencrypted private key"), std::string::npos);
  std::ofstream(directory.path + "/server.key") << key;
  EXPECT_EQ(message(options_now()), "ok");

  const Result<Kit> other = make_kit(options_now());
  ASSERT_TRUE(other.ok());
  const std::string ca = slurp(directory.path + "/ca.pem");
  std::ofstream(directory.path + "/ca.pem") << other->ca_pem;
  EXPECT_NE(message(options_now()).find("was not signed by ca.pem"), std::string::npos) << message(options_now());
  std::ofstream(directory.path + "/ca.pem") << ca;
  std::filesystem::remove(directory.path + "/push.p12");
  EXPECT_NE(message(options_now()).find("but not push.p12; empty "), std::string::npos) << message(options_now());
  EXPECT_EQ(slurp(directory.path + "/ca.pem"), ca);
}

TEST(Kit, DirectoryErrorsNameTheDirectory) {
  const Result<Kit> kit = open_kit("/proc/no/such/place", options_now());
  ASSERT_FALSE(kit.ok());
  EXPECT_NE(kit.error().message.find("/proc/no/such/place"), std::string::npos);
}

}  // namespace
}  // namespace tocsin::portal
