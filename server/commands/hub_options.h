// Finds a model that the command line gives as a folder, by its name on the Hub, or as `bundled`.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "models/hub/hub.h"
#include "models/model.h"

namespace deltaserve {

// Adds --offline.
void add_offline_option(CLI::App* command, bool* offline);

// Returns the settings of the environment.
absl::StatusOr<HubSettings> hub_settings();

// Returns the folder of a model, and downloads it if necessary. The weights are not downloaded if
// open_model_folder() refuses the config or the tokenizer.
absl::StatusOr<FoundModel> locate_model(const std::string& text, bool offline,
                                        const ModelFolderOptions& opening);

}  // namespace deltaserve
