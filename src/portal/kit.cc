// SPDX-License-Identifier: Apache-2.0
#include "portal/portal.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "portal/ssl.h"

namespace tocsin::portal {
namespace {

constexpr std::size_t kFileBytesMax = 1u << 20;

struct KitFile {
  const char* name;
  mode_t mode;
  std::string* content;
};

std::array<KitFile, 6> files_of(Kit& kit) {
  return {{{"ca.pem", 0644, &kit.ca_pem},
           {"server.pem", 0644, &kit.server.certificate_pem},
           {"server.key", 0600, &kit.server.key_pem},
           {"push.pem", 0644, &kit.push.certificate_pem},
           {"push.key", 0600, &kit.push.key_pem},
           {"push.p12", 0600, &kit.push_p12}}};
}

std::array<KitFile, 4> variants_of(Kit& kit) {
  return {{{"server-expired.pem", 0644, &kit.expired_server.certificate_pem},
           {"server-expired.key", 0600, &kit.expired_server.key_pem},
           {"server-wrong-name.pem", 0644, &kit.wrong_name_server.certificate_pem},
           {"server-wrong-name.key", 0600, &kit.wrong_name_server.key_pem}}};
}

std::array<KitFile, 2> provider_files_of(Kit& kit) {
  return {{{"provider.p8", 0600, &kit.provider_p8}, {"provider-keys.txt", 0644, &kit.provider_keys}}};
}

Error file_error(const std::string& path, const char* doing, int error) {
  return {Code::io, std::string("cannot ") + doing + " " + path + ": " + std::strerror(error)};
}

// Written under another name, synced and renamed: a reader sees the whole file or none.
Result<void> write_atomically(const std::string& path, mode_t mode, std::string_view content) {
  const std::string temporary = path + ".new-" + std::to_string(::getpid());
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return file_error(temporary, "create", errno);
  int error = 0;
  while (!content.empty() && error == 0) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n >= 0) content.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EINTR) error = errno;
  }
  if (error == 0 && (::fchmod(fd, mode) != 0 || ::fsync(fd) != 0)) error = errno;
  ::close(fd);
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(temporary.c_str());
  return file_error(path, "write", error);
}

// False: not there.
Result<bool> read_file(const std::string& path, std::string& out) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return false;
  if (fd < 0) return file_error(path, "open", errno);
  char bytes[4096];
  int error = 0;
  for (;;) {
    const ssize_t n = ::read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) error = errno;
    if (n > 0) out.append(bytes, static_cast<std::size_t>(n));
    if (n <= 0 || out.size() > kFileBytesMax) break;
  }
  ::close(fd);
  if (error != 0) return file_error(path, "read", error);
  if (out.size() > kFileBytesMax) return Error{Code::invalid_argument, path + " is larger than 1 MiB; that is no certificate file"};
  return true;
}

std::string way_out(const std::string& directory) {
  return "; empty " + directory + " and start again, or name another directory";
}

Error wrong(const std::string& directory, Code code, const std::string& what) {
  ERR_clear_error();
  return {code, directory + "/" + what + way_out(directory)};
}

std::string date_text(const ASN1_TIME* time) {
  std::tm parts{};
  char text[32] = "an unreadable date";
  if (ASN1_TIME_to_tm(time, &parts) == 1) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

Result<void> check_dates(const std::string& directory, const char* file, X509* certificate, std::int64_t now_unix_s) {
  std::time_t now = now_unix_s;
  if (X509_cmp_time(X509_get0_notAfter(certificate), &now) < 0) {
    return wrong(directory, Code::expired, std::string(file) + " expired on " + date_text(X509_get0_notAfter(certificate)));
  }
  if (X509_cmp_time(X509_get0_notBefore(certificate), &now) > 0) {
    return wrong(directory, Code::expired,
                 std::string(file) + " is not valid before " + date_text(X509_get0_notBefore(certificate)));
  }
  return {};
}

Result<void> check_leaf(const std::string& directory, const char* file, const char* key_file, const Issued& issued,
                        X509* ca, std::int64_t now_unix_s) {
  const Certificate leaf = certificate_from(issued.certificate_pem);
  if (!leaf) return wrong(directory, Code::bad_certificate, std::string(file) + " holds no certificate");
  const Key key = key_from(issued.key_pem);
  if (!key) return wrong(directory, Code::bad_key, std::string(key_file) + " holds no unencrypted private key");
  if (X509_check_private_key(leaf.get(), key.get()) != 1) {
    return wrong(directory, Code::key_mismatch, std::string(key_file) + " does not belong to " + file);
  }
  if (X509_verify(leaf.get(), X509_get0_pubkey(ca)) != 1) {
    return wrong(directory, Code::bad_certificate, std::string(file) + " was not signed by ca.pem");
  }
  return check_dates(directory, file, leaf.get(), now_unix_s);
}

std::string uid_of(X509* certificate) {
  char text[256] = {};
  const int n = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_userId, text, sizeof text);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

bool carries_name(X509* certificate, const std::string& name) {
  if (is_address_literal(name)) return X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
  return X509_check_host(certificate, name.c_str(), name.size(), 0, nullptr) == 1;
}

Result<void> check_kit(const std::string& directory, const KitOptions& options, Kit& kit) {
  const Certificate ca = certificate_from(kit.ca_pem);
  if (!ca) return wrong(directory, Code::bad_certificate, "ca.pem holds no certificate");
  if (Result<void> dates = check_dates(directory, "ca.pem", ca.get(), options.now_unix_s); !dates.ok()) return dates;
  Result<void> server = check_leaf(directory, "server.pem", "server.key", kit.server, ca.get(), options.now_unix_s);
  if (!server.ok()) return server;
  Result<void> push = check_leaf(directory, "push.pem", "push.key", kit.push, ca.get(), options.now_unix_s);
  if (!push.ok()) return push;
  const Certificate server_leaf = certificate_from(kit.server.certificate_pem);
  for (const std::string& name : options.names) {
    if (!carries_name(server_leaf.get(), name)) {
      return wrong(directory, Code::bad_certificate, "server.pem does not carry the name " + name);
    }
  }
  const Bio bio = memory_bio(kit.push_p12);
  const Pkcs12 p12(d2i_PKCS12_bio(bio.get(), nullptr));
  if (!p12) return wrong(directory, Code::bad_certificate, "push.p12 is no PKCS#12 file");
  if (PKCS12_verify_mac(p12.get(), options.p12_password.c_str(), -1) != 1) {
    return wrong(directory, Code::bad_password, "push.p12 was made with another password than the one given");
  }
  kit.topic = uid_of(certificate_from(kit.push.certificate_pem).get());
  if (!options.topic.empty() && options.topic != kit.topic) {
    return wrong(directory, Code::bad_certificate, "push.pem is for the topic " + kit.topic + ", not for " + options.topic);
  }
  return {};
}

Result<void> add_provider_key(Kit& kit) {
  Result<ProviderKeyFile> provider = make_provider_key();
  if (!provider.ok()) return provider.error();
  kit.provider_p8 = std::move(provider->p8_pem);
  kit.provider_keys = provider->key_id + " " + provider->team_id + " provider.p8\n";
  return {};
}

// The same CA's certificates that a client must not take.
Result<void> add_variants(Kit& kit, Authority& authority, const KitOptions& options) {
  ServerSpec expired;
  expired.names.insert(expired.names.end(), options.names.begin(), options.names.end());
  expired.validity = {options.now_unix_s, -400, 365};
  ServerSpec wrong_name;
  wrong_name.names = {"wrong-name.invalid"};
  wrong_name.validity = {options.now_unix_s, 0, 365};
  Result<Issued> first = authority.issue_server(expired);
  if (!first.ok()) return first.error();
  Result<Issued> second = authority.issue_server(wrong_name);
  if (!second.ok()) return second.error();
  kit.expired_server = *std::move(first);
  kit.wrong_name_server = *std::move(second);
  return {};
}

template <std::size_t N>
Result<void> write_files(const std::string& directory, const std::array<KitFile, N>& files) {
  for (const KitFile& file : files) {
    if (Result<void> written = write_atomically(directory + "/" + file.name, file.mode, *file.content); !written.ok()) return written;
  }
  return {};
}

// What stands beside the six files of a directory that was made before.
Result<void> read_rest(const std::string& directory, Kit& kit) {
  for (const KitFile& file : variants_of(kit)) {
    const Result<bool> there = read_file(directory + "/" + file.name, *file.content);
    if (!there.ok()) return there.error();
  }
  bool complete = true;
  for (const KitFile& file : provider_files_of(kit)) {
    const Result<bool> there = read_file(directory + "/" + file.name, *file.content);
    if (!there.ok()) return there.error();
    complete = complete && *there;
  }
  if (complete) return {};
  if (!kit.provider_p8.empty() || !kit.provider_keys.empty()) {
    return wrong(directory, Code::bad_key, "provider.p8 and provider-keys.txt belong together, and one of them is missing");
  }
  if (Result<void> made = add_provider_key(kit); !made.ok()) return made;
  return write_files(directory, provider_files_of(kit));
}

}  // namespace

Result<Kit> make_kit(const KitOptions& options) {
  Kit kit;
  kit.made = true;
  kit.topic = options.topic;
  if (kit.topic.empty()) {
    Result<std::string> topic = random_mdm_topic();
    if (!topic.ok()) return topic.error();
    kit.topic = *std::move(topic);
  }
  const Validity validity{options.now_unix_s, 0, 365};
  Result<std::unique_ptr<Authority>> authority = Authority::make(validity);
  if (!authority.ok()) return authority.error();
  kit.ca_pem = (*authority)->ca_pem();
  ServerSpec server_spec;
  server_spec.names.insert(server_spec.names.end(), options.names.begin(), options.names.end());
  server_spec.validity = validity;
  Result<Issued> server = (*authority)->issue_server(server_spec);
  if (!server.ok()) return server.error();
  PushSpec push_spec;
  push_spec.uid = kit.topic;
  push_spec.validity = validity;
  if (!kit.topic.starts_with("com.apple.mgmt.")) {
    push_spec.topics = {kit.topic, kit.topic + ".voip", kit.topic + ".complication"};
  }
  Result<Issued> push = (*authority)->issue_push(push_spec);
  if (!push.ok()) return push.error();
  Result<std::string> p12 = (*authority)->pkcs12(*push, options.p12_password);
  if (!p12.ok()) return p12.error();
  kit.server = *std::move(server);
  kit.push = *std::move(push);
  kit.push_p12 = *std::move(p12);
  if (Result<void> added = add_variants(kit, **authority, options); !added.ok()) return added.error();
  if (Result<void> added = add_provider_key(kit); !added.ok()) return added.error();
  return kit;
}

Result<Kit> open_kit(const std::string& directory, const KitOptions& options) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return file_error(directory, "make the certificate directory", errno);
  }
  Kit kit;
  std::string missing;
  std::size_t found = 0;
  for (const KitFile& file : files_of(kit)) {
    const Result<bool> there = read_file(directory + "/" + file.name, *file.content);
    if (!there.ok()) return there.error();
    if (*there) ++found;
    else missing.append(missing.empty() ? "" : ", ").append(file.name);
  }
  if (found == files_of(kit).size()) {
    const Result<void> checked = check_kit(directory, options, kit);
    if (!checked.ok()) return checked.error();
    if (Result<void> rest = read_rest(directory, kit); !rest.ok()) return rest.error();
    return kit;
  }
  if (found != 0) {
    return Error{Code::bad_certificate, directory + " holds some certificate files, but not " + missing + way_out(directory)};
  }
  Result<Kit> made = make_kit(options);
  if (!made.ok()) return made;
  if (Result<void> written = write_files(directory, files_of(*made)); !written.ok()) return written.error();
  if (Result<void> written = write_files(directory, variants_of(*made)); !written.ok()) return written.error();
  if (Result<void> written = write_files(directory, provider_files_of(*made)); !written.ok()) return written.error();
  return made;
}

}  // namespace tocsin::portal
