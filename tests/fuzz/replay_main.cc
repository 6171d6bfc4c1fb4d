// SPDX-License-Identifier: Apache-2.0
// Plays inputs to a fuzz target: files and folders named on the command line, each file once; besides, the empty input
// and every input cut to half. An input that breaks a property ends the process with the input's name in sight.
//
//   TARGET FILE|FOLDER...
//
// The last line is `N passed, 0 failed`. Exit: 0, or 2 if there is nothing to play.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <unistd.h>

#include "fuzz.h"

namespace {

char current[512] = "";

extern "C" void name_the_input(int signal) {
  constexpr char kText[] = "failed on this input: ";
  (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
  (void)!::write(STDERR_FILENO, current, std::strlen(current));
  (void)!::write(STDERR_FILENO, "\n0 passed, 1 failed\n", 20);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void play(const std::string& name, const std::string& bytes) {
  std::snprintf(current, sizeof current, "%s", name.c_str());
  // Exactly as many bytes as the input has, so that a look beyond them is noticed.
  const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "no input to play; usage: %s FILE|FOLDER...\n", argv[0]);
    return 2;
  }
  std::sort(files.begin(), files.end());
  std::signal(SIGABRT, name_the_input);
  play("the empty input", "");
  std::size_t passed = 1;
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
      return 2;
    }
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    play(path.string(), bytes);
    play(path.string() + " (its first half)", bytes.substr(0, bytes.size() / 2));
    passed += 2;
  }
  std::printf("%zu passed, 0 failed\n", passed);
  return 0;
}
