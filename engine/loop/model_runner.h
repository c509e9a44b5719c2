// A StepRunner that runs the steps of the engine on a Model.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/step/step_runner.h"
#include "models/model.h"

namespace deltaserve {

#ifdef NDEBUG
inline constexpr bool kPoisonSlots = false;
#else
inline constexpr bool kPoisonSlots = true;
#endif

// Runs steps on `model`, which must outlive the runner. Thread safety: as for Model.
class ModelRunner final : public StepRunner {
 public:
  // With `poison_slots`, every slot that a step must not read is filled with NaN before the step
  // writes it: an answer that depended on its old contents would change.
  explicit ModelRunner(Model* model, bool poison_slots = kPoisonSlots);

  int max_rows() const override;
  int max_sequences() const override;
  int max_snapshots() const override;
  int max_host_snapshots() const override;
  int32_t vocab_size() const override;
  const FinalNorm& final_norm() const override;
  int steps_ahead() const override;
  Ticket forward(const Step& step) override;
  void draw(Ticket ticket, std::span<const Draw> draws) override;
  void wait(Ticket ticket, std::span<DrawResult> results) override;
  void copy_slot(int from, int to) override;
  void drop_slots(int first, int count) override;
  void store_slot(int from, int to) override;
  void load_slot(int from, int to) override;
  bool slot_is_loaded(int slot) override;

 private:
  void poison(int slot);

  Model* const model_;
  std::vector<uint8_t> poison_;  // [slot bytes]; empty = slots are left as they are
};

}  // namespace deltaserve
