// A CUDA module without CUDA that serves: it refuses what the CUDA backend refuses, computes
// nothing, and draws kRecordedToken every time.
#include <memory>
#include <string>

#include "kernels/cuda/program/backend.h"
#include "kernels/cuda/program/refusal.h"
#include "tests/kernels/module/recorded_module.h"

namespace deltaserve {
namespace {

class PretendedBackend : public Backend {
 public:
  int64_t free_memory() const override { return 0; }
  std::string refusal(const Program& program, const Limits& limits) const override {
    return cuda::refusal_of(program, limits);
  }
  std::string load(const Program&, const Limits&) override { return ""; }
  Ticket forward(const Step&) override { return {++steps_, 0}; }
  void draw(Ticket ticket, Array<Draw> draws) override {
    num_draws_[ticket.step % 2] = draws.count;
  }
  void wait(Ticket ticket, DrawResult* results) override {
    if (ticket.transfer > 0) return;
    for (int64_t i = 0; i < num_draws_[ticket.step % 2]; ++i) {
      results[i] = {};
      results[i].token = kRecordedToken;
    }
  }
  int steps_ahead() const override { return 1; }
  void copy_slot(int, int) override {}
  Ticket export_slot(int, void*) override { return {0, ++transfers_}; }
  Ticket import_slot(int, const void*) override { return {0, ++transfers_}; }
  void store_slot(int, int) override {}
  void load_slot(int, int) override {}
  bool slot_is_loaded(int) override { return true; }
  std::string description() const override { return "a backend that pretends to compute"; }
  Memory memory() const override { return {}; }

 private:
  uint64_t steps_ = 0;
  uint64_t transfers_ = 0;
  int64_t num_draws_[2] = {};  // of the steps under way
};

}  // namespace

std::unique_ptr<Backend> cuda::make_cuda_backend(std::unique_ptr<Runtime>, const BackendOptions&) {
  return std::make_unique<PretendedBackend>();
}

}  // namespace deltaserve
