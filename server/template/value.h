// The values of a template, which behave like Python's. All except namespaces, loops and the
// counters of cycler() and joiner() are immutable and shared; a namespace belongs to its render, so
// that values form no cycles.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "server/template/memory_charge.h"
#include "server/template/tainted_text.h"

namespace deltaserve {

struct BigNode;
struct BoundMacro;
struct BoundMethod;
struct Builtin;
struct Cycle;
struct Dict;
struct For;
struct Loop;
struct Macro;
struct Namespace;
struct SequenceValue;

struct TextNode {
  TaintedText text;
  bool is_markup = false;  // escape or safe made it: a text that is added to it is escaped first
  MemoryCharge charge;
};

// A value that does not exist, and its name in errors: "'<name>' is undefined", or "'<owner>
// object' has no attribute '<name>'". The name belongs to the template.
struct Undefined {
  const std::string* name = nullptr;
  const char* owner = nullptr;
};

struct None {};

// An integer that 64 bits with a sign cannot hold.
using BigInteger = std::shared_ptr<const BigNode>;

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<TextNode>,
                            std::shared_ptr<const SequenceValue>, std::shared_ptr<const Dict>,
                            Namespace*, const Builtin*, std::shared_ptr<const BoundMacro>,
                            std::shared_ptr<const BoundMethod>, std::shared_ptr<Loop>,
                            std::shared_ptr<Cycle>, BigInteger>;

  Value() = default;  // undefined
  // `trusted` applies to the characters that the value itself prints: digits, "True", a list's
  // commas. A text has the trust of its own bytes.
  explicit Value(Data data, bool trusted = false) : data_(std::move(data)), trusted_(trusted) {}

  static Value none() { return Value(None{}); }
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value, bool trusted = false) { return Value(value, trusted); }
  static Value real(double value, bool trusted = false) { return Value(value, trusted); }

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_text() const { return is<std::shared_ptr<TextNode>>(); }
  bool is_markup() const { return is_text() && (*as<std::shared_ptr<TextNode>>())->is_markup; }
  bool is_number() const { return is<int64_t>() || is<double>() || is<bool>() || is<BigInteger>(); }
  // Returns null if the value is of another kind.
  const TaintedText* text() const;
  const SequenceValue* sequence() const;
  const Dict* dict() const;
  // Returns the text's node if nothing else refers to it, so that it may be extended in place.
  TextNode* unshared_text();

  bool trusted() const { return trusted_; }
  const Data& data() const { return data_; }
  // Returns the nesting of lists, dictionaries and the like; 0 for a plain value.
  int depth() const;
  // Returns Python's name of the type: "str", "list", ...
  const char* type_name() const;

 private:
  Data data_;
  bool trusted_ = false;
};

struct SequenceValue {
  enum class Type : uint8_t { kList, kTuple, kRange, kGenerator, kKeys, kValues, kItems };
  Type type = Type::kList;
  std::vector<Value> items;
  int depth = 1;
  bool is_group = false;          // a pair that groupby made, with the attributes grouper and list
  mutable bool consumed = false;  // for a generator, which is empty when it is iterated again
  MemoryCharge charge;
};

// Orders the keys of dictionaries: numbers (1, 1.0 and true are equal), texts, none, tuples.
int compare_keys(const Value& a, const Value& b);
// Returns true for values that can be keys.
bool can_be_key(const Value& value);

// A dictionary that keeps insertion order. Keys are unique.
struct Dict {
  struct Entry {
    Value key;
    Value value;
  };
  std::vector<Entry> entries;
  std::vector<uint32_t> sorted;  // entries by key, if a search from the front would be slow
  int depth = 1;
  MemoryCharge charge;

  // Returns null if there is no such key.
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  // Sorts the keys for find(). Among entries with equal keys the first place and the last value
  // remain.
  void build_index();
};

struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
  MemoryCharge charge;
};

struct BoundMethod {
  Value self;
  const Builtin* method = nullptr;
  MemoryCharge charge;
};

// A macro with the variables that it sees where it is defined.
struct BoundMacro {
  const Macro* macro = nullptr;
  std::vector<std::pair<uint32_t, Value>> variables;  // by symbol
  bool in_scope = false;                              // it is defined inside a scope
  MemoryCharge charge;
};

struct Loop {
  std::shared_ptr<const SequenceValue> items;
  size_t index = 0;
  int depth0 = 0;  // how many loops of the same `recursive` statement are around this one
  // The statement, for `recursive` loops; null for others and after the loop.
  const For* statement = nullptr;
  std::vector<Value> changed;  // the arguments of the last loop.changed()
  MemoryCharge charge;
};

// The object that cycler() and joiner() return.
struct Cycle {
  std::vector<Value> items;  // of a joiner: the text between items
  size_t index = 0;
  bool is_joiner = false;
  MemoryCharge charge;
};

}  // namespace deltaserve
