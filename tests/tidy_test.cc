// The house rules that a program can check: layers include downward only, files and lines stay
// readable, no word of unfinished work is left behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root, with '/'
  std::vector<std::string> lines;
};

bool is_code(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
}

std::vector<Source> all_sources() {
  std::vector<Source> sources;
  const fs::path root = DELTASERVE_ROOT;
  for (const char* folder : {"kernels", "models", "engine", "server", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_code(entry.path())) continue;
      Source source;
      source.path = fs::relative(entry.path(), root).generic_string();
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) source.lines.push_back(line);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

// Lower layers first. A file may include its own layer and those before it.
int layer_of(const std::string& path) {
  const std::pair<const char*, int> layers[] = {
      {"kernels/base/", 0}, {"kernels/mixer/", 1}, {"kernels/", 2}, {"models/", 3},
      {"engine/", 4},       {"server/", 5},        {"tests/", 6}};
  for (const auto& [prefix, layer] : layers) {
    if (path.starts_with(prefix)) return layer;
  }
  return -1;  // not ours
}

std::string included(const std::string& line) {
  static const std::regex kInclude("^\\s*#\\s*include\\s*[\"<]([^\">]+)[\">].*");
  std::smatch match;
  return std::regex_match(line, match, kInclude) ? match[1].str() : "";
}

TEST(Tidy, LayersIncludeDownwardOnly) {
  for (const Source& source : all_sources()) {
    const int own = layer_of(source.path);
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      if (target.empty()) continue;
      EXPECT_LE(layer_of(target), own) << source.path << " includes " << target;
      const bool device = target.starts_with("kernels/cpu/") || target.starts_with("kernels/cuda/");
      if (device && own > 2 && own < 6) {
        ADD_FAILURE() << source.path << " goes past kernels/backend.h to " << target;
      }
    }
  }
}

TEST(Tidy, KernelsKnowNoFramework) {
  for (const Source& source : all_sources()) {
    const int own = layer_of(source.path);
    if (own > 2) continue;
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      // The emulation of a GPU is for tests alone.
      if (source.path.ends_with("cuda/simt_host.cc") && target.starts_with("boost/context/"))
        continue;
      EXPECT_FALSE(target.starts_with("absl/") || target.starts_with("boost/"))
          << source.path << " includes " << target;
      if (own <= 1) {
        EXPECT_FALSE(target.starts_with("hwy/") || target.starts_with("cuda"))
            << source.path << " includes " << target;
      }
    }
  }
}

TEST(Tidy, TheEngineAndTheServiceKnowNoTransport) {
  for (const Source& source : all_sources()) {
    if (layer_of(source.path) > 4 && !source.path.starts_with("server/service/")) continue;
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      for (const char* transport : {"boost/asio", "boost/beast", "grpc", "google/protobuf"}) {
        EXPECT_FALSE(target.starts_with(transport)) << source.path << " includes " << target;
      }
    }
  }
}

TEST(Tidy, FilesAndLinesStayReadable) {
  for (const Source& source : all_sources()) {
    EXPECT_LE(source.lines.size(), 600u) << source.path;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_LE(source.lines[i].size(), 110u) << source.path << ":" << i + 1;
    }
  }
}

TEST(Tidy, NothingIsLeftUnfinished) {
  const std::regex unfinished(std::string("\\b(TO") + "DO|FIX" + "ME|XX" + "X|HA" + "CK)\\b");
  for (const Source& source : all_sources()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(source.lines[i], unfinished)) << source.path << ":" << i + 1;
    }
  }
}

TEST(Tidy, SourcesAreFormatted) {
  std::ostringstream command;
  command << "cd " DELTASERVE_ROOT " && clang-format --dry-run -Werror";
  for (const Source& source : all_sources()) command << " " << source.path;
  command << " 2>&1 | head -20";
  FILE* pipe = popen(command.str().c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char buffer[512];
  while (fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  pclose(pipe);
  EXPECT_EQ(output, "") << "run: clang-format -i FILE";
}

}  // namespace
