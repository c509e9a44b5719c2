#include "kernels/program/step.h"

#include "kernels/base/check.h"

namespace deltaserve {

StepView StepView::of(const Step& step) {
  StepView view;
  view.token_ids = step.tokens.data;
  view.num_rows = static_cast<int32_t>(step.tokens.count);
  view.segments = step.segments.data;
  view.num_segments = static_cast<int32_t>(step.segments.count);
  int32_t next_row = 0;
  for (const Segment& segment : step.segments) {
    DS_CHECK(segment.first_row == next_row && segment.num_rows > 0 && segment.position >= 0);
    next_row += segment.num_rows;
    if (segment.kind != RowKind::kDecode) {
      DS_CHECK(segment.position % kChunkTokens == 0);
      DS_CHECK(segment.keep_slot < 0 || (segment.write_slot >= 0 && kept_rows(segment) > 0));
      continue;
    }
    DS_CHECK(view.num_decode_rows == segment.first_row && segment.keep_slot < 0);
    ++view.num_decode;
    view.num_decode_rows = next_row;
  }
  DS_CHECK(next_row == view.num_rows);
  return view;
}

}  // namespace deltaserve
