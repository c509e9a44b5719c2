// The engine's view of a Model.
#pragma once
#include <cstdint>
#include <vector>

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
  Ticket submit(const StepView& step, const std::vector<Draw>& rows) override;
  void wait(Ticket ticket, std::vector<DrawResult>* results) override;
  void copy_state(int from, int to) override;

 private:
  Model* const model_;
};

}  // namespace deltaserve
