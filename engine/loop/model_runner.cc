#include "engine/loop/model_runner.h"

namespace deltaserve {

int ModelRunner::max_rows() const {
  return model_->limits().max_rows;
}

int ModelRunner::max_sequences() const {
  return model_->limits().max_sequences;
}

int ModelRunner::max_snapshots() const {
  return model_->limits().max_snapshots;
}

int32_t ModelRunner::vocab_size() const {
  return static_cast<int32_t>(model_->config().vocab_size);
}

int ModelRunner::steps_ahead() const {
  return model_->backend().steps_ahead();
}

Ticket ModelRunner::forward(const Step& step) {
  return model_->forward(step);
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

}  // namespace deltaserve
