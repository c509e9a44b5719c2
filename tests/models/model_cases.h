// The models and formats that tests of bits run, and functions that such tests share.
#pragma once
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/check.h"
#include "kernels/base/weight_format.h"
#include "kernels/mixer/mixers.h"
#include "models/mapping/config.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/models/golden_folders.h"

namespace deltaserve {

struct ModelCase {
  std::string folder;
  WeightFormat format = WeightFormat::kAuto;
  StateFormat state_format = StateFormat::kF32;
};

inline void PrintTo(const ModelCase& c, std::ostream* out) {
  *out << c.folder << " " << weight_format_name(c.format) << " "
       << state_format_name(c.state_format);
}
inline std::string case_name(const ModelCase& c) {
  return folder_name(c.folder) + "_" + weight_format_name(c.format) +
         (c.state_format == StateFormat::kF32
              ? ""
              : std::string("_") + state_format_name(c.state_format) + "_state");
}

// Returns true if the states of all layers decay, which a format that rounds them requires. Reads
// only the model's config.
inline bool decays(const std::string& folder) {
  const std::string path = folder + "/config.json";
  std::ifstream file(path);
  const std::string json{std::istreambuf_iterator<char>(file), {}};
  const absl::StatusOr<ModelConfig> config = parse_model_config(json, path);
  DS_CHECK(config.ok());
  return std::ranges::all_of(config->layers, [](const LayerConfig& layer) {
    return !layer.has_mixer || layer.mixer.decay() != Decay::kNone;
  });
}

// Returns every golden model, in the formats of its checkpoint.
inline std::vector<ModelCase> golden_cases() {
  std::vector<ModelCase> cases;
  for (const std::string& folder : golden_folders()) {
    for (const StateFormat format : state_formats(decays(folder))) {
      cases.push_back({folder, WeightFormat::kAuto, format});
    }
  }
  return cases;
}

// Returns the models whose bits a test program compares: cpu_cases.cc, or emulated_cases.cc
// for CUDA.
std::vector<ModelCase> model_cases();

inline std::vector<int32_t> random_tokens(int count, int64_t vocab, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng() % static_cast<uint64_t>(vocab));
  return tokens;
}

inline bool same_bits(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), a.size());
}

}  // namespace deltaserve
