// Downloads one file of the Hub into the cache. Private to models/hub.
#pragma once
#include "absl/status/status.h"
#include "models/hub/http_client.h"
#include "models/hub/hub.h"
#include "models/hub/hub_cache.h"

namespace deltaserve {

// Brings the blob of a file into the cache, if it is not there. It goes on with what an earlier
// download has left, tries again where the connection fails, and takes nothing for the file whose
// size or SHA-256 differs from what the Hub lists. `refused` says what an answer other than success
// means.
absl::Status download_blob(HubHttpClient* client, const std::string& url, const HubFile& file,
                           const HubCache& cache,
                           const std::function<absl::Status(const HttpAnswer&)>& refused,
                           HubProgress* progress);

}  // namespace deltaserve
