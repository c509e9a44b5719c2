// Golden models on the emulated GPU as an engine drives them: decode steps of changing sizes,
// queued ahead, drawn on the device, launched one by one or as a graph. Their logits:
// tests/models/golden_test.cc.
#include "models/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cuda/program/backend.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "kernels/cuda/self_test/layer_self_test.h"
#include "tests/models/golden_folders.h"

namespace deltaserve {
namespace {

constexpr int kSlots = 6;
constexpr int kPrompt = 5;

// A model, and sequences of tokens that it has drawn. Where `ahead`, every step but the first is
// queued before the one in front of it is waited for, and its tokens are those of the slots.
class Driven {
 public:
  Driven(const std::string& folder, WeightFormat format, bool graphs, bool ahead) : ahead_(ahead) {
    std::string error;
    cuda::BackendOptions options;
    options.graphs = graphs;
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
    for (int slot = 0; slot < kSlots; ++slot) {
      backend_->wait(backend_->import_slot(slot, poison.data()), nullptr);
    }
  }

  // Reads a prompt of its own for each slot, all in one step.
  void prefill(const std::vector<int>& slots) {
    std::vector<int32_t> ids;
    std::vector<Segment> segments;
    std::vector<Draw> draws;
    for (const int slot : slots) {
      segments.push_back(
          {RowKind::kPrefill, slot, slot, static_cast<int32_t>(ids.size()), kPrompt, 0});
      for (int i = 0; i < kPrompt; ++i) ids.push_back((slot * 7 + i * 3) % vocab());
      draws.push_back(draw(slot, static_cast<int>(ids.size()) - 1, kPrompt));
      length_[slot] = kPrompt;
    }
    run(ids, segments, draws, slots);
  }
  // Decodes a token of each slot.
  void decode(const std::vector<int>& slots) {
    std::vector<int32_t> ids;
    std::vector<Segment> segments;
    std::vector<Draw> draws;
    for (const int slot : slots) {
      const auto row = static_cast<int32_t>(ids.size());
      ids.push_back(ahead_ ? kTokenOfSlot : results_[slot].back().token);
      segments.push_back({RowKind::kDecode, slot, slot, row, 1, length_[slot]++});
      draws.push_back(draw(slot, row, length_[slot]));
    }
    run(ids, segments, draws, slots);
  }
  // Waits for the last step.
  void finish() {
    if (under_way_.empty()) return;
    std::vector<DrawResult> results(under_way_.size());
    backend_->wait(ticket_, results.data());
    for (size_t i = 0; i < under_way_.size(); ++i) results_[under_way_[i]].push_back(results[i]);
    under_way_.clear();
  }

  const std::vector<DrawResult>& results(int slot) const { return results_[slot]; }
  std::vector<float> state(int slot) {
    std::vector<float> floats(static_cast<size_t>(model_->layout().floats));
    backend_->wait(backend_->export_slot(slot, floats.data()), nullptr);
    return floats;
  }

 private:
  int32_t vocab() const { return static_cast<int32_t>(model_->config().vocab_size); }

  static Draw draw(int slot, int row, int64_t position) {
    Draw draw;
    draw.row = row;
    draw.slot = slot;
    draw.sample = true;
    draw.num_top = 3;
    draw.target = slot;
    draw.top_p = 0.9f;
    draw.seed = static_cast<uint64_t>(slot);
    draw.position = static_cast<uint64_t>(position);
    return draw;
  }

  void run(const std::vector<int32_t>& ids, const std::vector<Segment>& segments,
           const std::vector<Draw>& draws, const std::vector<int>& slots) {
    const Ticket ticket = model_->forward({array_of(ids), array_of(segments)});
    finish();
    model_->draw(ticket, array_of(draws));
    ticket_ = ticket;
    under_way_ = slots;
    if (!ahead_) finish();
  }

  bool ahead_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  Ticket ticket_;               // of the step under way
  std::vector<int> under_way_;  // its slots
  int64_t length_[kSlots] = {};
  std::vector<DrawResult> results_[kSlots];
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class DrivenModel : public testing::TestWithParam<std::tuple<const char*, WeightFormat>> {};

// Sequences that come and go among others give the tokens, log-probabilities and states of each
// alone, though steps of 3 and 5 rows are filled up to 4 and 8.
TEST_P(DrivenModel, NeighboursPaddingGraphsAndStepsAheadChangeNoBit) {
  const auto [name, format] = GetParam();
  const std::string folder = std::string(DELTASERVE_GOLDEN "/") + name;
  Driven together(folder, format, true, true);
  together.prefill({0, 1, 4});
  for (int i = 0; i < 4; ++i) together.decode({4, 0, 1});
  together.prefill({3, 5});
  for (int i = 0; i < 3; ++i) together.decode({0, 1, 3, 4, 5});
  for (int i = 0; i < 2; ++i) together.decode({1, 5, 0});
  together.finish();
  const std::vector<float> stranger = together.state(2);
  for (const float value : stranger) ASSERT_TRUE(std::isnan(value));

  Driven alone(folder, format, false, false);
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

INSTANTIATE_TEST_SUITE_P(
    All, DrivenModel,
    testing::Values(
        std::tuple("qdelta", WeightFormat::kAuto), std::tuple("qdelta", WeightFormat::kBf16),
        std::tuple("qdelta_heads_128", WeightFormat::kBf16),
        std::tuple("gated_deltanet_heads_256", WeightFormat::kBf16),
        std::tuple("kda", WeightFormat::kBf16), std::tuple("mamba2", WeightFormat::kBf16),
        std::tuple("precond_gated_deltanet_ccq", WeightFormat::kAuto),
        std::tuple("gla_ccq", WeightFormat::kBf16), std::tuple("linear_attn", WeightFormat::kAuto)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param)) + "_" +
             weight_format_name(std::get<1>(test.param));
    });

// These models are there so that the fast kernels are seen in whole models. Where a change of those
// kernels or of the models takes one off, it is found here.
TEST(LargeHeads, TakeEveryFastKernel) {
  std::string error;
  const std::unique_ptr<cuda::Runtime> runtime = cuda::Runtime::create(&error);
  // A released Q-Delta has operands of its own inside a chunk, which are no images.
  for (const auto& [name, images] :
       {std::pair("qdelta_heads_128", false), std::pair("gated_deltanet_heads_256", true)}) {
    const auto opened = open_model_folder(std::string(DELTASERVE_GOLDEN "/") + name);
    ASSERT_TRUE(opened.ok()) << opened.status();
    for (const LayerConfig& layer : opened->config.layers) {
      std::string warning;
      const cuda::LayerPaths paths =
          cuda::self_test_paths(*runtime, layer.mixer, StateFormat::kF32, &warning);
      EXPECT_EQ(warning, "") << name;
      EXPECT_TRUE(paths.one_launch_decode) << name;
      EXPECT_EQ(paths.prefill, cuda::PrefillPath::kTensor) << name;
      EXPECT_EQ(cuda::has_image_prefill(layer.mixer), images) << name;
    }
  }
}

}  // namespace
}  // namespace deltaserve
