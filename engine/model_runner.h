// The engine's view of a Model.
#pragma once
#include <cstdint>
#include <span>

#include "engine/step_runner.h"
#include "models/model.h"

namespace deltaserve {

// `model` must outlive the runner.
class ModelRunner final : public StepRunner {
 public:
  explicit ModelRunner(Model* model) : model_(model) {}

  int max_rows() const override;
  int max_sequences() const override;
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
