// A model folder on a backend of its own, run step by step by tests.
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
              WeightFormat format = WeightFormat::kAuto,
              StateFormat state_format = StateFormat::kF32, int max_snapshots = 0)
      : threads_(num_threads), backend_(make_test_backend(&threads_)) {
    absl::StatusOr<ModelFolder> opened = open_model_folder(folder);
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (kind.has_value()) {
      for (LayerConfig& layer : opened->config.layers) layer.mixer.kind = *kind;
    }
    ModelLimits limits;
    limits.max_rows = 512;
    limits.max_sequences = max_sequences;
    limits.max_snapshots = max_snapshots;
    limits.state_format = state_format;
    absl::StatusOr<std::unique_ptr<Model>> loaded =
        Model::load(*opened, backend_.get(), limits, format);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    model_ = *std::move(loaded);
  }

  Model& operator*() { return *model_; }
  Model* operator->() { return model_.get(); }
  int64_t vocab() const { return model_->config().vocab_size; }

  // Runs one step over `segments` with the rows `token_ids`; returns the logits of every row,
  // [rows, vocab].
  std::vector<float> step(const std::vector<int32_t>& token_ids,
                          const std::vector<Segment>& segments) {
    std::vector<float> logits(token_ids.size() * static_cast<size_t>(vocab()));
    std::vector<Draw> draws(token_ids.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      draws[i].row = static_cast<int32_t>(i);
      draws[i].logits = logits.data() + i * static_cast<size_t>(vocab());
    }
    const Ticket ticket = model_->forward({array_of(token_ids), array_of(segments)});
    model_->draw(ticket, array_of(draws));
    std::vector<DrawResult> results(draws.size());
    model_->wait(ticket, results.data());
    return logits;
  }

  // Reads tokens [from, to) of one sequence in a step of its own.
  std::vector<float> prefill(int slot, const std::vector<int32_t>& tokens, int from, int to) {
    return step({tokens.begin() + from, tokens.begin() + to},
                {{RowKind::kPrefill, slot, slot, 0, to - from, from}});
  }
  std::vector<float> decode(int slot, int32_t token, int64_t position) {
    return step({token}, {{RowKind::kDecode, slot, slot, 0, 1, position}});
  }
  std::vector<float> state(int slot) {
    std::vector<float> floats(static_cast<size_t>(model_->layout().floats));
    model_->wait(model_->backend().export_slot(slot, floats.data()), nullptr);
    return floats;
  }

 private:
  ThreadPool threads_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

}  // namespace deltaserve
