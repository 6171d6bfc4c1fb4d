// SPDX-License-Identifier: Apache-2.0
#include "tls/pem.h"

#include <string>
#include <utility>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>

namespace tocsin::tls {
namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";
constexpr std::size_t kCertificateBytesMax = 1 << 20;

}  // namespace

std::vector<PemBlock> pem_blocks(std::string_view text) {
  std::vector<PemBlock> blocks;
  std::size_t at = 0;
  while ((at = text.find(kBegin, at)) != std::string_view::npos) {
    const std::size_t label = at + kBegin.size();
    const std::size_t label_end = text.find(kDashes, label);
    if (label_end == std::string_view::npos) break;
    const std::size_t end = text.find(kEnd, label_end);
    if (end == std::string_view::npos) break;
    const std::size_t close = text.find(kDashes, end + kEnd.size());
    if (close == std::string_view::npos) break;
    const std::size_t stop = close + kDashes.size();
    blocks.push_back({text.substr(label, label_end - label), text.substr(at, stop - at)});
    at = stop;
  }
  return blocks;
}

bool pem_certificates(std::string_view text, std::vector<std::vector<unsigned char>>& der, std::size_t& bad) {
  bad = 0;
  for (const PemBlock& block : pem_blocks(text)) {
    if (block.label != "CERTIFICATE" && block.label != "X509 CERTIFICATE") continue;
    ++bad;
    if (block.text.size() > kCertificateBytesMax) return false;
    std::vector<unsigned char> bytes(block.text.size());
    const std::string pem = std::string(block.text) + "\n";
    const int size = wc_CertPemToDer(reinterpret_cast<const unsigned char*>(pem.data()), static_cast<int>(pem.size()),
                                     bytes.data(), static_cast<int>(bytes.size()), CERT_TYPE);
    if (size <= 0) return false;
    bytes.resize(static_cast<std::size_t>(size));
    der.push_back(std::move(bytes));
  }
  return true;
}

}  // namespace tocsin::tls
