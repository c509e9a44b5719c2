// Models by their names: from the Hub's cache on this machine, or from the Hub. Only files that
// this program reads are fetched, and nothing that is fetched is ever run.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/hub/hub_settings.h"

namespace deltaserve {

// Hears of a download, file by file.
class HubProgress {
 public:
  virtual ~HubProgress() = default;
  virtual void say(const std::string& line) = 0;
  // `done` of `size` bytes were there before.
  virtual void begin_file(const std::string& path, uint64_t size, uint64_t done) = 0;
  virtual void reach(uint64_t done) = 0;  // so many bytes of the file are there now
  virtual void end_file() = 0;
};

// Looks at a folder that has all small files of a model but no weights yet. An error ends the
// download before they are fetched.
using CheckModel = std::function<absl::Status(const std::string& folder)>;

// Fetches what is new or missing of a revision, and returns the folder that has its files. Errors
// are one sentence. A download that was interrupted goes on where it ended.
absl::StatusOr<std::string> pull_model(const HubModel& model, const HubSettings& settings,
                                       const CheckModel& check, HubProgress* progress);

struct FoundModel {
  std::string folder;
  std::string name;  // owner/model; empty: the text was the path of a folder
};

// Returns the folder of a model: `text` as a path if that exists or is no name of the Hub's; else
// what the cache has, if that is complete; else what the Hub has, unless the settings say offline.
absl::StatusOr<FoundModel> find_model(const std::string& text, const HubSettings& settings,
                                      const CheckModel& check, HubProgress* progress);

}  // namespace deltaserve
