#include "engine/loop/model_runner.h"

namespace deltaserve {

ModelRunner::ModelRunner(Model* model, bool poison_slots) : model_(model) {
  constexpr uint8_t kBitsOfNan = 0xff;  // in every float format
  if (poison_slots) poison_.assign(model_->layout().bytes(), kBitsOfNan);
}

int ModelRunner::max_rows() const {
  return model_->limits().max_rows;
}

int ModelRunner::max_sequences() const {
  return model_->limits().max_sequences;
}

int ModelRunner::max_snapshots() const {
  return model_->limits().max_snapshots;
}

int ModelRunner::max_host_snapshots() const {
  return model_->limits().max_host_snapshots;
}

int32_t ModelRunner::vocab_size() const {
  return static_cast<int32_t>(model_->config().vocab_size);
}

const FinalNorm& ModelRunner::final_norm() const {
  return model_->final_norm();
}

int ModelRunner::steps_ahead() const {
  return model_->backend().steps_ahead();
}

Ticket ModelRunner::forward(const Step& step) {
  if (!poison_.empty()) {
    for (const Segment& segment : step.segments) {
      const bool overwrites = segment.position == 0 || segment.read_slot != segment.write_slot;
      if (overwrites) poison(segment.write_slot);
      if (segment.keep_slot >= 0) poison(segment.keep_slot);
    }
  }
  return model_->forward(step);
}

// The source's bytes live as long as the runner, so there is no need to wait for the transfer.
void ModelRunner::poison(int slot) {
  model_->backend().import_slot(slot, poison_.data());
}

void ModelRunner::draw(Ticket ticket, std::span<const Draw> draws) {
  model_->draw(ticket, array_of(draws));
}

void ModelRunner::wait(Ticket ticket, std::span<DrawResult> results) {
  model_->wait(ticket, results.data());
}

void ModelRunner::copy_slot(int from, int to) {
  model_->backend().copy_slot(from, to);
}

void ModelRunner::drop_slots(int first, int count) {
  model_->backend().drop_slots(first, count);
}

void ModelRunner::store_slot(int from, int to) {
  model_->backend().store_slot(from, to);
}

void ModelRunner::load_slot(int from, int to) {
  if (!poison_.empty()) poison(to);
  model_->backend().load_slot(from, to);
}

bool ModelRunner::slot_is_loaded(int slot) {
  return model_->backend().slot_is_loaded(slot);
}

}  // namespace deltaserve
