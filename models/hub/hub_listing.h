// The Hub's API, which tells the commit of a revision and its files. Private to models/hub.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/hub/http_client.h"
#include "models/hub/hub_cache.h"

namespace deltaserve {

struct HubListing {
  std::string commit;
  // The files in the model's own folder and the templates beside it. If the Hub did not give the
  // hash of a file, `blob` is empty: see complete_hub_file().
  std::vector<HubFile> files;

  // Returns null if the listing has no such file.
  const HubFile* find(std::string_view path) const;
};

// Asks the Hub which files a revision has. NOT_FOUND, PERMISSION_DENIED and UNAUTHENTICATED say why
// the Hub refuses; INVALID_ARGUMENT names a part of its answer that is not valid.
absl::StatusOr<HubListing> list_hub_files(HubHttpClient* client, const HubSettings& settings,
                                          const HubModel& model);

// Asks for the size and the hash of a file that was listed without them.
absl::Status complete_hub_file(HubHttpClient* client, const HubSettings& settings,
                               const HubModel& model, const std::string& commit, HubFile* file);

// Returns the address of a file at a commit.
std::string hub_file_url(const HubSettings& settings, const HubModel& model,
                         const std::string& commit, std::string_view path);

// Returns the error for an answer other than success.
absl::Status hub_refusal(const HttpAnswer& answer, const HubSettings& settings,
                         const HubModel& model);

}  // namespace deltaserve
