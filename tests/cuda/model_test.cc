// Golden models on the emulated GPU as an engine drives them: decode steps of changing sizes,
// drawn on the device, launched, recorded or played. Their logits: tests/models/golden_test.cc.
#include "models/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cuda/backend.h"
#include "tests/models/golden_folders.h"

namespace deltaserve {
namespace {

constexpr int kSlots = 6;
constexpr int kPrompt = 5;

// A model, and sequences of tokens that it has drawn.
class Driven {
 public:
  Driven(const std::string& folder, WeightFormat format, bool recordings) {
    std::string error;
    cuda::BackendOptions options;
    options.recordings = recordings;
    backend_ = cuda::make_cuda_backend(cuda::Runtime::create(&error), options);
    ModelLimits limits;
    limits.max_rows = 40;
    limits.max_sequences = kSlots;
    absl::StatusOr<ModelFolder> opened = open_model_folder(folder);
    EXPECT_TRUE(opened.ok()) << opened.status();
    auto loaded = Model::load(*opened, backend_.get(), limits, format);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    model_ = *std::move(loaded);
    // Slots are not cleared for their next owner.
    const std::vector<float> poison(static_cast<size_t>(model_->layout().floats), NAN);
    for (int slot = 0; slot < kSlots; ++slot) backend_->import_state(slot, poison.data());
  }

  // Reads a prompt of its own for each slot, all in one step.
  void prefill(const std::vector<int>& slots) {
    std::vector<int32_t> ids;
    std::vector<Segment> segments;
    std::vector<Draw> head;
    for (const int slot : slots) {
      segments.push_back({slot, slot, static_cast<int32_t>(ids.size()), kPrompt, 0});
      for (int i = 0; i < kPrompt; ++i) ids.push_back((slot * 7 + i * 3) % vocab());
      head.push_back(draw(slot, static_cast<int>(ids.size()) - 1, kPrompt));
      length_[slot] = kPrompt;
    }
    run(ids, segments, 0, head, slots);
  }
  // Decodes a token of each slot.
  void decode(const std::vector<int>& slots) {
    std::vector<int32_t> ids;
    std::vector<Segment> segments;
    std::vector<Draw> head;
    for (const int slot : slots) {
      const auto row = static_cast<int32_t>(ids.size());
      ids.push_back(results_[slot].back().token);
      segments.push_back({slot, slot, row, 1, length_[slot]++});
      head.push_back(draw(slot, row, length_[slot]));
    }
    run(ids, segments, static_cast<int>(slots.size()), head, slots);
  }

  const std::vector<DrawResult>& results(int slot) const { return results_[slot]; }
  std::vector<float> state(int slot) {
    std::vector<float> floats(static_cast<size_t>(model_->layout().floats));
    backend_->export_state(slot, floats.data());
    return floats;
  }

 private:
  int32_t vocab() const { return static_cast<int32_t>(model_->config().vocab_size); }

  static Draw draw(int slot, int row, int64_t position) {
    Draw head;
    head.row = row;
    head.sample = true;
    head.num_top = 3;
    head.target = slot;
    head.top_p = 0.9f;
    head.seed = static_cast<uint64_t>(slot);
    head.position = static_cast<uint64_t>(position);
    return head;
  }

  void run(const std::vector<int32_t>& ids, const std::vector<Segment>& segments, int num_decode,
           const std::vector<Draw>& head, const std::vector<int>& slots) {
    const StepView view = {ids.data(), static_cast<int32_t>(ids.size()), segments.data(),
                           static_cast<int32_t>(segments.size()), num_decode};
    std::vector<DrawResult> results;
    model_->wait(model_->submit(view, head), &results);
    for (size_t i = 0; i < slots.size(); ++i) results_[slots[i]].push_back(results[i]);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  int64_t length_[kSlots] = {};
  std::vector<DrawResult> results_[kSlots];
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class DrivenModel : public testing::TestWithParam<std::tuple<const char*, WeightFormat>> {};

// Sequences that come and go among others give the tokens, log-probabilities and states of each
// alone, though steps of 3 and 5 rows are filled up to 4 and 8.
TEST_P(DrivenModel, NeighboursPaddingAndRecordingsChangeNoBit) {
  const auto [name, format] = GetParam();
  const std::string folder = std::string(DELTASERVE_GOLDEN "/") + name;
  Driven together(folder, format, true);
  together.prefill({0, 1, 4});
  for (int i = 0; i < 4; ++i) together.decode({4, 0, 1});
  together.prefill({3, 5});
  for (int i = 0; i < 3; ++i) together.decode({0, 1, 3, 4, 5});
  for (int i = 0; i < 2; ++i) together.decode({1, 5, 0});
  const std::vector<float> stranger = together.state(2);
  for (const float value : stranger) ASSERT_TRUE(std::isnan(value));

  Driven alone(folder, format, false);
  for (const auto& [slot, tokens] :
       {std::pair(0, 9), std::pair(1, 9), std::pair(3, 3), std::pair(4, 7), std::pair(5, 5)}) {
    SCOPED_TRACE(slot);
    alone.prefill({slot});
    for (int i = 0; i < tokens; ++i) alone.decode({slot});
    const auto& a = together.results(slot);
    const auto& b = alone.results(slot);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].token, b[i].token) << i;
      EXPECT_EQ(a[i].logprob, b[i].logprob) << i;
      EXPECT_EQ(a[i].target_logprob, b[i].target_logprob) << i;
      EXPECT_EQ(0, std::memcmp(a[i].top_logprobs, b[i].top_logprobs, sizeof a[i].top_logprobs))
          << i;
    }
    EXPECT_TRUE(same_bits(together.state(slot), alone.state(slot)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, DrivenModel,
                         testing::Values(std::tuple("qdelta", WeightFormat::kAuto),
                                         std::tuple("qdelta", WeightFormat::kBf16),
                                         std::tuple("kda", WeightFormat::kBf16),
                                         std::tuple("mamba2", WeightFormat::kBf16),
                                         std::tuple("precond_gated_deltanet_ccq",
                                                    WeightFormat::kAuto),
                                         std::tuple("gla_ccq", WeightFormat::kBf16),
                                         std::tuple("linear_attn", WeightFormat::kAuto)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) + "_" +
                                  weight_format_name(std::get<1>(test.param));
                         });

}  // namespace
}  // namespace deltaserve
