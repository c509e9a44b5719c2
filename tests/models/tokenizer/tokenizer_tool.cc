// Asks a tokenizer file on standard input and output, for scripts that compare and measure.
//
//   tokenizer_tool FILE encode        lines of JSON texts -> lines of JSON id lists
//   tokenizer_tool FILE decode        lines of JSON id lists -> lines of JSON texts
//   tokenizer_tool FILE time TEXT N   encodes the file TEXT N times; prints the best CPU time
#include <sys/resource.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "models/tokenizer/load_tokenizer.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::string encoded_line(const Tokenizer& tokenizer, const std::string& line) {
  const json::value text = json::parse(line);
  const auto ids = tokenizer.encode(std::string_view(text.as_string()));
  if (!ids.ok()) return "null";
  return json::serialize(json::array(ids->begin(), ids->end()));
}

std::string decoded_line(const Tokenizer& tokenizer, const std::string& line) {
  std::vector<int32_t> ids;
  const json::value list = json::parse(line);
  for (const json::value& id : list.as_array()) {
    ids.push_back(static_cast<int32_t>(id.as_int64()));
  }
  return json::serialize(json::string(tokenizer.decode(ids, SpecialTokens::kKeep).value()));
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int64_t peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

int time_encoding(const Tokenizer& tokenizer, const char* path, int rounds) {
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const int64_t before = peak_kib();
  double best = 1e9;
  size_t count = 0;
  for (int i = 0; i < rounds; ++i) {
    const double begin = cpu_seconds();
    count = tokenizer.encode(text).value().size();
    best = std::min(best, cpu_seconds() - begin);
  }
  std::printf("%zu bytes, %zu ids, %.4f s, %.2f MB/s, peak memory +%.1f bytes a byte\n",
              text.size(), count, best, static_cast<double>(text.size()) / best / 1e6,
              static_cast<double>(peak_kib() - before) * 1024 / static_cast<double>(text.size()));
  return 0;
}

int run(int argc, char** argv) {
  if (argc < 3) return 2;
  const double begin = cpu_seconds();
  const auto tokenizer = load_tokenizer(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 1;
  }
  const std::string mode = argv[2];
  if (mode == "time" && argc == 5) {
    std::printf("loaded in %.3f s\n", cpu_seconds() - begin);
    return time_encoding(**tokenizer, argv[3], std::stoi(argv[4]));
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << (mode == "encode" ? encoded_line(**tokenizer, line)
                                   : decoded_line(**tokenizer, line))
              << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  return deltaserve::run(argc, argv);
}
