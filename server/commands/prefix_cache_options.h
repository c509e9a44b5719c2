// The memory of snapshots, the kept states of prompts: how much the command line asks for, and how
// much a server takes if it does not.
#pragma once
#include "server/commands/model_options.h"

namespace deltaserve {

// Adds --prefix-cache-memory, whose default depends on the machine's memory, and
// --prefix-cache-host-memory, to a command that serves requests.
void add_prefix_cache_options(CLI::App* command, ModelOptions* options);

// Returns how many snapshots the server keeps on a CPU by default. 0: there is no room, or Linux
// does not say how much there is.
absl::StatusOr<int> default_snapshots(const ModelFolder& folder, const ModelOptions& options);

// Sets how many snapshots the loaded backend keeps by these options, on the device and in the
// host's memory, and whether prompts share them. If they shall not, requests for many answers still
// have places for their prompts. INVALID_ARGUMENT names an option that is too small or too large.
// FAILED_PRECONDITION names an option that is for a device with memory of its own.
absl::Status choose_snapshots(const ModelOptions& options, LoadedModel* loaded,
                              ModelLimits* limits);

}  // namespace deltaserve
