// SPDX-License-Identifier: Apache-2.0
// Gives h2load the push certificate: h2load has no option for a client certificate, and APNs (and the mock)
// answer 403 to a connection without one. Preloaded into h2load by bench/h2load-compare, it adds certificate
// and key to each TLS context that the program makes, and changes nothing else.
#include <cstdio>
#include <cstdlib>

#include <dlfcn.h>
#include <openssl/ssl.h>

extern "C" __attribute__((visibility("default"))) SSL_CTX* SSL_CTX_new(const SSL_METHOD* method) {
  using Make = SSL_CTX* (*)(const SSL_METHOD*);
  static const Make make = reinterpret_cast<Make>(dlsym(RTLD_NEXT, "SSL_CTX_new"));
  SSL_CTX* context = make != nullptr ? make(method) : nullptr;
  const char* certificate = std::getenv("H2LOAD_CERTIFICATE");
  const char* key = std::getenv("H2LOAD_KEY");
  if (context == nullptr || certificate == nullptr || key == nullptr ||
      SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(context) != 1) {
    std::fprintf(stderr, "h2load_certificate: cannot load the certificate and its key\n");
    std::exit(1);
  }
  return context;
}
