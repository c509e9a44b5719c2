// What every operation on values shares: the budget of a render, its first error, and the makers of
// values, which count memory.
#pragma once
#include <ctime>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/text.h"
#include "server/template/limits.h"
#include "server/template/value.h"

namespace deltaserve {

// After the first error every operation returns undefined and loops end at failed(); the value of a
// failed render is never used.
class Runtime {
 public:
  // `input_bytes` is the size of the variables as limits.h counts it.
  Runtime(const TemplateLimits& limits, size_t input_bytes, std::function<std::tm()> local_time);

  const TemplateLimits& limits() const { return limits_; }
  std::tm local_time() const { return local_time_(); }

  // ---- Errors. They return undefined.
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }
  void at_line(int line) { line_ = line; }
  int line() const { return line_; }
  // INVALID_ARGUMENT with the line of the template.
  template <class... Parts>
  Value fail(const Parts&... parts) {
    return fail_with(absl::StatusCode::kInvalidArgument, str_cat(parts...));
  }
  // Something was asked of a value that is not there.
  Value fail_undefined(const Undefined& missing);
  // RESOURCE_EXHAUSTED with the line of the template.
  Value exceed(std::string_view limit);
  // INVALID_ARGUMENT with exactly this message.
  Value raise(std::string_view message);

  // ---- Budget. False, and failed(), where it does not suffice.
  bool spend(size_t steps);
  bool spend_bytes(size_t bytes) { return spend(1 + bytes / limits_.bytes_per_step); }
  // There is memory for `bytes` more.
  bool has_room(size_t bytes);
  // For work that makes `bytes` of new text or values: asks for the memory and spends the time.
  bool can_make(size_t bytes) { return has_room(bytes) && spend_bytes(bytes); }
  MemoryCount* memory() { return &memory_; }

  // ---- Values.
  Value text(TaintedText text);
  Value text(std::string_view bytes, bool trusted) {
    return this->text({std::string(bytes), trusted});
  }
  Value sequence(Sequence::Type type, std::vector<Value> items, bool trusted = false);
  Value list(std::vector<Value> items) { return sequence(Sequence::Type::kList, std::move(items)); }
  Value generator(std::vector<Value> items) {
    return sequence(Sequence::Type::kGenerator, std::move(items));
  }
  // Keys are texts; see Dict::build_index about equal ones.
  Value dict(std::vector<Dict::Entry> entries, bool trusted = false);
  Value name_space(std::vector<std::pair<std::string_view, Value>> attributes);
  Value method(const Value& self, const Builtin* method);
  std::shared_ptr<Loop> loop(std::shared_ptr<const Sequence> items);
  // The text of `value` grew in place.
  void recharge(TextNode* node);

 private:
  Value fail_with(absl::StatusCode code, std::string message);
  // `depth` of a new container around `value`.
  static int deeper(int depth, const Value& value) { return std::max(depth, value.depth() + 1); }
  // False, and failed(), when a new value is beyond the limits.
  bool accept(int depth);

  const TemplateLimits limits_;
  const size_t memory_limit_;
  int64_t steps_left_;
  const std::function<std::tm()> local_time_;
  int line_ = 0;
  absl::Status status_;
  MemoryCount memory_;
  std::deque<Namespace> namespaces_;
};

}  // namespace deltaserve
