#include "server/base/control_groups.h"

#include <fstream>

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

// Returns the path of the process's group. Inside a container this may be the path that the group
// has outside, which does not exist inside.
std::string group_path(const fs::path& root, std::string_view controller) {
  const std::string wanted = "," + std::string(controller) + ",";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers.find(wanted) != std::string::npos) return line.substr(second + 1);
  }
  return "/";
}

}  // namespace

std::vector<fs::path> control_groups(const std::string& root, std::string_view folder,
                                     std::string_view controller) {
  std::vector<fs::path> groups;
  const fs::path top = fs::path(root) / folder;
  const std::string own = group_path(root, controller);
  for (fs::path group = fs::path(own).relative_path();; group = group.parent_path()) {
    groups.push_back(top / group);
    if (group.empty()) break;
  }
  return groups;
}

}  // namespace deltaserve
