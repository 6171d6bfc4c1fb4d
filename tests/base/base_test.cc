// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/hex.h"
#include "base/hex_code.h"
#include "base/plain_text.h"
#include "base/prng.h"
#include "base/slab.h"
#include "base/stamp.h"

namespace tocsin::base {
namespace {

TEST(ByteBuffer, AppendsAndConsumesInOrderAcrossGrowth) {
  ByteBuffer buffer;
  std::string expected;
  Prng prng(7);
  std::size_t consumed = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string piece(prng.below(300), static_cast<char>('a' + i % 26));
    buffer.append(piece);
    expected += piece;
    const std::size_t take = prng.below(buffer.size() + 1);
    EXPECT_EQ(as_text(buffer.readable().first(take)), std::string_view(expected).substr(consumed, take));
    buffer.consume(take);
    consumed += take;
  }
  EXPECT_EQ(as_text(buffer.readable()), std::string_view(expected).substr(consumed));
}

TEST(ByteBuffer, CompactedItHoldsTheSameInTheSameMemory) {
  ByteBuffer buffer(1000);
  const std::size_t capacity = buffer.capacity();
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string piece(500, static_cast<char>('a' + i % 26));
    buffer.append(piece);
    expected += piece;
    buffer.consume(490);
    expected.erase(0, 490);
    if (expected.size() > 450) {
      buffer.consume(expected.size());
      expected.clear();
    }
    buffer.compact();
    ASSERT_EQ(as_text(buffer.readable()), expected);
  }
  EXPECT_EQ(buffer.capacity(), capacity);
}

TEST(CopyShort, CopiesEveryLengthAndNotAByteMore) {
  std::string from;
  for (int i = 0; i < 200; ++i) from += static_cast<char>('A' + i % 50);
  for (std::size_t bytes = 0; bytes <= from.size(); ++bytes) {
    const std::string exact = from.substr(0, bytes);  // memory of its own, so that reading beyond it is seen
    std::string to(bytes + 1, '#');
    copy_short(to.data(), exact.data(), bytes);
    ASSERT_EQ(to, exact + '#');
  }
}

TEST(ByteBuffer, KeepsItsMemoryWhenEmptied) {
  ByteBuffer buffer(1000);
  const std::size_t capacity = buffer.capacity();
  for (int i = 0; i < 100; ++i) {
    buffer.append(std::string(900, 'x'));
    buffer.consume(900);
  }
  EXPECT_EQ(buffer.capacity(), capacity);
}

TEST(Hex, RoundTripsEveryByteAndReadsBothCases) {
  std::array<std::uint8_t, 256> bytes{};
  for (std::size_t i = 0; i < 256; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  std::string text = hex_encode(bytes);
  std::array<std::uint8_t, 256> back{};
  ASSERT_TRUE(hex_decode(text, back.data()));
  EXPECT_EQ(back, bytes);
  for (auto& c : text) c = static_cast<char>(std::toupper(c));
  back.fill(0);
  ASSERT_TRUE(hex_decode(text, back.data()));
  EXPECT_EQ(back, bytes);
}

TEST(Hex, RefusesEveryCharacterThatIsNoDigitInEitherPlace) {
  for (int c = 0; c < 256; ++c) {
    const bool digit = std::isxdigit(c) != 0;
    std::uint8_t out = 0;
    const char first[] = {static_cast<char>(c), '0'};
    const char second[] = {'0', static_cast<char>(c)};
    EXPECT_EQ(hex_decode(std::string_view(first, 2), &out), digit) << c;
    EXPECT_EQ(hex_decode(std::string_view(second, 2), &out), digit) << c;
  }
  std::uint8_t out[2];
  EXPECT_FALSE(hex_decode("abc", out));
  EXPECT_EQ(hex_first_bad("12g4"), 2u);
  EXPECT_EQ(hex_first_bad("1234"), std::string_view::npos);
}

TEST(Hex, LongTextIsJudgedCharacterByCharacter) {
  // Every character in every place of a text long enough for the wide path and its rest.
  for (std::size_t place = 0; place < 36; ++place) {
    for (int c = 0; c < 256; ++c) {
      std::string text(36, 'b');
      text[place] = static_cast<char>(c);
      std::array<std::uint8_t, 18> out{};
      const bool digit = std::isxdigit(c) != 0;
      ASSERT_EQ(hex_decode(text, out.data()), digit) << place << " " << c;
      ASSERT_EQ(hex_first_bad(text), digit ? std::string_view::npos : place) << c;
      if (!digit) continue;
      for (auto& t : text) t = static_cast<char>(std::tolower(t));
      ASSERT_EQ(hex_encode(out), text) << place << " " << c;
    }
  }
}

// What is done is told by the standard library's own idea of a digit, one character at a time.
std::size_t first_bad_of(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size() && std::isxdigit(static_cast<unsigned char>(text[i])) != 0) ++i;
  return i;
}

TEST(HexCode, TheBestThatTheCpuHasComesLast) {
  const auto codes = hex_codes();
  ASSERT_FALSE(codes.empty());
  EXPECT_STREQ(codes.front().name, "portable");
#if defined(__x86_64__)
  EXPECT_STREQ(codes.back().name, __builtin_cpu_supports("avx2") ? "avx2" : "sse2");
#else
  EXPECT_EQ(codes.size(), 1u);
#endif
}

TEST(HexCode, EachEncodesAndDecodesEveryLengthInBothCasesAndNotAByteMore) {
  for (const HexCode& code : hex_codes()) {
    for (std::size_t size = 0; size <= 130; ++size) {
      std::vector<std::uint8_t> bytes(size);
      for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 151 + size * 7);
      std::string wanted;
      for (const std::uint8_t byte : bytes) {
        wanted += "0123456789abcdef"[byte >> 4];
        wanted += "0123456789abcdef"[byte & 15];
      }
      std::string text(2 * size + 1, '#');
      code.encode(bytes.data(), size, text.data());
      ASSERT_EQ(text, wanted + '#') << code.name << " " << size;
      text.pop_back();
      for (int shape = 0; shape < 3; ++shape) {  // lower, upper, mixed
        std::string shown = text;
        for (std::size_t i = 0; i < shown.size(); ++i) {
          if (shape == 1 || (shape == 2 && i % 3 == 0)) shown[i] = static_cast<char>(std::toupper(shown[i]));
        }
        std::vector<std::uint8_t> back(size + 1, 0xa5);
        ASSERT_TRUE(code.decode(shown.data(), shown.size(), back.data())) << code.name << " " << shown;
        ASSERT_EQ(back.back(), 0xa5) << code.name << " " << size;
        back.pop_back();
        ASSERT_EQ(back, bytes) << code.name << " " << shown;
        ASSERT_EQ(code.first_bad(shown.data(), shown.size()), shown.size()) << code.name << " " << shown;
      }
    }
  }
}

TEST(Stamp, TheBestThatTheCpuHasComesLast) {
  const auto codes = stamp_codes();
  ASSERT_FALSE(codes.empty());
  EXPECT_STREQ(codes.front().name, "portable");
#if defined(__x86_64__)
  const bool wide = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  EXPECT_STREQ(codes.back().name, !__builtin_cpu_supports("avx2") ? "portable" : wide ? "avx512" : "avx2");
#endif
}

// Each code, holes at every place of a block, in every order, images of every length about whole blocks; told by printf.
TEST(Stamp, EachWritesTheTextsOfEveryCopyAndNothingElse) {
  Prng prng(29);
  const auto bytes_of = [&](std::size_t size) {
    std::vector<std::uint8_t> bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(prng.next());
    return bytes;
  };
  const auto shown = [](const std::vector<std::uint8_t>& bytes, bool uuid, bool upper) {
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (uuid && (i == 4 || i == 6 || i == 8 || i == 10)) text += '-';
      char digits[3];
      std::snprintf(digits, sizeof(digits), upper ? "%02X" : "%02x", bytes[i]);
      text += digits;
    }
    return text;
  };
  for (std::size_t turn = 0; turn < 600; ++turn) {
    const std::size_t uuids = turn % (kStampUuidsMax + 1);
    // In what order they stand: 0 is the token.
    std::vector<std::size_t> order(uuids + 1);
    for (std::size_t i = 0; i <= uuids; ++i) order[i] = i;
    for (std::size_t i = uuids; i > 0; --i) std::swap(order[i], order[prng.below(i + 1)]);
    StampImage image;
    std::string text(turn % 64, 'i');
    for (const std::size_t which : order) {
      if (which == 0) {
        image.token_at = static_cast<std::uint32_t>(text.size());
        text.append(64, '0');
      } else {
        image.uuids[which - 1] = {static_cast<std::uint32_t>(text.size()), prng.chance(0.5)};
        text.append(36, '0');
      }
      text.append(prng.below(70), static_cast<char>('p' + which));
    }
    image.uuids_used = static_cast<std::uint32_t>(uuids);
    image.size = text.size();
    // Exactly what may be read of it, so that a sanitizer sees a look beyond it.
    std::vector<char> blocks(text.begin(), text.end());
    blocks.resize((text.size() + kStampBlock - 1) / kStampBlock * kStampBlock, '!');
    image.bytes = blocks.data();

    const std::size_t count = prng.below(6);
    std::vector<std::vector<std::uint8_t>> kept;
    std::vector<StampValues> values(count);
    std::string wanted;
    for (StampValues& one : values) {
      std::string copy = text;
      kept.push_back(bytes_of(32));
      one.token = kept.back().data();
      copy.replace(image.token_at, 64, shown(kept.back(), false, false));
      for (std::size_t i = 0; i < uuids; ++i) {
        kept.push_back(bytes_of(16));
        one.uuids[i] = kept.back().data();
        copy.replace(image.uuids[i].at, 36, shown(kept.back(), true, image.uuids[i].upper));
      }
      wanted += copy;
    }
    for (const StampCode& code : stamp_codes()) {
      std::vector<char> out(wanted.size() + kStampSlack + 1, '#');
      code.run(image, values.data(), count, out.data());
      ASSERT_EQ(std::string(out.data(), wanted.size()), wanted) << code.name << " " << turn;
      ASSERT_EQ(out.back(), '#') << code.name << " beyond the slack";
    }
  }
}

// Every byte value at every place of a token and a UUID.
TEST(Stamp, EveryByteAtEveryPlace) {
  StampImage image;
  const std::string blocks(128, '.');
  image.bytes = blocks.data();
  image.size = 64 + 36;
  image.uuids_used = 1;
  for (const bool upper : {false, true}) {
    image.uuids[0] = {64, upper};
    for (unsigned value = 0; value < 256; ++value) {
      for (std::size_t place = 0; place < 32; ++place) {
        std::array<std::uint8_t, 32> token{};
        std::array<std::uint8_t, 16> uuid{};
        token[place] = uuid[place % 16] = static_cast<std::uint8_t>(value);
        StampValues values{token.data(), {uuid.data()}};
        std::string wanted = hex_encode(token) + std::string(36, '.');
        uuid_format_plain(uuid.data(), wanted.data() + 64, upper);
        for (const StampCode& code : stamp_codes()) {
          std::string out(image.size + kStampSlack, '#');
          code.run(image, &values, 1, out.data());
          ASSERT_EQ(out.substr(0, image.size), wanted) << code.name;
        }
      }
    }
  }
}

TEST(HexCode, TheFixedSizesAreWhatTheOthersGive) {
  Prng prng(11);
  for (int i = 0; i < 500; ++i) {
    std::vector<std::uint8_t> bytes(32);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(prng.below(256));
    std::string digits(65, '#');
    hex_encode_32(bytes.data(), digits.data());
    ASSERT_EQ(digits, hex_encode(bytes) + '#');
    std::vector<std::uint8_t> decoded(33, 0x5a);
    ASSERT_TRUE(hex_decode_64(digits.data(), decoded.data()));
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), decoded.begin())) << digits;
    ASSERT_EQ(decoded.back(), 0x5a);
    for (const bool upper : {false, true}) {
      std::vector<std::uint8_t> uuid(bytes.begin(), bytes.begin() + 16);
      std::string wanted(kUuidTextBytes + 1, '#'), got = wanted;
      uuid_format_plain(uuid.data(), wanted.data(), upper);
      uuid_format(uuid.data(), got.data(), upper);
      ASSERT_EQ(got, wanted);
      // And back; with one character changed both judge alike.
      for (int spoil = 0; spoil < 40; ++spoil) {
        std::string text = got.substr(0, kUuidTextBytes);
        if (spoil != 0) text[prng.below(kUuidTextBytes)] = static_cast<char>(prng.below(256));
        std::array<std::uint8_t, 16> one{}, other{};
        const LetterCase letters = uuid_parse_case(text, one);
        ASSERT_EQ(letters, uuid_parse_case_plain(text, other)) << text;
        if (letters != LetterCase::mixed) {
          ASSERT_EQ(one, other) << text;
        }
        if (spoil == 0) {
          ASSERT_TRUE(std::equal(one.begin(), one.end(), uuid.begin()));
        }
      }
    }
  }
}

TEST(HexCode, EachRefusesEveryWrongCharacterAtEveryPlace) {
  for (const HexCode& code : hex_codes()) {
    for (const std::size_t size : {2u, 14u, 16u, 30u, 32u, 46u, 64u, 82u}) {
      std::vector<std::uint8_t> out(size / 2);
      for (std::size_t place = 0; place < size; ++place) {
        for (int c = 0; c < 256; ++c) {
          std::string text(size, place % 2 == 0 ? '9' : 'F');
          text[place] = static_cast<char>(c);
          const bool digit = std::isxdigit(c) != 0;
          ASSERT_EQ(code.decode(text.data(), size, out.data()), digit) << code.name << " " << size << " " << place << " " << c;
          ASSERT_EQ(code.first_bad(text.data(), size), first_bad_of(text)) << code.name << " " << size << " " << place << " " << c;
        }
      }
    }
  }
}

TEST(HexCode, SixtyFourDigitsAreJudgedAsByThePortableCode) {
  const HexCode& portable = hex_codes().front();
  const std::string right = "0123456789abcdefFEDCBA98765432100f1e2d3c4b5a69788796A5B4C3D2E1F0";
  ASSERT_EQ(right.size(), 64u);
  for (std::size_t place = 0; place < right.size(); ++place) {
    for (int c = 0; c < 256; ++c) {
      std::string text = right;
      text[place] = static_cast<char>(c);
      std::array<std::uint8_t, 32> wanted{}, got{};
      const bool good = portable.decode(text.data(), text.size(), wanted.data());
      ASSERT_EQ(good, std::isxdigit(c) != 0);
      ASSERT_EQ(hex_decode_64(text.data(), got.data()), good) << place << " " << c;
      if (good) {
        ASSERT_EQ(got, wanted) << place << " " << c;
      }
    }
  }
}

TEST(HexCode, TheFirstOfTwoWrongCharactersIsTold) {
  for (const HexCode& code : hex_codes()) {
    for (std::size_t first = 0; first < 70; ++first) {
      for (std::size_t second = first; second < 70; ++second) {
        std::string text(70, 'c');
        text[first] = text[second] = 'g';
        ASSERT_EQ(code.first_bad(text.data(), text.size()), first) << code.name << " " << second;
      }
    }
  }
}

TEST(PlainText, EndsAtTheFirstOtherByteWhereverItStands) {
  for (std::size_t size = 0; size <= 50; ++size) {
    std::string text(size + kPlainPadding, '"');
    std::fill_n(text.begin(), size, 'a');
    const char* const end = text.data() + size;
    EXPECT_EQ(plain_bytes(std::string_view(text).substr(0, size)), size);
    EXPECT_EQ(plain_end(text.data(), end), end);
    for (std::size_t place = 0; place < size; ++place) {
      for (int c = 0; c < 256; ++c) {
        text[place] = static_cast<char>(c);
        const bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        ASSERT_EQ(is_plain(text[place]), plain) << c;
        ASSERT_EQ(plain_bytes(std::string_view(text).substr(0, size)), plain ? size : place) << size << " " << c;
        ASSERT_EQ(plain_end(text.data(), end), plain ? end : text.data() + place) << size << " " << c;
      }
      text[place] = 'a';
    }
  }
}

TEST(Uuid, FormatsAndParsesTheCanonicalForm) {
  std::array<std::uint8_t, 16> uuid{};
  ASSERT_TRUE(uuid_parse("123E4567-e89b-12d3-a456-426614174000", uuid));
  EXPECT_EQ(uuid_format(uuid), "123e4567-e89b-12d3-a456-426614174000");
  for (const char* bad : {"", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400",
                          "123e4567-e89b-12d3-a456-42661417400g", "123e4567-e89b-12d3-a456_426614174000",
                          "123e4567-e89b-12d3-a456-4266141740000"}) {
    EXPECT_FALSE(uuid_parse(bad, uuid)) << bad;
  }
}

TEST(Uuid, TellsTheCaseOfItsLetters) {
  std::array<std::uint8_t, 16> uuid{};
  const std::string lower = "b2d2a9d1-4e4d-4b7c-8a51-6e1c8a2b51f0";
  std::string upper = lower;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  char text[kUuidTextBytes];
  EXPECT_EQ(uuid_parse_case(lower, uuid), LetterCase::lower);
  uuid_format(uuid, text);
  EXPECT_EQ(std::string_view(text, sizeof(text)), lower);
  EXPECT_EQ(uuid_parse_case(upper, uuid), LetterCase::upper);
  uuid_format(uuid, text, true);
  EXPECT_EQ(std::string_view(text, sizeof(text)), upper);
  EXPECT_EQ(uuid_parse_case("01234567-8901-2345-6789-012345678901", uuid), LetterCase::upper);
  for (std::size_t place = 0; place < lower.size(); ++place) {
    if (std::isalpha(lower[place]) != 0) {
      std::string mixed = lower;
      mixed[place] = upper[place];
      EXPECT_EQ(uuid_parse_case(mixed, uuid), LetterCase::mixed) << place;
    }
    std::string wrong = lower;
    wrong[place] = 'g';
    EXPECT_EQ(uuid_parse_case(wrong, uuid), LetterCase::mixed) << place;
  }
  EXPECT_EQ(uuid_parse_case(lower.substr(1), uuid), LetterCase::mixed);
}

TEST(Slab, GivesEachSlotOnceAndSeesStaleHandles) {
  Slab<int> slab(3);
  const Handle a = slab.acquire(), b = slab.acquire(), c = slab.acquire();
  EXPECT_FALSE(slab.acquire());
  EXPECT_EQ((std::set<std::uint32_t>{a.index(), b.index(), c.index()}.size()), 3u);
  slab[b] = 5;
  slab.release(b);
  EXPECT_EQ(slab.find(b), nullptr);
  const Handle d = slab.acquire();
  EXPECT_EQ(d.index(), b.index());
  EXPECT_NE(d, b);
  EXPECT_EQ(slab[d], 0) << "a slot comes back clean";
  EXPECT_EQ(slab.find(b), nullptr);
  EXPECT_EQ(slab.in_use(), 3u);
}

TEST(Prng, SameSeedSameSequenceAndBelowStaysBelow) {
  Prng a(42), b(42), other(43);
  bool differs = false;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    differs |= x != other.next();
    EXPECT_LT(a.below(7), 7u);
    b.below(7);
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace tocsin::base
