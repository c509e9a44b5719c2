// The C++ files of the tree, for the tests that read them.
#pragma once
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace deltaserve::tidy {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root, with '/'
  std::vector<std::string> lines;
};

inline bool is_code(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
}

inline Source read_source(const fs::path& path) {
  Source source;
  source.path = fs::relative(path, DELTASERVE_ROOT).generic_string();
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) source.lines.push_back(line);
  return source;
}

// Returns the files of the product and of the tests.
inline std::vector<Source> all_sources() {
  std::vector<Source> sources;
  const fs::path root = DELTASERVE_ROOT;
  for (const char* folder : {"kernels", "models", "engine", "server", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_code(entry.path())) continue;
      sources.push_back(read_source(entry.path()));
    }
  }
  return sources;
}

// Returns the path that a line includes; empty if it includes nothing.
inline std::string included(const std::string& line) {
  static const std::regex kInclude("^\\s*#\\s*include\\s*[\"<]([^\">]+)[\">].*");
  std::smatch match;
  return std::regex_match(line, match, kInclude) ? match[1].str() : "";
}

inline std::vector<std::string> includes_of(const std::vector<std::string>& lines) {
  std::vector<std::string> includes;
  for (const std::string& line : lines) {
    if (std::string target = included(line); !target.empty()) includes.push_back(target);
  }
  return includes;
}

// Returns the path before the last slash.
inline std::string folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace deltaserve::tidy
