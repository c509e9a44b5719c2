// A model folder on a backend of its own, driven step by step, for tests.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "models/model.h"
#include "tests/models/test_backend.h"

namespace deltaserve {

class LoadedModel {
 public:
  LoadedModel(const std::string& folder, int num_threads, int max_sequences = 8,
              std::optional<MixerKind> kind = std::nullopt,
              WeightFormat format = WeightFormat::kAuto, Dtype state_dtype = Dtype::kF32)
      : threads_(num_threads), backend_(make_test_backend(&threads_)) {
    absl::StatusOr<ModelFolder> opened = open_model_folder(folder);
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (kind.has_value()) opened->config.mixer.kind = *kind;
    ModelLimits limits;
    limits.max_rows = 512;
    limits.max_sequences = max_sequences;
    limits.state_dtype = state_dtype;
    absl::StatusOr<std::unique_ptr<Model>> loaded =
        Model::load(*opened, backend_.get(), limits, format);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    model_ = *std::move(loaded);
  }

  Model& operator*() { return *model_; }
  Model* operator->() { return model_.get(); }
  int64_t vocab() const { return model_->config().vocab_size; }

  // One step over `segments`, whose rows are `token_ids`; the logits of every row, [rows, vocab].
  std::vector<float> step(const std::vector<int32_t>& token_ids,
                          const std::vector<Segment>& segments, int num_decode) {
    std::vector<float> logits(token_ids.size() * static_cast<size_t>(vocab()));
    std::vector<Draw> rows(token_ids.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].row = static_cast<int32_t>(i);
      rows[i].logits = logits.data() + i * static_cast<size_t>(vocab());
    }
    const StepView view = {token_ids.data(), static_cast<int32_t>(token_ids.size()),
                           segments.data(), static_cast<int32_t>(segments.size()), num_decode};
    std::vector<DrawResult> results(rows.size());
    model_->wait(model_->submit(view, rows), &results);
    return logits;
  }

  // Reads tokens [from, to) of one sequence in a step of its own.
  std::vector<float> prefill(int slot, const std::vector<int32_t>& tokens, int from, int to) {
    return step({tokens.begin() + from, tokens.begin() + to}, {{slot, slot, 0, to - from, from}},
                0);
  }
  std::vector<float> decode(int slot, int32_t token, int64_t position) {
    return step({token}, {{slot, slot, 0, 1, position}}, 1);
  }
  std::vector<float> state(int slot) {
    std::vector<float> floats(static_cast<size_t>(model_->layout().floats));
    model_->backend().export_state(slot, floats.data());
    return floats;
  }

 private:
  ThreadPool threads_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

}  // namespace deltaserve
