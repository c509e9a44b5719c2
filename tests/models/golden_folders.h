// Finds the golden models (tests/golden/README.md).
#pragma once
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace deltaserve {

// Returns every folder with a golden model, sorted.
inline std::vector<std::string> golden_folders() {
  std::vector<std::string> folders;
  for (const char* root : {DELTASERVE_GOLDEN, DELTASERVE_GOLDEN "/variants"}) {
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
      if (std::filesystem::exists(entry.path() / "config.json")) {
        folders.push_back(entry.path().string());
      }
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// Returns the last part of a path as a test's name.
inline std::string folder_name(const std::string& folder) {
  return std::filesystem::path(folder).filename().string();
}

}  // namespace deltaserve
