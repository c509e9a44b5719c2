// Finds a model that is given as a folder, by its name on the Hub, or as `bundled`.
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

// Returns the folder of a model, and fetches it if it has to. A model whose config or tokenizer
// open_model_folder() refuses is not fetched.
absl::StatusOr<FoundModel> locate_model(const std::string& text, bool offline,
                                        const ModelFolderOptions& opening);

}  // namespace deltaserve
