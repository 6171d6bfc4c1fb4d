// SPDX-License-Identifier: Apache-2.0
// Reading: NDJSON, CSV and gzip, what is refused and with which words, and that no boundary matters.
#include <csv.h>
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <isa-l/igzip_lib.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/prng.h"
#include "cli/input.h"
#include "cli/input_plain.h"
#include "cli/prepare.h"

namespace tocsin::cli {
namespace {

// A file that is gone when the test is.
class TempFile {
 public:
  explicit TempFile(const std::string& bytes, const std::string& suffix = "") {
    std::string name = testing::TempDir() + "tocsin_cli_XXXXXX" + suffix;
    const int fd = mkstemps(name.data(), static_cast<int>(suffix.size()));
    EXPECT_GE(fd, 0);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(fd);
    path_ = name;
  }
  ~TempFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Owned {  // a Record that outlives its line
  std::uint64_t line;
  std::string token, magic, topic, id, payload, push_type, collapse_id;
  std::int64_t priority, expiration;
  std::uint32_t present;
  bool operator==(const Owned&) const = default;
};

struct All {
  std::vector<Owned> records;
  std::vector<std::string> rejects;  // "17: token: ..."
  std::vector<std::string> inputs;
  std::string error;
  std::string warning;
};

All read_path(const std::string& path, InputOptions options = {}) {
  All all;
  auto input = Input::open(path, options);
  if (!input.ok()) {
    all.error = input.error().message;
    return all;
  }
  Record r;
  Reject reject;
  for (int guard = 0; guard < 10'000'000; ++guard) {
    const InputState state = (*input)->next(r, reject);
    all.warning += (*input)->take_warning();
    if (state == InputState::record) {
      all.records.push_back({r.line, std::string(r.token), std::string(r.magic), std::string(r.topic),
                             std::string(r.id), std::string(r.payload), std::string(r.push_type),
                             std::string(r.collapse_id), r.priority, r.expiration, r.present});
    } else if (state == InputState::reject) {
      all.rejects.push_back(std::to_string(reject.line) + ": " + reject.field + ": " + reject.error);
      all.inputs.emplace_back(reject.input);
    } else if (state == InputState::failed) {
      all.error = (*input)->error();
      return all;
    } else if (state == InputState::end) {
      return all;
    }
  }
  ADD_FAILURE() << "the input never ended";
  return all;
}

All read_text(const std::string& text, Format format, std::size_t buffer_bytes = 256 * 1024,
              std::uint64_t from_line = 1) {
  const TempFile file(text);
  return read_path(file.path(), {format, from_line, buffer_bytes});
}

std::string gzip(const std::string& text) {
  std::string out(text.size() + 4096, '\0');
  isal_zstream stream{};
  isal_deflate_stateless_init(&stream);
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.flush = NO_FLUSH;
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<std::uint32_t>(text.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = static_cast<std::uint32_t>(out.size());
  EXPECT_EQ(isal_deflate_stateless(&stream), COMP_OK);
  out.resize(stream.total_out);
  return out;
}

TEST(Ndjson, ReadsEveryFieldAndKeepsTheIdAsWritten) {
  const All all = read_text(
      "{\"token\":\"ab12\",\"magic\":\"M\\u002d1\",\"topic\":\"t\",\"id\":\"a\\u0062\"}\n"
      "\n"
      "  {\"id\": 12345678901234567890123 , \"token\":\"cd\", \"payload\": {\"aps\": {\"alert\":\"}{\\\"\"}} "
      ",\"push_type\":\"alert\",\"priority\":5,"
      "\"expiration\":\"1800000000\",\"collapse_id\":\"c\"}\r\n"
      "{\"token\":\"ef\",\"payload\":\"{\\\"aps\\\":{}}\",\"topic\":null}",
      Format::ndjson);
  ASSERT_EQ(all.records.size(), 3u) << (all.rejects.empty() ? "" : all.rejects[0]);
  EXPECT_TRUE(all.rejects.empty());
  EXPECT_EQ(all.records[0].magic, "M-1");
  EXPECT_EQ(all.records[0].id, "\"a\\u0062\"");
  EXPECT_EQ(all.records[1].line, 3u);
  EXPECT_EQ(all.records[1].id, "12345678901234567890123");
  EXPECT_EQ(all.records[1].payload, "{\"aps\": {\"alert\":\"}{\\\"\"}}");
  EXPECT_EQ(all.records[1].priority, 5);
  EXPECT_EQ(all.records[1].expiration, 1800000000);
  EXPECT_EQ(all.records[1].collapse_id, "c");
  EXPECT_EQ(all.records[2].payload, "{\"aps\":{}}");
  EXPECT_EQ(all.records[2].present, kFieldToken | kFieldPayload) << "null is absent";
}

TEST(Ndjson, RefusesWithLineAndField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"not json", "1: line: line is not a JSON object: it does not begin with {"},
      {"[1]", "1: line: "},
      {"{\"token\":\"ab\"", "1: line: line is not a JSON object"},
      {"{\"token\":\"ab\"} x", "1: line: line is not a JSON object"},
      {"{\"token\":\"ab\"} {}", "1: line: line has something behind"},
      {"{\"token\":\"ab\",\"token\":\"cd\"}", "1: token: token stands twice"},
      {"{\"token\":17}", "1: token: token is not a string"},
      {"{\"token\":\"ab\",\"id\":true}", "1: id: id is neither a string nor a number"},
      {"{\"token\":\"ab\",\"id\":01}", "1: id: id is neither"},
      {"{\"token\":\"ab\",\"id\":{}}", "1: id: id is neither"},
      {"{\"token\":\"ab\",\"id\":\"" + std::string(600, 'x') + "\"}", "1: id: id is longer than 512 bytes"},
      {"{\"token\":\"ab\",\"priority\":\"high\"}", "1: priority: priority is not a whole number"},
      {"{\"token\":\"ab\",\"payload\":[]}", "1: payload: payload is neither an object nor a string"},
      {"{\"token\":\"a\xff\"}", "1: line: "},
      {"{\"token\":nupll}", "1: token: token is no JSON value"},
      {"{\"token\":\"ab\",\"topic\":n}", "1: topic: topic is no JSON value"},
  };
  for (const auto& [line, expected] : cases) {
    const All all = read_text(line + "\n{\"token\":\"ab\"}\n", Format::ndjson);
    ASSERT_EQ(all.rejects.size(), 1u) << line;
    EXPECT_TRUE(all.rejects[0].starts_with(expected)) << all.rejects[0] << " for " << line;
    EXPECT_EQ(all.records.size(), 1u) << "the rest goes on";
  }
}

TEST(Ndjson, UnknownKeysAreIgnoredAndNamedOnce) {
  const All all = read_text(
      "{\"token\":\"ab\",\"color\":[1,{\"x\":2}]}\n{\"color\":\"red\",\"token\":\"ab\",\"size\":1}\n", Format::ndjson);
  EXPECT_EQ(all.records.size(), 2u);
  EXPECT_NE(all.warning.find("\"color\""), std::string::npos);
  EXPECT_NE(all.warning.find("\"size\""), std::string::npos);
  EXPECT_EQ(all.warning.find("\"color\""), all.warning.rfind("\"color\""));
}

// What a parser makes of one line, all of it.
std::string taken(LineParser& parser, std::string_view line) {
  std::string padded(line);
  padded.append(kLinePadding, '"');
  Record r;
  Reject reject;
  std::string out;
  switch (parser.take(7, std::string_view(padded).substr(0, line.size()), r, reject)) {
    case LineParser::Took::record:
      for (const std::string_view text : {r.token, r.magic, r.topic, r.id, r.payload, r.push_type, r.collapse_id,
                                          r.apns_id, r.priority_class, r.input})
        out.append(text) += '|';
      for (const std::int64_t number : {r.deadline, r.registered_at_ms, r.priority, r.expiration,
                                        static_cast<std::int64_t>(r.present), static_cast<std::int64_t>(r.line)})
        out += std::to_string(number) + "|";
      break;
    case LineParser::Took::reject:
      out = std::to_string(reject.line) + reject.field + ": " + reject.error + ": ";
      out.append(reject.input);
      break;
    default:
      out = "nothing";
  }
  return out + parser.take_unknown();
}

bool is_short_cut(const std::string& line) {
  Record record;
  std::string padded = line + std::string(kLinePadding, '"');
  return read_plain_line(std::string_view(padded).substr(0, line.size()), record);
}

TEST(Ndjson, ShortCutTakesWhatIsCommon) {
  for (const char* line : {
           R"({"id":"00008030-2F","topic":"com.apple.mgmt.External.1","magic":"A4115304-5303","token":"71dfec"})",
           R"({"token": "ab", "magic": "M", "id": 17})", R"({"token":"ab","id":0,"priority":5,"expiration":1800000000})",
           R"({"token":"ab","push_type":"alert","collapse_id":"c","apns_id":"x","priority_class":"bulk"})",
           R"({"token":"","deadline":1800000000,"registered_at":"2026-11-24T06:08:09Z"})",
           R"({"registered_at":1800000000})"})
    EXPECT_TRUE(is_short_cut(line)) << line;
  for (const char* line : {
           "", "{", "{}", "[]", R"({"token":"a\u0062"})", "{\"token\":\"\xc3\xa9\"}", "{\"token\":\"a\tb\"}",
           R"({"token":"a","token":"b"})", R"({"shoe":"a"})", R"({"token":null})", R"({"token":5})", R"({"token":"a",})",
           R"({"token":"a"}})", R"({"token":"a"} )", R"( {"token":"a"})", R"({"token" :"a"})", R"({"id":01})",
           R"({"id":-1})", R"({"id":1.5})", R"({"priority":"5"})", R"({"payload":{"aps":{}}})", R"({"payload":"{}"})",
           R"({"id":1234567890123456789})", R"({"registered_at":"soon"})", R"({"":"a"})", R"({"token":"a})", R"({"token)",
           R"({"token")", R"({"token":)", R"({"token":})", R"({"token":"a","})"})
    EXPECT_FALSE(is_short_cut(line)) << line;
  EXPECT_FALSE(is_short_cut("{\"id\":\"" + std::string(511, 'x') + "\"}"));
  EXPECT_TRUE(is_short_cut("{\"id\":\"" + std::string(510, 'x') + "\"}"));
}

// Lines of pieces that are nearly plain, many of them damaged: both ways of reading must give the same.
TEST(Ndjson, ShortCutAgreesWithTheGeneralParser) {
  base::Prng prng(11);
  const std::vector<std::string> values = {
      "\"\"", "\"ab12\"", "\"A4115304-5303-4E8A-B283-A76B83A164FA\"", "\"x y\"", "\"\\u0041\"", "\"q\\\"q\"",
      "\"\xc3\xa9\"", "\"\xff\"", "\"\x7f\"", "\"\x01\"", "0", "7", "10", "007", "-1", "1.5", "1e3", "1800000000",
      "999999999999999999", "1234567890123456789", "99999999999999999999", "null", "true", "{}", "{\"a\":[1]}", "[]", "\"5\"",
      "\"2026-11-24T06:08:09Z\"", "\"" + std::string(509, 'i') + "\"", "\"" + std::string(511, 'i') + "\"", "\"{},:\""};
  const auto general = make_ndjson_parser(false);
  const auto both = make_ndjson_parser();
  std::size_t short_cuts = 0, damaged = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string line = "{";
    for (std::uint64_t n = 1 + prng.below(5); n > 0; --n) {
      const std::size_t field = prng.below(std::size(kFieldNames) + (i % 4 == 0 ? 1 : 0));
      line.append("\"").append(field < std::size(kFieldNames) ? kFieldNames[field].name : "shoe").append("\":");
      if (prng.below(8) == 0) line += ' ';
      // Mostly what is plain.
      line += values[prng.below(prng.below(3) == 0 ? values.size() : 4)];
      if (n > 1) line += prng.below(8) == 0 ? ", " : ",";
    }
    line += '}';
    if (prng.below(4) == 0) {  // one byte changed, gone or more
      static constexpr char kBytes[] = "{}[]\":,\\ \t09a\x80\x1f";
      const std::size_t at = prng.below(line.size());
      const char byte = kBytes[prng.below(sizeof(kBytes) - 1)];
      const std::uint64_t how = prng.below(3);
      if (how == 0) line[at] = byte;
      if (how == 1) line.erase(at, 1);
      if (how == 2) line.insert(at, 1, byte);
      ++damaged;
    }
    if (line.find('\n') != std::string::npos) continue;
    short_cuts += is_short_cut(line) ? 1 : 0;
    ASSERT_EQ(taken(*both, line), taken(*general, line)) << line;
  }
  EXPECT_GT(short_cuts, 5'000u);
  EXPECT_GT(damaged, 10'000u);
}

TEST(Lines, TooLongIsARejectAndTheNextLineIsWhole) {
  for (const std::size_t bytes : {kLineBytesMax - 30, kLineBytesMax + 1, kLineBytesMax * 3, std::size_t{2'000'000}}) {
    for (const std::size_t buffer : {std::size_t{1}, std::size_t{4096}, std::size_t{256 * 1024}}) {
      if (buffer == 1 && bytes > 100'000) continue;
      const std::string text =
          "{\"token\":\"aa\"}\n{\"token\":\"" + std::string(bytes, 'a') + "\"}\n{\"token\":\"bb\"}\n";
      const All all = read_text(text, Format::ndjson, buffer);
      const bool fits = bytes < kLineBytesMax;
      ASSERT_EQ(all.records.size(), fits ? 3u : 2u) << bytes << " " << buffer;
      EXPECT_EQ(all.records.back().token, "bb");
      EXPECT_EQ(all.records.back().line, 3u);
      if (fits) continue;
      ASSERT_EQ(all.rejects.size(), 1u);
      EXPECT_EQ(all.rejects[0], "2: line: line is longer than 16384 bytes");
      EXPECT_EQ(all.inputs[0].size(), kLineShownBytes);
    }
  }
  // The last line too long, and without a line end.
  const All last = read_text("{\"token\":\"aa\"}\n" + std::string(40'000, 'x'), Format::ndjson, 1000);
  EXPECT_EQ(last.records.size(), 1u);
  EXPECT_EQ(last.rejects.size(), 1u);
}

TEST(Csv, QuotesLineEndsOrderAndNanoMdmsNames) {
  const All all = read_text(
      "\xef\xbb\xbf"
      "id,topic,push_magic,token_hex\r\n"
      "d1,t,M-1,ab12\r\n"
      "\"d,2\",t,\"M \"\"two\"\"\",ab13\r\n"
      "\"d\n3\",t,,ab14\n"
      " d4 , t , M-4 , ab15 \n"
      "\n"
      "d5,t,M-5,ab16",
      Format::csv);
  ASSERT_EQ(all.records.size(), 5u) << all.error << (all.rejects.empty() ? "" : all.rejects[0]);
  EXPECT_EQ(all.records[0].id, "\"d1\"");
  EXPECT_EQ(all.records[1].id, "\"d,2\"");
  EXPECT_EQ(all.records[1].magic, "M \"two\"");
  EXPECT_EQ(all.records[2].id, "\"d\\n3\"");
  EXPECT_EQ(all.records[2].line, 4u);
  EXPECT_EQ(all.records[2].present & kFieldMagic, 0u) << "an empty field is absent";
  EXPECT_EQ(all.records[3].token, "ab15");
  EXPECT_EQ(all.records[3].line, 6u) << "physical lines are counted";
  EXPECT_EQ(all.records[4].token, "ab16");
}

TEST(Csv, RefusesWithLineAndField) {
  const auto first = [](const std::string& text) {
    const All all = read_text(text, Format::csv);
    return all.rejects.empty() ? all.error : all.rejects[0];
  };
  EXPECT_NE(first("id,topic\n1,2\n").find(":1: the header row has no column token"), std::string::npos);
  EXPECT_NE(first("token,token_hex\nab,ab\n").find("stands twice in the header"), std::string::npos);
  EXPECT_EQ(first("token,id\nab\n"), "2: line: line has 1 fields, the header names 2");
  EXPECT_TRUE(first("token,id\na\"b,1\n").starts_with("2: line: line has a quote in the middle"));
  EXPECT_TRUE(first("token,priority\nab,high\n").starts_with("2: priority: "));
  EXPECT_TRUE(first("token,id\n\"ab,1\ncd,2\n").starts_with("2: line: a quote that opens here is never closed"));
  const All runaway = read_text(
      "token,id\n\"ab,1\n" + std::string(30, 'x') + "\n" + std::string(16'380, 'y') + "\nab,9\n", Format::csv);
  ASSERT_EQ(runaway.rejects.size(), 1u);
  EXPECT_NE(runaway.rejects[0].find("lines 2 to 4 were skipped"), std::string::npos) << runaway.rejects[0];
  ASSERT_EQ(runaway.records.size(), 1u);
  EXPECT_EQ(runaway.records[0].id, "\"9\"");
  EXPECT_NE(read_text("token,shoe\nab,42\n", Format::csv).warning.find("\"shoe\""), std::string::npos);
}

// Lines without quotes take a short cut; it must give what libcsv gives.
TEST(Csv, ShortCutAgreesWithLibcsv) {
  base::Prng prng(7);
  std::string text = "id,topic,magic,token\n";
  const char alphabet[] = "ab ,\tx.-;'";
  std::vector<std::vector<std::string>> expected;
  for (int i = 0; i < 2000; ++i) {
    std::string line;
    for (std::uint64_t n = prng.below(i % 2 == 0 ? 24 : 90); n > 0; --n) line += alphabet[prng.below(sizeof(alphabet) - 1)];
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    text += line + "\n";
    struct Got {
      std::vector<std::string> fields;
    } got;
    csv_parser parser{};
    csv_init(&parser, CSV_STRICT);
    const auto field = [](void* bytes, std::size_t size, void* to) {
      static_cast<Got*>(to)->fields.emplace_back(static_cast<const char*>(bytes), size);
    };
    csv_parse(&parser, (line + "\n").data(), line.size() + 1, field, nullptr, &got);
    csv_free(&parser);
    expected.push_back(got.fields);
  }
  const All all = read_text(text, Format::csv);
  std::size_t record = 0, reject = 0;
  for (const auto& fields : expected) {
    if (fields.size() != 4) {
      ASSERT_LT(reject, all.rejects.size());
      EXPECT_NE(all.rejects[reject++].find("line has " + std::to_string(fields.size()) + " fields"), std::string::npos);
      continue;
    }
    ASSERT_LT(record, all.records.size());
    const Owned& r = all.records[record++];
    EXPECT_EQ(r.topic, fields[1]);
    EXPECT_EQ(r.magic, fields[2]);
    EXPECT_EQ(r.token, fields[3]);
  }
  EXPECT_EQ(record, all.records.size());
  EXPECT_GT(record, 50u);
}

std::string mixed_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "{\"token\":\"ab" + std::to_string(10 + i) + "\",\"magic\":\"M" +
            std::string(static_cast<std::size_t>(i) * 3, 'x') + "\",\"id\":" + std::to_string(i) + "}";
    text += i % 7 == 0 ? "\r\n" : "\n";
    if (i % 11 == 0) text += "broken\n\n";
  }
  return text;
}

TEST(Boundaries, EverySizeOfReadGivesTheSame) {
  const std::string text = mixed_text();
  const All whole = read_text(text, Format::ndjson);
  ASSERT_EQ(whole.records.size(), 60u);
  const std::string compressed = gzip(text.substr(0, 1500)) + gzip("") + gzip(text.substr(1500));
  for (std::size_t size = 1; size <= 300; size += size < 70 ? 1 : 13) {
    const All plain = read_text(text, Format::ndjson, size);
    EXPECT_EQ(plain.records, whole.records) << size;
    EXPECT_EQ(plain.rejects, whole.rejects) << size;
    const All members = read_text(compressed, Format::ndjson, size);
    EXPECT_EQ(members.records, whole.records) << "gzip, " << size << members.error;
    EXPECT_EQ(members.rejects, whole.rejects) << "gzip, " << size;
  }
}

TEST(Boundaries, CsvQuotesToo) {
  std::string text = "id,token\n";
  for (int i = 0; i < 30; ++i) text += "\"d\"\"" + std::to_string(i) + ",\n x\",ab" + std::to_string(10 + i) + "\n";
  const All whole = read_text(text, Format::csv);
  ASSERT_EQ(whole.records.size(), 30u);
  for (std::size_t size = 1; size <= 64; ++size)
    EXPECT_EQ(read_text(text, Format::csv, size).records, whole.records) << size;
}

TEST(Gzip, DamageIsSaidAndWhatCameBeforeIsKept) {
  std::string text;
  base::Prng prng(3);
  for (int i = 0; i < 20'000; ++i) text += "{\"token\":\"" + std::to_string(prng.below(900'000) + 100'000) + "\"}\n";
  const std::string whole = gzip(text);
  const All good = read_text(whole, Format::ndjson, 4096);
  EXPECT_EQ(good.records.size(), 20'000u);
  EXPECT_EQ(good.error, "");
  for (const std::size_t cut :
       {whole.size() - 1, whole.size() - 8, whole.size() / 2, std::size_t{12}, std::size_t{3}}) {
    const All all = read_text(whole.substr(0, cut), Format::ndjson, 4096);
    EXPECT_NE(all.error.find("ends in the middle"), std::string::npos) << cut << ": " << all.error;
  }
  EXPECT_GT(read_text(whole.substr(0, whole.size() / 2), Format::ndjson, 4096).records.size(), 1000u);
  std::string flipped = whole;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // the trailer's checksum
  EXPECT_NE(read_text(flipped, Format::ndjson).error.find("wrong checksum"), std::string::npos);
  EXPECT_NE(read_text(whole + "rubbish", Format::ndjson).error.find("not gzip behind"), std::string::npos);
  EXPECT_EQ(read_text(whole + std::string(1000, '\0'), Format::ndjson).error, "") << "zeros are padding";
}

TEST(Input, FormatByNameAndByFirstCharacter) {
  EXPECT_EQ(format_from_name("a/b.csv.gz"), Format::csv);
  EXPECT_EQ(format_from_name("b.ndjson"), Format::ndjson);
  EXPECT_EQ(format_from_name("b.jsonl.gz"), Format::ndjson);
  EXPECT_EQ(format_from_name("b.txt"), Format::automatic);
  EXPECT_EQ(read_text("\n {\"token\":\"ab\"}\n", Format::automatic).records.size(), 1u);
  EXPECT_EQ(read_text("token\nab\n", Format::automatic).records.size(), 1u);
  const TempFile named("token\nab\n", ".csv");
  EXPECT_EQ(read_path(named.path()).records.size(), 1u);
  EXPECT_TRUE(read_text("", Format::automatic).records.empty());
  EXPECT_NE(read_path("/nonexistent/x.csv").error.find("cannot be opened: No such file"), std::string::npos);
  EXPECT_NE(read_path("/tmp").error.find("is a directory"), std::string::npos);
}

TEST(Input, FromLineSkipsButCsvKeepsItsHeader) {
  const All ndjson =
      read_text("{\"token\":\"aa\"}\nbroken\n{\"token\":\"bb\"}\n{\"token\":\"cc\"}\n", Format::ndjson, 100, 3);
  ASSERT_EQ(ndjson.records.size(), 2u);
  EXPECT_TRUE(ndjson.rejects.empty());
  EXPECT_EQ(ndjson.records[0].token, "bb");
  const All csv = read_text("token\naa\nbb\ncc\n", Format::csv, 100, 3);
  ASSERT_EQ(csv.records.size(), 2u);
  EXPECT_EQ(csv.records[0].token, "bb");
}

// --- From record to push.

struct Prep {
  Defaults defaults;
  std::vector<TemplateOptions> made;

  // The handle's number, or "field: error".
  std::string operator()(const std::vector<std::string>& lines) {
    Preparer preparer(defaults, [&](const TemplateOptions& options) -> Result<TemplateHandle> {
      made.push_back(options);
      return static_cast<TemplateHandle>(made.size());
    });
    std::string result;
    auto parser = make_ndjson_parser();
    for (const std::string& line : lines) {
      std::string padded = line + std::string(kLinePadding, ' ');
      Record record;
      Reject reject;
      Prepared prepared;
      EXPECT_EQ(parser->take(1, std::string_view(padded).substr(0, line.size()), record, reject),
                LineParser::Took::record)
          << line;
      result += preparer.prepare(record, prepared, reject)
                    ? std::to_string(static_cast<unsigned>(prepared.handle)) + " "
                    : reject.field + ": " + reject.error;
    }
    return result;
  }
};

constexpr const char* kMdmTopic = "com.apple.mgmt.External.0f3b2c1d-5e4f-4a6b-8c7d-9e0f1a2b3c4d";

TEST(Prepare, OneTemplateForWhatIsAlike) {
  Prep prep;
  prep.defaults.topic = kMdmTopic;
  EXPECT_EQ(prep({R"({"token":"ab","magic":"M1"})", R"({"token":"cd","magic":"M2"})",
                  R"({"token":"ab","payload":{"aps":{"alert":"x"}},"topic":"com.example.app"})",
                  R"({"token":"ab","magic":"M3","expiration":1800000001})",
                  R"({"token":"ab","magic":"M3","expiration":1800000059})", R"({"token":"ab","magic":"M3"})"}),
            "1 1 2 3 3 1 ");
  ASSERT_EQ(prep.made.size(), 3u);
  EXPECT_EQ(prep.made[0].payload, R"({"mdm":"%PART%"})");
  EXPECT_EQ(prep.made[0].push_type, PushType::mdm);
  EXPECT_FALSE(prep.made[0].has_expiration);
  EXPECT_EQ(prep.made[1].form, PayloadForm::own);
  EXPECT_EQ(prep.made[2].expiration_unix_s, 1800000060) << "rounded up to a whole minute";
}

TEST(Prepare, RefusesWhatApnsWould) {
  const auto error = [](const char* line, const char* shared = "") {
    Prep prep;
    prep.defaults.topic = kMdmTopic;
    prep.defaults.payload = shared;
    prep.defaults.routes.emplace_back();
    prep.defaults.routes.back().certificate.uid = kMdmTopic;
    return prep({line});
  };
  EXPECT_TRUE(error(R"({"magic":"M"})").starts_with("token: token is missing"));
  EXPECT_TRUE(error(R"({"token":"abc","magic":"M"})").starts_with("token: token has 3 digits"));
  EXPECT_TRUE(error(R"({"token":"zz","magic":"M"})").starts_with("token: token has the character"));
  EXPECT_TRUE(error(R"({"token":"ab"})").starts_with("magic: magic is missing"));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","payload":{}})").starts_with("magic: magic and payload"));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","push_type":"alert"})").starts_with("magic: magic belongs"));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","push_type":"shout"})")
                  .starts_with("push_type: push_type 'shout' is unknown"));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","priority":7})").starts_with("priority: "));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","priority":300})").starts_with("priority: "));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M"})", R"({"aps":{"alert":"x"}})")
                  .starts_with("magic: magic is given, but --alert"));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","apns_id":"x"})").starts_with("apns_id: "));
  EXPECT_TRUE(error(R"({"token":"ab","magic":""})").starts_with("magic: "));
  EXPECT_TRUE(error(R"({"token":"ab","magic":"M","collapse_id":""})").starts_with("collapse_id: "))
      << "an empty one is refused, not dropped";
  const std::string relative = error(R"({"token":"ab","magic":"M","expiration":3600})");
  EXPECT_TRUE(relative.starts_with("expiration: ")) << relative;
  EXPECT_NE(relative.find("--expiration 3600s"), std::string::npos);
  const std::string topic = error(R"({"token":"ab","magic":"M","topic":"com.apple.mgmt.External.other"})");
  EXPECT_TRUE(topic.starts_with("topic: ")) << topic;
  EXPECT_NE(topic.find("com.apple.mgmt.External.other"), std::string::npos);
  EXPECT_NE(topic.find(kMdmTopic), std::string::npos) << "both are named";
  const std::string big = std::string(R"({"token":"ab","topic":")") + kMdmTopic +
                          R"(","push_type":"mdm","payload":{"mdm":")" + std::string(4200, 'x') + "\"}}";
  EXPECT_TRUE(error(big.c_str()).starts_with("payload: "));
  EXPECT_EQ(error(R"({"token":"ab","magic":"M","expiration":0})"), "1 ");
}

TEST(Prepare, NoTopicAnywhere) {
  Prep prep;
  EXPECT_TRUE(prep({R"({"token":"ab","magic":"M"})"}).starts_with("topic: topic is missing"));
}

}  // namespace
}  // namespace tocsin::cli
