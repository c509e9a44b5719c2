// Tests that the fake detects the mistakes it exists to detect.
#include "tests/engine/sequence/fake_runner.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <vector>

namespace deltaserve {
namespace {

Segment prefill(int32_t slot, int32_t num_rows) {
  return {RowKind::kPrefill, slot, slot, 0, num_rows, 0};
}

Segment decode(int32_t slot, int64_t position) {
  return {RowKind::kDecode, slot, slot, 0, 1, position};
}

Ticket forward(FakeRunner& runner, const Segment& segment, const std::vector<int32_t>& tokens) {
  const std::vector<Segment> segments{segment};
  return runner.forward({array_of(tokens), array_of(segments)});
}

Draw draw_of(int32_t row, int32_t slot, uint64_t position) {
  Draw draw;
  draw.row = row;
  draw.slot = slot;
  draw.sample = true;
  draw.position = position;
  return draw;
}

// Finishes a queued step as the contract requires it.
void finish(FakeRunner& runner, Ticket ticket, const std::vector<Draw>& draws) {
  runner.draw(ticket, draws);
  std::vector<DrawResult> results(draws.size());
  runner.wait(ticket, results);
}

// EXPECT_NONFATAL_FAILURE cannot use local variables.
FakeRunner* runner = nullptr;
Ticket ticket;
LogitAdjustment adjustment;

class FakeRunnerTest : public testing::Test {
 protected:
  explicit FakeRunnerTest(int steps_ahead = 0) : runner_(steps_ahead, 512, 4) {
    runner = &runner_;
    ticket = forward(runner_, prefill(0, 2), {'a', 'b'});
  }

  FakeRunner runner_;
};

class FakeRunnerAheadTest : public FakeRunnerTest {
 protected:
  FakeRunnerAheadTest() : FakeRunnerTest(1) {}
};

TEST_F(FakeRunnerTest, TakesATokenThatItDrew) {
  finish(runner_, ticket, {draw_of(1, 0, 2)});
  finish(runner_, forward(runner_, decode(0, 2), {kTokenOfSlot}), {draw_of(0, 0, 3)});
}

TEST_F(FakeRunnerTest, KnowsThatNoTokenWasDrawn) {
  finish(runner_, ticket, {});
  EXPECT_NONFATAL_FAILURE(finish(*runner, forward(*runner, decode(0, 2), {'c'}), {}),
                          "not the token that was drawn");
}

TEST_F(FakeRunnerTest, KnowsThatACopyHasNoToken) {
  runner_.copy_slot(0, 1);
  finish(runner_, ticket, {draw_of(1, 0, 2)});
  EXPECT_NONFATAL_FAILURE(finish(*runner, forward(*runner, decode(1, 2), {'c'}), {}),
                          "not the token that was drawn");
}

TEST_F(FakeRunnerTest, KnowsAWrongToken) {
  finish(runner_, ticket, {draw_of(1, 0, 2)});
  EXPECT_NONFATAL_FAILURE(finish(*runner, forward(*runner, decode(0, 2), {'!'}), {}),
                          "not the token that was drawn");
}

TEST_F(FakeRunnerTest, KnowsAWrongPosition) {
  finish(runner_, ticket, {draw_of(1, 0, 2)});
  EXPECT_NONFATAL_FAILURE(
      finish(*runner, forward(*runner, {RowKind::kPrefill, 0, 0, 0, 1, 64}, {'a'}), {}),
      "segment.position");
}

TEST_F(FakeRunnerTest, KnowsAStepTooFarAhead) {
  runner_.draw(ticket, {});
  EXPECT_NONFATAL_FAILURE(forward(*runner, prefill(1, 1), {'a'}), "too far ahead");
  runner_.wait(ticket, {});
  finish(runner_, {2, 0}, {});
}

TEST_F(FakeRunnerAheadTest, TakesOneStepAhead) {
  runner_.draw(ticket, {});
  const Ticket next = forward(runner_, prefill(1, 1), {'a'});
  runner_.wait(ticket, {});
  finish(runner_, next, {});
}

TEST_F(FakeRunnerAheadTest, KnowsDrawsThatComeTooEarly) {
  runner_.draw(ticket, {});
  const Ticket next = forward(runner_, prefill(1, 1), {'a'});
  static Ticket second;
  second = next;
  EXPECT_NONFATAL_FAILURE(runner->draw(second, {}), "after the step before was waited for");
  runner_.wait(ticket, {});
  runner_.wait(next, {});
}

TEST_F(FakeRunnerAheadTest, KnowsThatADrawsPenaltiesChanged) {
  adjustment = {'a', 1, 2};
  Draw draw = draw_of(1, 0, 2);
  draw.adjustments = &adjustment;
  draw.num_adjustments = 1;
  runner_.draw(ticket, {{draw}});
  adjustment.add = 3;
  static std::vector<DrawResult> results(1);
  EXPECT_NONFATAL_FAILURE(runner->wait(ticket, results), "has changed before wait()");
}

}  // namespace
}  // namespace deltaserve
