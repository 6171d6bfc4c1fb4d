// SPDX-License-Identifier: Apache-2.0
// Preparer: from a record to a push: which template it belongs to, what it brings of its own, and whether
// APNs would take it.
//
// Threads: one at a time. Ownership: a Prepared views the record's memory. Bounds: one template for each
// distinct (topic, type, priority, expiration, payload form), as many as the engine takes.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/push.h>
#include <tocsin/result.h>

#include "cli/record.h"
#include "tls/identity.h"

namespace tocsin::cli {

// A credential that lines may go to, as far as their checks need to know it.
struct Route {
  std::string name;                 // for messages; only where there are several
  std::vector<std::string> topics;  // that lead here, also with a push type's suffix; empty: every topic
  tls::CertificateFacts certificate;  // topics are checked against it, if it names any
  bool provider_key = false;
};

// What lines get that do not say it themselves.
struct Defaults {
  std::string topic;
  std::optional<PushType> push_type;
  std::optional<unsigned> priority;
  std::optional<std::int64_t> expiration;
  std::string payload;                // the same for all lines; empty: each line brings its own
  PriorityClass priority_class = PriorityClass::normal;
  std::optional<bool> coalesce;       // not given: MDM wake-ups
  std::vector<Route> routes;          // empty: one credential that takes every topic
};

struct Prepared {
  TemplateHandle handle = TemplateHandle::none;
  std::size_t route = 0;  // index of Defaults::routes
  PriorityClass priority_class = PriorityClass::normal;
  std::int64_t deadline_unix_ns = 0;
  std::int64_t registered_unix_ms = 0;
  std::string_view part;
  std::string_view payload;
  Uuid apns_id{};
};

class Preparer {
 public:
  using AddTemplate = std::function<Result<TemplateHandle>(const TemplateOptions&)>;

  Preparer(Defaults defaults, AddTemplate add_template);

  // False: `reject` says which field is wrong, and how.
  bool prepare(const Record& record, Prepared& out, Reject& reject);

  std::size_t templates() const { return templates_.size(); }

 private:
  using Key = std::tuple<std::string, PushType, unsigned, std::optional<std::int64_t>, PayloadForm>;
  struct Entry {
    TemplateHandle handle = TemplateHandle::none;
    std::size_t route = 0;
    std::string field;  // of the refusal, if handle is none
    std::string error;
  };

  std::string check(const Record& record, PushType& type, PayloadForm& form, const char*& field) const;
  const Entry& find(const Record& record, std::string_view topic, PushType type, PayloadForm form);
  Entry make(const Key& key) const;
  Entry refusal(std::string field, std::string error) const { return {TemplateHandle::none, 0, std::move(field), std::move(error)}; }
  const Route* route_of(PushType type, std::string_view topic) const;
  std::string topics_known() const;

  Defaults defaults_;
  AddTemplate add_template_;
  std::map<Key, Entry> templates_;
  const std::pair<const Key, Entry>* last_ = nullptr;
};

}  // namespace tocsin::cli
