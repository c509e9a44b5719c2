// The values of a template: Python's, as far as templates see them. All except namespaces and loops
// are immutable and shared; a namespace belongs to its render, so that values form no cycles.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/template/memory_charge.h"
#include "server/template/tainted_text.h"

namespace deltaserve {

struct BoundMethod;
struct Builtin;
struct Dict;
struct Loop;
struct Macro;
struct Namespace;
struct Sequence;

struct TextNode {
  TaintedText text;
  MemoryCharge charge;
};

// A value that does not exist, and its name in errors: "'<name>' is undefined", or "'<owner>
// object' has no attribute '<name>'". The name belongs to the template.
struct Undefined {
  const std::string* name = nullptr;
  const char* owner = nullptr;
};

struct None {};

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<TextNode>,
                            std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>,
                            Namespace*, const Builtin*, const Macro*,
                            std::shared_ptr<const BoundMethod>, std::shared_ptr<const Loop>>;

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
  bool is_number() const { return is<int64_t>() || is<double>() || is<bool>(); }
  // Returns null if the value is of another kind.
  const TaintedText* text() const;
  const Sequence* sequence() const;
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

struct Sequence {
  enum class Type : uint8_t { kList, kTuple, kRange, kGenerator, kKeys, kValues, kItems };
  Type type = Type::kList;
  std::vector<Value> items;
  int depth = 1;
  mutable bool consumed = false;  // for a generator, which can be iterated once
  MemoryCharge charge;
};

// A dictionary that keeps insertion order. Keys are texts and unique.
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

struct Loop {
  std::shared_ptr<const Sequence> items;
  size_t index = 0;
  MemoryCharge charge;
};

}  // namespace deltaserve
