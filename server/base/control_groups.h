// The control groups of Linux, versions 2 and 1, that bound this process.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// Returns the folders of the process's group and of all its parents, which also bound it. They need
// not exist. `folder` is the mount below `root`, such as "sys/fs/cgroup/cpu". `controller` is for
// instance "cpu"; empty for version 2, in which all controllers share one group.
std::vector<std::filesystem::path> control_groups(const std::string& root, std::string_view folder,
                                                  std::string_view controller);

}  // namespace deltaserve
