#include "server/commands/bundled_model.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace deltaserve {

bool names_bundled_model(const std::string& text) {
  std::error_code ignored;
  return text == kBundledModel && !std::filesystem::exists(text, ignored);
}

absl::StatusOr<std::string> bundled_model_folder() {
  std::error_code ec;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ec);
  if (ec) return absl::InternalError(absl::StrCat("/proc/self/exe: ", ec.message()));
  std::filesystem::path folder =
      (program.parent_path() / DELTASERVE_BUNDLED_MODEL).lexically_normal();
  if (!std::filesystem::is_directory(folder, ec)) {
    return absl::NotFoundError(
        absl::StrCat("the bundled model is not installed: there is no folder ", folder.string()));
  }
  return folder.string();
}

}  // namespace deltaserve
