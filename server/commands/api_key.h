// The key that a command shows to a server.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace deltaserve {

struct ApiKeyOptions {
  std::string key;
  std::string variable;  // of the environment; empty: `key` is used
};

// Adds --api-key and --api-key-env, of which one may be given.
void add_api_key_options(CLI::App* command, ApiKeyOptions* options);

// Returns the key; empty: there is none. Returns INVALID_ARGUMENT if the variable is not set, or
// the key cannot stand in a header.
absl::StatusOr<std::string> read_api_key(const ApiKeyOptions& options);

}  // namespace deltaserve
