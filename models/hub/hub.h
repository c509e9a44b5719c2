// Finds models by their names: in the Hub's cache on this machine, or on the Hub. Only files that
// this program reads are downloaded, and none of them is ever run.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/hub/hub_settings.h"

namespace deltaserve {

// Is told about the progress of a download, file by file.
class HubProgress {
 public:
  virtual ~HubProgress() = default;
  virtual void say(const std::string& line) = 0;
  // A file begins, of whose `size` bytes `done` are there already.
  virtual void begin_file(const std::string& path, uint64_t size, uint64_t done) = 0;
  virtual void reach(uint64_t done) = 0;  // `done` bytes of the file are there
  virtual void end_file() = 0;
};

// Checks a folder that has all small files of a model but no weights yet. An error ends the
// download before the weights.
using CheckModel = std::function<absl::Status(const std::string& folder)>;

// Downloads the new and missing files of a revision, and returns the folder that has all its files.
// Errors are one sentence. An interrupted download continues where it ended.
absl::StatusOr<std::string> pull_model(const HubModel& model, const HubSettings& settings,
                                       const CheckModel& check, HubProgress* progress);

struct FoundModel {
  std::string folder;
  std::string name;  // owner/model; empty: the text was the path of a folder
};

// Returns the folder of a model: `text` as a path if that exists or is not a name of the Hub; else
// the folder in the cache if it is complete; else the folder after a download, unless the settings
// say offline.
absl::StatusOr<FoundModel> find_model(const std::string& text, const HubSettings& settings,
                                      const CheckModel& check, HubProgress* progress);

}  // namespace deltaserve
