#include "engine/grammar/stack_walker.h"

#include <algorithm>

#include "engine/grammar/limits.h"

namespace deltaserve::grammar {
namespace {

void add_distinct(const Stack& stack, std::vector<Stack>* out, size_t begin) {
  if (out->size() - begin >= grammar_limits::kStacks) return;
  if (std::find(out->begin() + begin, out->end(), stack) == out->end()) out->push_back(stack);
}

}  // namespace

bool StackWalker::fits(uint32_t depth, uint32_t need) {
  reach_ = std::max(reach_, depth + need);
  return depth + need <= grammar_limits::kStackDepth;
}

void StackWalker::step(const Stack& stack, uint8_t byte, uint32_t base, std::vector<Stack>* out,
                       size_t begin) {
  entered_.assign(1, stack);
  for (size_t i = 0; i < entered_.size(); ++i) {
    Stack next = entered_[i];
    next.state = grammar_.next(entered_[i].state, byte);
    if (next.state != kNoState && fits(arena_->depth(next.parent) + 1, grammar_.need(next.state))) {
      if (grammar_.in_unique_key(next.state) && keys_ == Keys::kCompare) {
        next.note = key_hash(next.note, byte);
      }
      if (arrive(&next)) land(next, base, out, begin);
    }
    enter_calls(Stack(entered_[i]), byte);
  }
}

void StackWalker::enter_calls(const Stack& stack, uint8_t byte) {
  for (const Pushdown::Call& call : grammar_.calls(stack.state)) {
    if (!grammar_.first(call.rule)[byte]) continue;
    const uint32_t depth = arena_->depth(stack.parent) + 1;
    if (!may_enter(stack, call, depth)) continue;
    if (call.is_tail) {
      if (!fits(depth, call.entry_need)) continue;
      entered_.push_back({call.entry, stack.parent, 0});
    } else {
      if (!fits(depth, grammar_.need(call.resume)) || !fits(depth + 1, call.entry_need)) continue;
      entered_.push_back({call.entry, arena_->push({call.resume, stack.parent, stack.note}), 0});
    }
  }
}

bool StackWalker::may_enter(const Stack& stack, const Pushdown::Call& call, uint32_t depth) {
  const RuleMemory& memory = grammar_.memory();
  const RuleMemory::Kind kind = memory.kind(stack.state);
  if (kind == RuleMemory::Kind::kNone || kind == RuleMemory::Kind::kFiniteKey) return true;
  if (kind == RuleMemory::Kind::kCount) {
    uint64_t arrived = 0;
    return memory.arrive_counting(call.resume, stack.note, &arrived);
  }
  const bool is_member = memory.mark(call.resume) != 0;
  const bool is_other = grammar_.in_unique_key(call.entry) && memory.limits_others(stack.state);
  if (!is_member && !is_other) return true;
  if (keys_ == Keys::kIgnore) {
    touched_key_ = true;
    return true;
  }
  const auto list = static_cast<uint32_t>(stack.note);
  if (is_other) return memory.admits_other(grammar_, stack.state, list, arena_);
  return memory.admits(call.resume, list, depth, arena_);
}

bool StackWalker::arrive(Stack* stack) {
  const RuleMemory& memory = grammar_.memory();
  switch (memory.kind(stack->state)) {
    case RuleMemory::Kind::kNone: return true;
    case RuleMemory::Kind::kCount:
      return memory.arrive_counting(stack->state, stack->note, &stack->note);
    case RuleMemory::Kind::kMembers: return arrive_at_member(stack);
    case RuleMemory::Kind::kFiniteKey: return arrive_in_key(*stack);
  }
  return true;
}

bool StackWalker::arrive_at_member(Stack* stack) {
  const RuleMemory& memory = grammar_.memory();
  const uint32_t mark = memory.mark(stack->state);
  if (mark == 0 && memory.always_goes_on(stack->state)) return true;
  if (keys_ == Keys::kIgnore) {
    touched_key_ = true;
    return true;
  }
  const auto list = static_cast<uint32_t>(stack->note);
  const uint32_t depth = arena_->depth(stack->parent) + 1;
  if (mark == 0) return memory.goes_on(grammar_, stack->state, list, depth, arena_);
  if (!memory.admits(stack->state, list, depth, arena_)) return false;
  stack->note = arena_->add_key(list, RuleMemory::entry_of(mark));
  return true;
}

bool StackWalker::arrive_in_key(const Stack& stack) {
  if (keys_ == Keys::kIgnore) {
    touched_key_ = true;
    return true;
  }
  const auto list = static_cast<uint32_t>(arena_->frame(stack.parent).note);
  return grammar_.memory().has_key_left(grammar_, stack.state, stack.note, list, arena_);
}

// Returns the stack of a frame whose call has ended.
Stack StackWalker::resumed(uint32_t frame) {
  Stack stack = arena_->frame(frame);
  const RuleMemory::Kind kind = grammar_.memory().kind(stack.state);
  const bool has_mark = grammar_.memory().mark(stack.state) != 0;
  // The mark may be passed: that was checked before the call.
  if (kind != RuleMemory::Kind::kNone && has_mark) arrive(&stack);
  return stack;
}

void StackWalker::land(Stack stack, uint32_t base, std::vector<Stack>* out, size_t begin) {
  while (true) {
    if (grammar_.goes_on(stack.state)) add_distinct(stack, out, begin);
    if (!grammar_.accepting(stack.state)) return;
    const bool leaves = stack.parent == base;
    uint32_t frame = stack.parent;
    if (grammar_.in_unique_key(stack.state)) {
      touched_key_ = true;
      if (keys_ == Keys::kCompare) frame = frame_with_key(frame, stack.note);
      if (frame == StackArena::kRefused) return;
    }
    if (leaves) {
      if (std::find(exits_.begin(), exits_.end(), frame) == exits_.end()) exits_.push_back(frame);
      return;
    }
    stack = resumed(frame);
  }
}

uint32_t StackWalker::frame_with_key(uint32_t frame, uint64_t hash) {
  Stack stack = arena_->frame(frame);
  const uint32_t keys = arena_->add_key(static_cast<uint32_t>(stack.note), hash);
  if (keys == StackArena::kRefused) return StackArena::kRefused;
  stack.note = keys;
  return arena_->push(stack);
}

bool StackWalker::read(const Stack& stack, std::string_view bytes, Result* result) {
  accepted_ = false;
  pending_.assign(1, {stack, 0});
  return read_pending(bytes, result);
}

bool StackWalker::read_after(uint32_t frame, std::string_view bytes, Result* result) {
  accepted_ = false;
  pending_.clear();
  leave_rule(frame, 0, bytes, result);
  return read_pending(bytes, result);
}

bool StackWalker::read_pending(std::string_view bytes, Result* result) {
  for (size_t i = 0; i < pending_.size(); ++i) {
    const uint32_t base = pending_[i].stack.parent;
    now_.assign(1, pending_[i].stack);
    for (size_t at = pending_[i].offset; at < bytes.size() && !now_.empty(); ++at) {
      next_.clear();
      clear_exits();
      for (const Stack& stack : now_) {
        step(stack, static_cast<uint8_t>(bytes[at]), base, &next_, 0);
      }
      for (const uint32_t frame : exits_) leave_rule(frame, at + 1, bytes, result);
      now_.swap(next_);
    }
    accepted_ = accepted_ || !now_.empty();
    if (result == nullptr) {
      if (accepted_) return true;
    } else {
      for (const Stack& stack : now_) add_distinct(stack, &result->stacks, 0);
    }
  }
  return accepted_;
}

void StackWalker::leave_rule(uint32_t frame, size_t offset, std::string_view bytes,
                             Result* result) {
  const bool at_end = offset == bytes.size();
  while (frame != StackArena::kBottom) {
    const Stack stack = resumed(frame);
    if (grammar_.goes_on(stack.state)) {
      if (at_end) {
        accepted_ = true;
        if (result != nullptr) add_distinct(stack, &result->stacks, 0);
      } else {
        add_pending({stack, offset});
      }
    }
    if (!grammar_.accepting(stack.state)) return;
    frame = stack.parent;
  }
  if (at_end) {
    accepted_ = true;
    if (result != nullptr) result->complete = true;
  }
}

void StackWalker::add_pending(const Pending& pending) {
  if (std::find(pending_.begin(), pending_.end(), pending) == pending_.end()) {
    pending_.push_back(pending);
  }
}

}  // namespace deltaserve::grammar
