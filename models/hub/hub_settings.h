// Names of models on the Hub, and the settings of the Hub in the environment.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve {

// A model on the Hub at one of its revisions: a branch, a tag, or a commit.
struct HubModel {
  std::string name;  // owner/model
  std::string revision = "main";

  // Returns "owner/model", with "@revision" unless that is main.
  std::string text() const;
};

// Reads owner/model or owner/model@revision. Returns nullopt if the text is no such name.
std::optional<HubModel> parse_hub_model(std::string_view text);

// Returns true if the text is the 40 hexadecimal digits of a commit.
bool is_commit(std::string_view text);

struct HubSettings {
  std::string endpoint;      // such as https://huggingface.co, without a slash at its end
  std::string cache;         // the folder with models--owner--name; empty: there is no home folder
  std::string token;         // empty: there is none
  std::string certificates;  // a file with the trusted certificates; empty: the system's
  bool offline = false;
};

// Reads the variables that the Hub's own tools read: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME,
// XDG_CACHE_HOME, HOME, HF_TOKEN, HF_TOKEN_PATH (the file is read), HF_HUB_DISABLE_IMPLICIT_TOKEN,
// HF_HUB_OFFLINE; and those for certificates: CURL_CA_BUNDLE, SSL_CERT_FILE, REQUESTS_CA_BUNDLE.
// `variable` returns the value of a variable, or null.
absl::StatusOr<HubSettings> read_hub_settings(
    const std::function<const char*(const char* name)>& variable);

}  // namespace deltaserve
