#include "server/commands/prefix_cache_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/base/human_bytes.h"
#include "models/checkpoint/safetensors.h"
#include "server/base/machine_memory.h"
#include "server/command_line/values.h"

namespace deltaserve {
namespace {

// Returns an upper bound of the bytes that the weights take in memory.
absl::StatusOr<uint64_t> weight_bytes(const std::string& folder, WeightFormat format) {
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : checkpoint->tensors()) {
    const bool is_wide = format == WeightFormat::kF32 ||
                         (format == WeightFormat::kAuto && tensor.info.dtype != Dtype::kBf16);
    bytes += (is_wide ? 4 : 2) * static_cast<uint64_t>(tensor.info.num_elements());
  }
  return bytes;
}

// Returns how many snapshots `share` allows in `free` bytes, from which weights and slots also take
// theirs.
absl::StatusOr<int> snapshots_in(uint64_t free, const SnapshotShare& share,
                                 const ModelFolder& folder, const ModelOptions& options) {
  const absl::StatusOr<uint64_t> weights = weight_bytes(folder.path, options.weights);
  if (!weights.ok()) return weights.status();
  const uint64_t state = state_layout(folder.config, options.state_format).bytes();
  const uint64_t slots = options.state_memory != 0
                             ? options.state_memory
                             : state * static_cast<uint64_t>(options.max_sequences);
  return snapshots_that_fit(free, *weights + slots, state, share);
}

// Returns how many states of `bytes` each fit into the memory that an option sets.
absl::StatusOr<int> states_in(const char* option, uint64_t memory, uint64_t bytes, int most) {
  if (memory > 0 && memory < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, " is below the ", human_bytes(bytes), " of one snapshot"));
  }
  return static_cast<int>(std::min<uint64_t>(memory / bytes, static_cast<uint64_t>(most)));
}

// Returns how many snapshots the device that computes keeps.
absl::StatusOr<int> device_snapshots(const ModelOptions& options, const LoadedModel& loaded,
                                     uint64_t bytes, int most) {
  if (options.prefix_cache_memory) {
    return states_in("--prefix-cache-memory", *options.prefix_cache_memory, bytes, most);
  }
  const auto free = static_cast<uint64_t>(loaded.backend->free_memory());
  const absl::StatusOr<int> snapshots =
      loaded.threads != nullptr ? default_snapshots(loaded.folder, options)
                                : snapshots_in(free, kDeviceShare, loaded.folder, options);
  if (!snapshots.ok()) return snapshots.status();
  return std::min(*snapshots, most);
}

// Returns how many more the host keeps, beside a device with memory of its own.
absl::StatusOr<int> host_snapshots(const ModelOptions& options, const LoadedModel& loaded,
                                   uint64_t bytes) {
  constexpr const char* kOption = "--prefix-cache-host-memory";
  if (options.prefix_cache_host_memory == 0) return 0;
  if (loaded.threads != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        kOption, " is for CUDA: on a CPU --prefix-cache-memory is memory of the host"));
  }
  const std::optional<uint64_t> available = available_memory();
  if (available && options.prefix_cache_host_memory > *available) {
    return absl::InvalidArgumentError(
        absl::StrCat(kOption, " is above the ", human_bytes(*available),
                     " that this process may still have of the host's memory"));
  }
  return states_in(kOption, options.prefix_cache_host_memory, bytes, kMaxSequences);
}

// Returns how many prompts can wait for the slots of their further answers if no others are kept.
int prompt_places(int slots) {
  constexpr int kSlotsPerPlace = 8;
  return (slots + kSlotsPerPlace - 1) / kSlotsPerPlace;
}

}  // namespace

void add_prefix_cache_options(CLI::App* command, ModelOptions* options) {
  options->many_answers = true;
  options->prefix_cache_memory.reset();
  command
      ->add_option(
          "--prefix-cache-memory", options->prefix_cache_memory,
          "Memory for snapshots, the kept states of prompts. A prompt that begins like an "
          "earlier one continues from a snapshot. 0 keeps none, except where answers of "
          "one request wait for slots, one for every eight slots (default: a quarter of the "
          "memory that is left to the process, at most 512 snapshots; on CUDA half of "
          "what is free on the device, at most 4096 snapshots)")
      ->transform(size_from(0))
      ->type_name("SIZE");
  command
      ->add_option("--prefix-cache-host-memory", options->prefix_cache_host_memory,
                   "On CUDA: additional memory, on the host, for snapshots that no longer fit on "
                   "the device. It is pinned when the server starts")
      ->transform(size_from(0))
      ->capture_default_str()
      ->type_name("SIZE");
}

absl::StatusOr<int> default_snapshots(const ModelFolder& folder, const ModelOptions& options) {
  const std::optional<uint64_t> available = available_memory();
  return available ? snapshots_in(*available, kMachineShare, folder, options) : 0;
}

absl::Status choose_snapshots(const ModelOptions& options, LoadedModel* loaded,
                              ModelLimits* limits) {
  const uint64_t bytes = state_layout(loaded->folder.config, limits->state_format).bytes();
  const int most = kMaxSequences - limits->max_sequences;
  const absl::StatusOr<int> snapshots = device_snapshots(options, *loaded, bytes, most);
  if (!snapshots.ok()) return snapshots.status();
  const absl::StatusOr<int> in_host = host_snapshots(options, *loaded, bytes);
  if (!in_host.ok()) return in_host.status();
  if (*in_host > 0 && *snapshots == 0) {
    return absl::InvalidArgumentError(
        "--prefix-cache-host-memory needs snapshots on the device: --prefix-cache-memory has room "
        "for none");
  }
  loaded->share_prefixes = *snapshots > 0;
  limits->max_snapshots = *snapshots;
  if (options.many_answers && !loaded->share_prefixes) {
    limits->max_snapshots = std::min(prompt_places(limits->max_sequences), most);
  }
  limits->max_host_snapshots = *in_host;
  return absl::OkStatus();
}

}  // namespace deltaserve
