// A StepRunner that runs the steps of the engine on a Model.
#pragma once
#include <cstdint>
#include <span>

#include "engine/step/step_runner.h"
#include "models/model.h"

namespace deltaserve {

// Runs steps on `model`, which must outlive the runner. Thread safety: as for Model.
class ModelRunner final : public StepRunner {
 public:
  explicit ModelRunner(Model* model) : model_(model) {}

  int max_rows() const override;
  int max_sequences() const override;
  int max_snapshots() const override;
  int32_t vocab_size() const override;
  int steps_ahead() const override;
  Ticket forward(const Step& step) override;
  void draw(Ticket ticket, std::span<const Draw> draws) override;
  void wait(Ticket ticket, std::span<DrawResult> results) override;
  void copy_slot(int from, int to) override;

 private:
  Model* const model_;
};

}  // namespace deltaserve
