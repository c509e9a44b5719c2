#include "engine/model_runner.h"

namespace deltaserve {

int ModelRunner::max_rows() const {
  return model_->limits().max_rows;
}

int ModelRunner::max_sequences() const {
  return model_->limits().max_sequences;
}

int32_t ModelRunner::vocab_size() const {
  return static_cast<int32_t>(model_->config().vocab_size);
}

Ticket ModelRunner::submit(const StepView& step, const std::vector<Draw>& rows) {
  return model_->submit(step, rows);
}

void ModelRunner::wait(Ticket ticket, std::vector<DrawResult>* results) {
  model_->wait(ticket, results);
}

void ModelRunner::copy_state(int from, int to) {
  model_->backend().copy_state(from, to);
}

}  // namespace deltaserve
