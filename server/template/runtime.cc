#include "server/template/runtime.h"

#include <algorithm>
#include <utility>

#include "models/base/cancellation.h"

namespace deltaserve {
namespace {

// Approximate bytes of a shared pointer's block and of a node of a tree.
constexpr size_t kNodeBytes = 32;

int64_t step_limit(const TemplateLimits& limits, size_t input_bytes) {
  const auto most = static_cast<size_t>(limits.total_steps);
  const auto per_byte = static_cast<size_t>(limits.steps_per_input_byte);
  if (per_byte > 0 && input_bytes > most / per_byte) return limits.total_steps;
  return std::min(limits.total_steps, limits.steps + static_cast<int64_t>(per_byte * input_bytes));
}

}  // namespace

Runtime::Runtime(const TemplateLimits& limits, size_t input_bytes,
                 std::function<std::tm()> local_time)
    : limits_(limits),
      memory_limit_(limits.memory_bytes + limits.memory_per_input_byte * input_bytes),
      steps_left_(step_limit(limits, input_bytes)),
      local_time_(std::move(local_time)) {}

Value Runtime::fail_with(absl::StatusCode code, std::string message) {
  if (failed()) return Value();
  const std::string place = line_ > 0 ? str_cat(" line ", line_) : "";
  status_ = absl::Status(code, str_cat("chat template", place, ": ", message));
  return Value();
}

Value Runtime::fail_undefined(const Undefined& missing) {
  if (missing.name == nullptr) {
    if (missing.owner == nullptr) return fail("a value is undefined");
    return fail("a value of type ", missing.owner, " does not have what is asked of it");
  }
  if (missing.owner == nullptr) return fail(quoted(*missing.name), " is undefined");
  return fail("a value of type ", missing.owner, " has no attribute ", quoted(*missing.name));
}

Value Runtime::exceed(std::string_view limit) {
  return fail_with(absl::StatusCode::kResourceExhausted, std::string(limit));
}

Value Runtime::raise(std::string_view message) {
  if (!failed()) {
    size_t size = std::min(message.size(), limits_.message_bytes);
    while (size > 0 && size < message.size() && (message[size] & 0xc0) == 0x80) --size;
    status_ = absl::InvalidArgumentError(as_piece(message.substr(0, size)));
  }
  return Value();
}

bool Runtime::spend(size_t steps) {
  if (failed()) return false;
  if (steps > static_cast<size_t>(steps_left_)) {
    steps_left_ = 0;
    exceed("the template takes too many steps for its variables");
    return false;
  }
  steps_left_ -= static_cast<int64_t>(steps);
  if (const absl::Status status = check_wanted(steps); !status.ok()) {
    status_ = status;
    return false;
  }
  return true;
}

bool Runtime::has_room(size_t bytes) {
  if (failed()) return false;
  if (memory_.live > memory_limit_ || bytes > memory_limit_ - memory_.live) {
    exceed("the template needs too much memory for its variables");
    return false;
  }
  return true;
}

bool Runtime::accept(int depth) {
  if (failed()) return false;
  if (depth > limits_.value_depth) {
    exceed(str_cat("lists and dictionaries are nested deeper than ", limits_.value_depth));
    return false;
  }
  return has_room(0);
}

Value Runtime::text(TaintedText text) {
  auto node = std::make_shared<TextNode>();
  node->text = std::move(text);
  node->charge = MemoryCharge(&memory_, sizeof(TextNode) + kNodeBytes + node->text.heap_bytes());
  return accept(0) ? Value(std::move(node)) : Value();
}

Value Runtime::markup(TaintedText text) {
  Value made = this->text(std::move(text));
  if (TextNode* node = made.unshared_text()) node->is_markup = true;
  return made;
}

void Runtime::recharge(TextNode* node) {
  node->charge.resize(sizeof(TextNode) + kNodeBytes + node->text.heap_bytes());
  accept(0);
}

Value Runtime::sequence(SequenceValue::Type type, std::vector<Value> items, bool trusted) {
  auto node = std::make_shared<SequenceValue>();
  node->type = type;
  for (const Value& item : items) node->depth = deeper(node->depth, item);
  node->charge =
      MemoryCharge(&memory_, sizeof(SequenceValue) + kNodeBytes + items.capacity() * sizeof(Value));
  node->items = std::move(items);
  if (!accept(node->depth)) return Value();
  return Value(std::shared_ptr<const SequenceValue>(std::move(node)), trusted);
}

Value Runtime::group(const Value& key, std::vector<Value> items) {
  auto node = std::make_shared<SequenceValue>();
  node->type = SequenceValue::Type::kTuple;
  node->is_group = true;
  node->items = {key, list(std::move(items))};
  for (const Value& item : node->items) node->depth = deeper(node->depth, item);
  node->charge = MemoryCharge(&memory_, sizeof(SequenceValue) + kNodeBytes + 2 * sizeof(Value));
  if (!accept(node->depth)) return Value();
  return Value(std::shared_ptr<const SequenceValue>(std::move(node)), true);
}

Value Runtime::dict(std::vector<Dict::Entry> entries, bool trusted) {
  auto node = std::make_shared<Dict>();
  node->entries = std::move(entries);
  node->build_index();
  for (const Dict::Entry& entry : node->entries) node->depth = deeper(node->depth, entry.value);
  node->charge = MemoryCharge(&memory_, sizeof(Dict) + kNodeBytes +
                                            node->entries.capacity() * sizeof(Dict::Entry) +
                                            node->sorted.capacity() * sizeof(uint32_t));
  if (!accept(node->depth)) return Value();
  return Value(std::shared_ptr<const Dict>(std::move(node)), trusted);
}

Value Runtime::name_space(std::vector<std::pair<std::string_view, Value>> attributes) {
  const size_t bytes = sizeof(Namespace) + attributes.size() * (sizeof(Dict::Entry) + kNodeBytes);
  if (!can_make(bytes)) return Value();
  Namespace& made = namespaces_.emplace_back();
  made.charge = MemoryCharge(&memory_, bytes);
  for (auto& [name, value] : attributes) made.attributes.insert_or_assign(std::string(name), value);
  return Value(&made);
}

Value Runtime::method(const Value& self, const Builtin* method) {
  auto node = std::make_shared<BoundMethod>();
  node->self = self;
  node->method = method;
  node->charge = MemoryCharge(&memory_, sizeof(BoundMethod) + kNodeBytes);
  if (!accept(self.depth() + 1)) return Value();
  return Value(std::shared_ptr<const BoundMethod>(std::move(node)));
}

Value Runtime::macro(const Macro* macro, std::vector<std::pair<uint32_t, Value>> variables,
                     bool in_scope) {
  auto node = std::make_shared<BoundMacro>();
  node->macro = macro;
  node->in_scope = in_scope;
  int depth = 0;
  for (const auto& [symbol, value] : variables) depth = deeper(depth, value);
  node->charge =
      MemoryCharge(&memory_, sizeof(BoundMacro) + kNodeBytes +
                                 variables.capacity() * (sizeof(Value) + sizeof(uint64_t)));
  node->variables = std::move(variables);
  if (!accept(depth)) return Value();
  return Value(std::shared_ptr<const BoundMacro>(std::move(node)));
}

Value Runtime::cycle(std::vector<Value> items, bool is_joiner) {
  auto node = std::make_shared<Cycle>();
  int depth = 0;
  for (const Value& item : items) depth = deeper(depth, item);
  node->charge =
      MemoryCharge(&memory_, sizeof(Cycle) + kNodeBytes + items.capacity() * sizeof(Value));
  node->items = std::move(items);
  node->is_joiner = is_joiner;
  return accept(depth) ? Value(std::move(node)) : Value();
}

std::shared_ptr<Loop> Runtime::loop(std::shared_ptr<const SequenceValue> items) {
  auto node = std::make_shared<Loop>();
  node->items = std::move(items);
  node->charge = MemoryCharge(&memory_, sizeof(Loop) + kNodeBytes);
  accept(node->items->depth + 1);
  return node;
}

}  // namespace deltaserve
