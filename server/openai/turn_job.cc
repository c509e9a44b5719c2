#include "server/openai/turn_job.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/base/random.h"

namespace deltaserve {
namespace {

TurnBlock::Kind kind_of(AnswerDelta::Kind kind) {
  switch (kind) {
    case AnswerDelta::Kind::kContent: return TurnBlock::Kind::kText;
    case AnswerDelta::Kind::kReasoning: return TurnBlock::Kind::kReasoning;
    default: return TurnBlock::Kind::kCall;
  }
}

class TurnJob final : public AnswerJob {
 public:
  TurnJob(Services& services, TurnRequest request, Arrival arrival)
      : AnswerJob(services, std::move(request.generation), std::move(arrival)),
        format_(std::move(request.format)) {
    turn_.id = id_;
    turn_.created = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  }

  std::optional<ApiError> encode() { return generation_.encode(); }

  State poll(std::string* out) override {
    std::optional<Generation::Part> part = generation_.next();
    turn_.usage = generation_.usage();
    if (part) take(*part, out);
    if (!hold(*out)) out->clear();
    if (generation_.error()) {
      if (streaming()) format_->fail(turn_, error(), out);
      return State::kFailed;
    }
    if (!generation_.done()) return State::kRunning;
    finish(out);
    if (hold(*out)) return State::kDone;
    out->clear();
    return State::kFailed;
  }

 private:
  // Counts the bytes of the answer so far, and those that were written and are still to be sent.
  bool hold(const std::string& out) {
    size_t bytes = out.capacity();
    for (const TurnBlock& block : turn_.blocks) bytes += sizeof block + block.text.capacity();
    return generation_.hold_reply(bytes);
  }

  // Only a streaming job writes events.
  template <class Tell>
  void tell(std::string* out, const Tell& event) {
    if (!streaming()) return;
    if (!std::exchange(begun_, true)) format_->begin(turn_, out);
    event();
  }

  void take(const Generation::Part& part, std::string* out) {
    for (const AnswerDelta& delta : part.deltas) take(delta, out);
    turn_.finish = part.update.finish;
    turn_.stop_string = part.update.stop_string;
  }

  void take(const AnswerDelta& delta, std::string* out) {
    const TurnBlock::Kind kind = kind_of(delta.kind);
    const bool begins =
        delta.kind == AnswerDelta::Kind::kCallBegin || !open_ || turn_.blocks.back().kind != kind;
    if (delta.kind == AnswerDelta::Kind::kCallEnd) return close(out);
    if (begins) {
      close(out);
      TurnBlock& block = turn_.blocks.emplace_back();
      block.kind = kind;
      if (kind == TurnBlock::Kind::kCall) {
        block.call_id = delta.id;
        block.name = delta.text;
      }
      open_ = true;
      tell(out, [&] { format_->begin_block(turn_, turn_.blocks.size() - 1, out); });
      if (kind == TurnBlock::Kind::kCall) return;
    }
    if (delta.text.empty()) return;
    turn_.blocks.back().text.append(delta.text);
    tell(out, [&] { format_->grow_block(turn_, turn_.blocks.size() - 1, delta.text, out); });
  }

  void close(std::string* out) {
    if (!std::exchange(open_, false)) return;
    tell(out, [&] { format_->end_block(turn_, turn_.blocks.size() - 1, out); });
  }

  // An empty answer has one block with an empty text.
  void finish(std::string* out) {
    if (turn_.blocks.empty()) take(AnswerDelta{AnswerDelta::Kind::kContent}, out);
    close(out);
    if (streaming()) {
      tell(out, [&] { format_->end(turn_, out); });
    } else {
      out->append(format_->whole(turn_));
    }
  }

  const std::unique_ptr<TurnFormat> format_;
  Turn turn_;
  bool open_ = false;   // the last block may grow
  bool begun_ = false;  // the first events were written
};

}  // namespace

std::variant<std::unique_ptr<AnswerJob>, ApiError> read_turn(Services& services, ReadTurn read,
                                                             std::string body, Arrival arrival) {
  TurnRequest request;
  if (auto error = read(body, services.model, services.limits, &request)) return *std::move(error);
  std::string().swap(body);  // it may be large, and the ids are made next
  arrival.id = absl::StrFormat("%s%016x%016x", request.id_prefix, random_bits(), random_bits());
  auto job = std::make_unique<TurnJob>(services, std::move(request), std::move(arrival));
  if (auto error = job->encode()) return *std::move(error);
  return job;
}

}  // namespace deltaserve
