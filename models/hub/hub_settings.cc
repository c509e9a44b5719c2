#include "models/hub/hub_settings.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"

namespace deltaserve {
namespace {

bool is_word_character(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// The Hub's rules for the name of an owner or of a model.
bool is_name_part(std::string_view part) {
  if (part.empty() || part.size() > limits::kHubNameBytes) return false;
  if (!is_word_character(part.front()) || !is_word_character(part.back())) return false;
  return std::all_of(part.begin(), part.end(),
                     [](char c) { return is_word_character(c) || c == '-' || c == '.'; });
}

// Git's rules for names of branches, as far as they keep a name inside the folder of references.
bool is_revision(std::string_view text) {
  if (text.empty() || text.size() > limits::kHubRevisionBytes) return false;
  if (text.front() == '/' || text.back() == '/' || text.back() == '.') return false;
  for (const std::string_view banned : {"..", "//", "/.", "@{"}) {
    if (text.find(banned) != std::string_view::npos) return false;
  }
  if (text.front() == '.' || text.front() == '-') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != '\x7f' &&
           std::string_view("~^:?*[\\").find(c) == std::string_view::npos;
  });
}

bool is_true(const char* value) {
  if (value == nullptr) return false;
  const std::string word = absl::AsciiStrToUpper(value);
  return word == "1" || word == "ON" || word == "YES" || word == "TRUE";
}

using Variable = std::function<const char*(const char*)>;

// Returns the value of a variable; empty if it is not set.
std::string value_of(const Variable& variable, const char* name) {
  const char* value = variable(name);
  return value == nullptr ? "" : value;
}

// Replaces a tilde at the beginning of a path.
std::string expanded(const std::string& path, const std::string& home) {
  if (path == "~" || path.starts_with("~/")) return home + path.substr(1);
  return path;
}

// Returns the folder that the Hub's tools call HF_HOME; empty if nothing says where it is.
std::string hub_home(const Variable& variable, const std::string& home) {
  const std::string said = value_of(variable, "HF_HOME");
  if (!said.empty()) return expanded(said, home);
  const std::string caches = value_of(variable, "XDG_CACHE_HOME");
  if (!caches.empty()) return str_cat(expanded(caches, home), "/huggingface");
  return home.empty() ? "" : str_cat(home, "/.cache/huggingface");
}

absl::StatusOr<std::string> read_token(const Variable& variable, const std::string& home,
                                       const std::string& hub_home) {
  if (is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return std::string();
  std::string origin = "HF_TOKEN";
  std::string token = value_of(variable, "HF_TOKEN");
  if (token.empty()) {
    std::string path = expanded(value_of(variable, "HF_TOKEN_PATH"), home);
    if (path.empty() && hub_home.empty()) return std::string();
    if (path.empty()) path = str_cat(hub_home, "/token");
    absl::StatusOr<std::string> text = read_file(path, limits::kHubTokenBytes);
    if (absl::IsNotFound(text.status())) return std::string();
    if (!text.ok()) return text.status();
    token = *std::move(text);
    origin = path;
  }
  absl::StripAsciiWhitespace(&token);
  const bool is_printable = std::all_of(token.begin(), token.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (!is_printable || token.size() > limits::kHubTokenBytes) {
    return invalid_argument("the token in ", origin, " is not one word of printable characters");
  }
  return token;
}

absl::StatusOr<std::string> read_endpoint(const Variable& variable) {
  std::string endpoint = value_of(variable, "HF_ENDPOINT");
  if (endpoint.empty()) return std::string("https://huggingface.co");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const bool has_scheme = endpoint.starts_with("https://") || endpoint.starts_with("http://");
  const bool is_plain = std::all_of(endpoint.begin(), endpoint.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '?' && c != '#' && c != '@';
  });
  if (has_scheme && is_plain) return endpoint;
  return invalid_argument("HF_ENDPOINT is ", quoted(endpoint),
                          ", which is not an address such as https://huggingface.co");
}

}  // namespace

std::string HubModel::text() const {
  return revision == "main" ? name : str_cat(name, "@", revision);
}

std::optional<HubModel> parse_hub_model(std::string_view text) {
  HubModel model;
  const size_t at = text.find('@');
  if (at != std::string_view::npos) {
    model.revision = text.substr(at + 1);
    text = text.substr(0, at);
    if (!is_revision(model.revision)) return std::nullopt;
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  if (!is_name_part(text.substr(0, slash)) || !is_name_part(text.substr(slash + 1))) {
    return std::nullopt;
  }
  for (const std::string_view banned : {"--", ".."}) {
    if (text.find(banned) != std::string_view::npos) return std::nullopt;
  }
  if (text.ends_with(".git")) return std::nullopt;
  model.name = text;
  return model;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::StatusOr<HubSettings> read_hub_settings(const Variable& variable) {
  HubSettings settings;
  settings.offline = is_true(variable("HF_HUB_OFFLINE"));
  absl::StatusOr<std::string> endpoint = read_endpoint(variable);
  if (!endpoint.ok()) return endpoint.status();
  settings.endpoint = *std::move(endpoint);
  const std::string home = value_of(variable, "HOME");
  const std::string hub = hub_home(variable, home);
  settings.cache = expanded(value_of(variable, "HF_HUB_CACHE"), home);
  if (settings.cache.empty() && !hub.empty()) settings.cache = str_cat(hub, "/hub");
  absl::StatusOr<std::string> token = read_token(variable, home, hub);
  if (!token.ok()) return token.status();
  settings.token = *std::move(token);
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}) {
    if (settings.certificates.empty()) settings.certificates = value_of(variable, name);
  }
  return settings;
}

}  // namespace deltaserve
