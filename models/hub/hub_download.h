// Downloads one file of the Hub into the cache. Private to models/hub.
#pragma once
#include "absl/status/status.h"
#include "models/hub/http_client.h"
#include "models/hub/hub.h"
#include "models/hub/hub_cache.h"

namespace deltaserve {

// Downloads the blob of a file into the cache, if it is not there. Continues an earlier download,
// tries again if the connection fails, and rejects a file whose size or SHA-256 differs from the
// Hub's list. `refused` turns an answer other than success into an error.
absl::Status download_blob(HubHttpClient* client, const std::string& url, const HubFile& file,
                           const HubCache& cache,
                           const std::function<absl::Status(const HttpAnswer&)>& refused,
                           HubProgress* progress);

}  // namespace deltaserve
