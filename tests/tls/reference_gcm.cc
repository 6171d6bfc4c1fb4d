// SPDX-License-Identifier: Apache-2.0
#include "reference_gcm.h"

#include <memory>

#include <openssl/evp.h>

namespace tocsin::tls {

bool reference_gcm_seal(const std::vector<std::uint8_t>& key, const std::vector<std::uint8_t>& iv,
                        const std::vector<std::uint8_t>& aad, const std::vector<std::uint8_t>& plain,
                        std::vector<std::uint8_t>& sealed, std::vector<std::uint8_t>& tag) {
  const std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  const EVP_CIPHER* cipher = key.size() == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
  sealed.assign(plain.size(), 0);
  tag.assign(16, 0);
  int bytes = 0;
  if (EVP_EncryptInit_ex(context.get(), cipher, nullptr, key.data(), iv.data()) != 1) return false;
  if (!aad.empty() && EVP_EncryptUpdate(context.get(), nullptr, &bytes, aad.data(), static_cast<int>(aad.size())) != 1) return false;
  if (!plain.empty() && EVP_EncryptUpdate(context.get(), sealed.data(), &bytes, plain.data(), static_cast<int>(plain.size())) != 1) {
    return false;
  }
  std::uint8_t none[16];
  if (EVP_EncryptFinal_ex(context.get(), none, &bytes) != 1) return false;
  return EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, 16, tag.data()) == 1;
}

}  // namespace tocsin::tls
