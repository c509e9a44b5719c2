#include "models/hub/hub_listing.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <optional>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/json.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr int kAnswerSeconds = 120;                    // for one answer of the API
constexpr std::chrono::milliseconds kFirstPause{250};  // between tries; doubles with each

// Returns a path, or a revision, with its segments percent-encoded.
std::string escaped_path(std::string_view path, std::string_view separator) {
  std::vector<std::string> segments;
  for (const absl::string_view segment : absl::StrSplit(as_piece(path), '/')) {
    segments.push_back(HubHttpClient::escaped({segment.data(), segment.size()}));
  }
  return absl::StrJoin(segments, as_piece(separator));
}

// Returns the text of a member; empty if it is absent or no string.
std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? "" : std::string(text->data(), text->size());
}

bool is_hexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Returns true for a path below the folder that it is relative to.
bool stays_inside(std::string_view path) {
  if (path.empty() || path.size() > limits::kHubPathBytes) return false;
  const bool is_plain = std::all_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) >= ' ' && c != '\\' && c != '\x7f';
  });
  if (!is_plain) return false;
  for (const absl::string_view segment : absl::StrSplit(as_piece(path), '/')) {
    if (segment.empty() || segment == "." || segment == "..") return false;
  }
  return true;
}

bool is_of_interest(std::string_view path) {
  return path.find('/') == std::string_view::npos || path.starts_with("additional_chat_templates/");
}

// Reads answers of the API, one after the other.
class Api {
 public:
  Api(HubHttpClient* client, const HubSettings& settings, const HubModel& model)
      : client_(client), settings_(settings), model_(model) {}

  // Returns the JSON at `url`. `*next` receives the address of the next page, if there is one.
  absl::StatusOr<json::value> get(const std::string& url, std::string* next) {
    absl::StatusOr<std::string> text = get_text(url, next);
    for (int i = 1; i < limits::kHubTries && absl::IsUnavailable(text.status()); ++i) {
      std::this_thread::sleep_for(kFirstPause * (1 << (i - 1)));
      text = get_text(url, next);
    }
    if (!text.ok()) return text.status();
    return parse_json(*text, url);
  }

  std::string url(std::string_view what) const {
    return str_cat(settings_.endpoint, "/api/models/", model_.name, "/", what);
  }

 private:
  absl::StatusOr<std::string> get_text(const std::string& url, std::string* next) {
    std::string text;
    HttpRequest request;
    request.url = url;
    request.time_limit = kAnswerSeconds;
    request.take = [&](const HttpAnswer&, std::string_view piece) -> absl::Status {
      if (text.size() + piece.size() > limits::kHubAnswerBytes) {
        return invalid_argument(quoted(url), " answers with more than ", limits::kHubAnswerBytes,
                                " bytes");
      }
      text += piece;
      return absl::OkStatus();
    };
    const absl::StatusOr<HttpAnswer> answer = client_->get(request);
    if (!answer.ok()) return answer.status();
    if (answer->status != 200) return hub_refusal(*answer, settings_, model_);
    *next = next_page(*answer);
    return text;
  }

  // Reads the header `Link: <address>; rel="next"`.
  static std::string next_page(const HttpAnswer& answer) {
    for (const absl::string_view link : absl::StrSplit(answer.header("link"), ',')) {
      const std::string_view text(link.data(), link.size());
      const size_t begin = text.find('<'), end = text.find('>');
      if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) continue;
      if (text.find("rel=\"next\"", end) == std::string_view::npos) continue;
      return HubHttpClient::resolved(answer.url,
                                     std::string(text.substr(begin + 1, end - begin - 1)));
    }
    return "";
  }

  HubHttpClient* const client_;
  const HubSettings& settings_;
  const HubModel& model_;
};

absl::Status bad_path(const HubModel& model, std::string_view path) {
  return invalid_argument("the Hub lists a file of ", model.name, " as ", quoted(path),
                          ", which is no path inside the model's folder");
}

// Reads one entry of a page of the list. Returns nullopt if it is not a file, or one that is never
// needed.
absl::StatusOr<std::optional<HubFile>> read_entry(const json::value& value, const HubModel& model) {
  const json::object* entry = value.if_object();
  if (entry == nullptr)
    return invalid_argument("the Hub's list of files has an entry that is no object");
  if (text_of(*entry, "type") != "file") return std::nullopt;
  HubFile file;
  file.path = text_of(*entry, "path");
  if (!stays_inside(file.path)) return bad_path(model, file.path);
  if (!is_of_interest(file.path)) return std::nullopt;
  const json::value* size = entry->if_contains("size");
  file.blob = text_of(*entry, "oid");
  const json::value* lfs = entry->if_contains("lfs");
  if (lfs != nullptr && lfs->is_object()) {
    file.sha256 = text_of(lfs->get_object(), "oid");
    if (file.sha256.starts_with("sha256:")) file.sha256.erase(0, 7);
    if (file.sha256.size() != 64 || !is_hexadecimal(file.sha256)) {
      return invalid_argument("the Hub lists ", quoted(file.path), " of ", model.name,
                              " with the hash ", quoted(file.sha256), ", which is no SHA-256");
    }
    file.blob = file.sha256;
    if (lfs->get_object().contains("size")) size = lfs->get_object().if_contains("size");
  }
  if (size == nullptr || !size->is_int64() || size->get_int64() < limits::kHubFileBytes.min ||
      size->get_int64() > limits::kHubFileBytes.max) {
    return invalid_argument("the Hub lists ", quoted(file.path), " of ", model.name,
                            " with a size that is not one of 0 to ", limits::kHubFileBytes.max);
  }
  file.size = static_cast<uint64_t>(size->get_int64());
  if (file.blob.size() < 40 || file.blob.size() > 64 || !is_hexadecimal(file.blob)) {
    return invalid_argument("the Hub lists ", quoted(file.path), " of ", model.name,
                            " with the hash ", quoted(file.blob), ", which is none of git");
  }
  return file;
}

// Adds the files of all pages of the list.
absl::Status read_tree(Api* api, const HubModel& model, HubListing* listing) {
  std::string url = api->url(str_cat("tree/", listing->commit, "?recursive=true&expand=false"));
  size_t count = 0;
  for (int page = 0; !url.empty(); ++page) {
    if (page == limits::kHubPages) {
      return invalid_argument("the Hub's list of files of ", model.name, " has more than ",
                              limits::kHubPages, " pages");
    }
    std::string next;
    const absl::StatusOr<json::value> value = api->get(url, &next);
    if (!value.ok()) return value.status();
    const json::array* entries = value->if_array();
    if (entries == nullptr) return invalid_argument(quoted(url), " does not answer with a list");
    count += entries->size();
    if (count > limits::kHubFiles) {
      return invalid_argument(model.name, " has more than ", limits::kHubFiles, " files");
    }
    for (const json::value& entry : *entries) {
      absl::StatusOr<std::optional<HubFile>> file = read_entry(entry, model);
      if (!file.ok()) return file.status();
      if (file->has_value()) listing->files.push_back(**std::move(file));
    }
    url = std::move(next);
  }
  return absl::OkStatus();
}

// Adds the files that the description of a revision names. This serves for mirrors that have no
// list of files.
absl::Status read_siblings(const json::object& description, const HubModel& model,
                           HubListing* listing) {
  const json::value* value = description.if_contains("siblings");
  const json::array* siblings = value == nullptr ? nullptr : value->if_array();
  if (siblings == nullptr || siblings->size() > limits::kHubFiles) {
    return invalid_argument("the Hub does not list the files of ", model.name);
  }
  for (const json::value& sibling : *siblings) {
    HubFile file;
    if (sibling.is_object()) file.path = text_of(sibling.get_object(), "rfilename");
    if (!stays_inside(file.path)) return bad_path(model, file.path);
    if (is_of_interest(file.path)) listing->files.push_back(std::move(file));
  }
  return absl::OkStatus();
}

}  // namespace

const HubFile* HubListing::find(std::string_view path) const {
  const auto file = std::find_if(files.begin(), files.end(),
                                 [&](const HubFile& entry) { return entry.path == path; });
  return file == files.end() ? nullptr : &*file;
}

absl::StatusOr<HubListing> list_hub_files(HubHttpClient* client, const HubSettings& settings,
                                          const HubModel& model) {
  Api api(client, settings, model);
  std::string next;
  const std::string url = api.url(str_cat("revision/", escaped_path(model.revision, "%2F")));
  const absl::StatusOr<json::value> description = api.get(url, &next);
  if (!description.ok()) return description.status();
  const json::object* object = description->if_object();
  HubListing listing;
  if (object != nullptr) listing.commit = text_of(*object, "sha");
  if (!is_commit(listing.commit)) {
    return invalid_argument(quoted(url), " does not say which commit ", model.text(), " is");
  }
  absl::Status status = read_tree(&api, model, &listing);
  if (absl::IsNotFound(status)) status = read_siblings(*object, model, &listing);
  if (!status.ok()) return status;
  return listing;
}

absl::Status complete_hub_file(HubHttpClient* client, const HubSettings& settings,
                               const HubModel& model, const std::string& commit, HubFile* file) {
  if (!file->blob.empty()) return absl::OkStatus();
  HttpRequest request;
  request.url = hub_file_url(settings, model, commit, file->path);
  request.only_head = true;
  request.time_limit = kAnswerSeconds;
  const absl::StatusOr<HttpAnswer> answer = client->get(request);
  if (!answer.ok()) return answer.status();
  if (answer->status >= 400) return hub_refusal(*answer, settings, model);
  const auto header = [&](const char* linked, const char* plain) {
    const std::string value = answer->header(linked);
    return value.empty() ? answer->header(plain) : value;
  };
  std::string tag = header("x-linked-etag", "etag");
  if (tag.starts_with("W/")) tag.erase(0, 2);
  tag.erase(std::remove(tag.begin(), tag.end(), '"'), tag.end());
  int64_t size = -1;
  if (!absl::SimpleAtoi(header("x-linked-size", "content-length"), &size) || size < 0 ||
      size > limits::kHubFileBytes.max || tag.size() < 16 || tag.size() > 64 ||
      !is_hexadecimal(tag)) {
    return invalid_argument(quoted(request.url), " does not say its size and hash");
  }
  file->size = static_cast<uint64_t>(size);
  file->blob = tag;
  if (tag.size() == 64) file->sha256 = tag;
  return absl::OkStatus();
}

std::string hub_file_url(const HubSettings& settings, const HubModel& model,
                         const std::string& commit, std::string_view path) {
  return str_cat(settings.endpoint, "/", model.name, "/resolve/", commit, "/",
                 escaped_path(path, "/"));
}

absl::Status hub_refusal(const HttpAnswer& answer, const HubSettings& settings,
                         const HubModel& model) {
  const std::string code = answer.header("x-error-code");
  const std::string said = answer.header("x-error-message");
  const std::string& hub = settings.endpoint;
  const bool has_token = !settings.token.empty();
  if (code == "RevisionNotFound") {
    return absl::NotFoundError(
        str_cat(hub, " has no revision ", quoted(model.revision), " of ", model.name));
  }
  if (code == "GatedRepo" || (answer.status == 403 && code.empty())) {
    return absl::PermissionDeniedError(
        str_cat(model.name, " is gated: ask for access at ", hub, "/", model.name,
                has_token ? ", with the account of your token" : ", and set HF_TOKEN"));
  }
  if (answer.status == 401 && has_token && code != "RepoNotFound") {
    return absl::UnauthenticatedError(str_cat(hub, " refuses the token (HF_TOKEN)"));
  }
  if (code == "EntryNotFound") {
    return absl::NotFoundError(str_cat(quoted(answer.url), " does not exist"));
  }
  if (answer.status == 401 || answer.status == 404) {
    return absl::NotFoundError(
        str_cat(hub, " has no model ", model.text(), ", or it is private and ",
                has_token ? "not for your token" : "needs a token (HF_TOKEN)"));
  }
  const std::string message = str_cat(quoted(answer.url), " answers ", answer.status,
                                      said.empty() ? "" : str_cat(": ", quoted(said)));
  const bool may_help = answer.status >= 500 || answer.status == 429 || answer.status == 408;
  return may_help ? absl::UnavailableError(message) : invalid_argument(message);
}

}  // namespace deltaserve
