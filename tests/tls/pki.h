// SPDX-License-Identifier: Apache-2.0
// A throw-away PKI for the tests, made once a process by the openssl command in a directory of its own,
// which is removed at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "tls/identity.h"

namespace tocsin::tls::testing {

class Pki {
 public:
  static const Pki& get() {
    static const Pki pki;
    return pki;
  }

  std::string file(const std::string& name) const {
    std::ifstream in(directory_ / name, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    EXPECT_FALSE(text.str().empty()) << name;
    return text.str();
  }
  Identity identity(const std::string& name) const {
    Result<Identity> identity = identity_from_pem(file(name + ".pem"), file(name + ".key"), {});
    EXPECT_TRUE(identity.ok()) << (identity.ok() ? "" : identity.error().message);
    return identity.ok() ? std::move(*identity) : Identity{};
  }

 private:
  Pki() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tls-test-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    std::ofstream(directory_ / "make.sh") << kScript;
    const std::string command = "cd '" + directory_.string() + "' && sh -e make.sh > make.log 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << file("make.log");
  }
  ~Pki() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  static constexpr const char* kScript = R"sh(
ec() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
ca() { ec "$1"; openssl req -x509 -new -key "$1.key" -subj "/O=Tests/CN=$1" -days 30 -out "$1.pem"; }
# sign NAME CA SUBJECT EXTENSIONS DAYS [KEY]
sign() {
  printf '%b' "$4" > "$1.ext"
  openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$5" -extfile "$1.ext" -out "$1.pem"
}
san='subjectAltName=DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1\n'
ca root
ca stranger
for name in server wrong expired inner chained; do ec $name; done
sign server root "/CN=localhost" "$san" 30
sign wrong root "/CN=other.example" 'subjectAltName=DNS:other.example,IP:10.9.8.7\n' 30
sign expired root "/CN=localhost" "$san" -1
sign inner root "/O=Tests/CN=inner" 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n' 30
sign chained inner "/CN=localhost" "$san" 30
cat root.pem inner.pem >> chained.pem
openssl genrsa -out client.key 2048
topics='1.2.840.113635.100.6.3.6=ASN1:SEQUENCE:topics\nextendedKeyUsage=clientAuth\n[topics]\na=UTF8:com.example.app\nb=SEQUENCE:p1\nc=UTF8:com.example.app.voip\nd=SEQUENCE:p2\n[p1]\na=UTF8:app\n[p2]\na=UTF8:voip\n'
sign client root "/UID=com.apple.mgmt.External.42/CN=APSP:42/C=US" "$topics" 30
openssl genrsa -out outsider.key 2048
sign outsider stranger "/UID=com.apple.mgmt.External.43/CN=APSP:43/C=US" 'extendedKeyUsage=clientAuth\n' 30
openssl pkey -in client.key -aes256 -passout pass:sesame -out client.pkcs8.key
openssl rsa -in client.key -aes128 -traditional -passout pass:sesame -out client.pkcs1.key
openssl pkcs12 -export -inkey client.key -in client.pem -certfile root.pem -passout pass:sesame -out modern.p12
openssl pkcs12 -export -legacy -inkey client.key -in client.pem -passout pass:sesame -out legacy.p12
openssl pkcs12 -export -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -inkey client.key -in client.pem -passout pass:sesame -out des.p12
openssl pkcs12 -export -nokeys -in client.pem -passout pass:sesame -out nokey.p12
)sh";

  std::filesystem::path directory_;
};

}  // namespace tocsin::tls::testing
