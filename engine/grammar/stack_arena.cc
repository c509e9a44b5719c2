#include "engine/grammar/stack_arena.h"

#include <algorithm>

namespace deltaserve::grammar {
namespace {

constexpr uint32_t kNoFrame = ~uint32_t{0};
// A longer list of keys is searched through its sorted copy.
constexpr size_t kShortList = 32;

}  // namespace

StackArena::StackArena(uint32_t bottom_depth) : buckets_(16, kNoFrame), keys_(1) {
  frames_.push_back({{kNoState, kBottom, 0}, bottom_depth, kNoFrame});
}

size_t StackArena::bucket_of(const Stack& stack) const {
  const uint64_t mixed =
      (stack.note * 31 + stack.parent) * 0x9E3779B97F4A7C15u + stack.state * 0xC2B2AE3D27D4EB4Fu;
  return (mixed >> 32) & (buckets_.size() - 1);
}

void StackArena::link(uint32_t id) {
  uint32_t& bucket = buckets_[bucket_of(frames_[id].stack)];
  frames_[id].next_in_bucket = bucket;
  bucket = id;
}

void StackArena::grow_buckets() {
  buckets_.assign(buckets_.size() * 2, kNoFrame);
  for (uint32_t id = 1; id < frames_.size(); ++id) link(id);
}

uint32_t StackArena::push(const Stack& stack) {
  for (uint32_t id = buckets_[bucket_of(stack)]; id != kNoFrame; id = frames_[id].next_in_bucket) {
    if (frames_[id].stack == stack) return id;
  }
  const auto id = static_cast<uint32_t>(frames_.size());
  frames_.push_back({stack, frames_[stack.parent].depth + 1, kNoFrame});
  if (frames_.size() > buckets_.size()) {
    grow_buckets();
  } else {
    link(id);
  }
  return id;
}

bool StackArena::has_key(uint32_t keys, uint64_t hash) {
  size_t steps = 0;
  for (uint32_t list = keys; list != kNoKeys; list = keys_[list].previous) {
    if (list == sorted_list_) return std::binary_search(sorted_.begin(), sorted_.end(), hash);
    if (keys_[list].hash == hash) return true;
    ++steps;
  }
  if (steps > kShortList) {
    sorted_.clear();
    for (uint32_t list = keys; list != kNoKeys; list = keys_[list].previous) {
      sorted_.push_back(keys_[list].hash);
    }
    std::sort(sorted_.begin(), sorted_.end());
    sorted_list_ = keys;
  }
  return false;
}

uint32_t StackArena::add_key(uint32_t keys, uint64_t hash) {
  if (has_key(keys, hash)) return kRefused;
  keys_.push_back({hash, keys, keys_[keys].count + 1});
  return static_cast<uint32_t>(keys_.size() - 1);
}

void StackArena::rewind(const Mark& mark) {
  while (frames_.size() > mark.frames) {
    buckets_[bucket_of(frames_.back().stack)] = frames_.back().next_in_bucket;
    frames_.pop_back();
  }
  keys_.resize(mark.keys);
  if (sorted_list_ >= mark.keys) sorted_list_ = kNoKeys;
}

void StackArena::compact(const Pushdown& grammar, std::vector<Stack>* live) {
  if (frames_.size() + keys_.size() < compact_at_) return;
  std::vector<uint32_t> frame_ids(frames_.size(), 0);  // 1: live, later the new id
  std::vector<uint32_t> key_ids(keys_.size(), 0);
  const auto mark_stack = [&](const Stack& stack) {
    frame_ids[stack.parent] = 1;
    if (grammar.has_list(stack.state)) key_ids[stack.note] = 1;
  };
  for (const Stack& stack : *live) mark_stack(stack);
  for (size_t id = frames_.size() - 1; id > kBottom; --id) {  // parents come before their children
    if (frame_ids[id] != 0) mark_stack(frames_[id].stack);
  }
  for (size_t id = keys_.size() - 1; id > kNoKeys; --id) {
    if (key_ids[id] != 0) key_ids[keys_[id].previous] = 1;
  }

  StackArena compacted(frames_[kBottom].depth);
  key_ids[kNoKeys] = kNoKeys;
  for (size_t id = 1; id < keys_.size(); ++id) {
    if (key_ids[id] == 0) continue;
    compacted.keys_.push_back({keys_[id].hash, key_ids[keys_[id].previous], keys_[id].count});
    key_ids[id] = static_cast<uint32_t>(compacted.keys_.size() - 1);
  }
  frame_ids[kBottom] = kBottom;
  const auto renamed = [&](Stack stack) {
    stack.parent = frame_ids[stack.parent];
    if (grammar.has_list(stack.state)) stack.note = key_ids[stack.note];
    return stack;
  };
  for (size_t id = 1; id < frames_.size(); ++id) {
    if (frame_ids[id] != 0) frame_ids[id] = compacted.push(renamed(frames_[id].stack));
  }
  for (Stack& stack : *live) stack = renamed(stack);
  compacted.compact_at_ =
      std::max<size_t>(1024, 2 * (compacted.frames_.size() + compacted.keys_.size()));
  *this = std::move(compacted);
}

}  // namespace deltaserve::grammar
