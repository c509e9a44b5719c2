#include "server/commands/api_key.h"

#include <algorithm>
#include <cstdlib>

#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr size_t kMaxKeyBytes = 4096;

}  // namespace

void add_api_key_options(CLI::App* command, ApiKeyOptions* options) {
  CLI::Option* key =
      command
          ->add_option(
              "--api-key", options->key,
              "Bearer key. Other users can see it in the list of processes; --api-key-env hides it")
          ->type_name("KEY");
  command
      ->add_option("--api-key-env", options->variable,
                   "Environment variable that holds the Bearer key")
      ->excludes(key)
      ->type_name("VARIABLE");
}

absl::StatusOr<std::string> read_api_key(const ApiKeyOptions& options) {
  std::string key = options.key;
  if (!options.variable.empty()) {
    const char* value = std::getenv(options.variable.c_str());
    if (value == nullptr || *value == '\0') {
      return invalid_argument("--api-key-env: ", quoted(options.variable), " is not set");
    }
    key = value;
  }
  const bool printable =
      std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || key.size() > kMaxKeyBytes) {
    return invalid_argument("the API key must be printable ASCII of at most ", kMaxKeyBytes,
                            " bytes");
  }
  return key;
}

}  // namespace deltaserve
