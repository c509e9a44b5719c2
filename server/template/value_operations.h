// Python's operators on values.
#pragma once
#include <compare>
#include <memory>

#include "server/template/runtime.h"

namespace deltaserve {

enum class Arithmetic { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kRemainder, kPower };

bool truthy(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
// Compares two numbers, two texts, two lists or two tuples. Fails for anything else; NaN is
// unordered.
std::partial_ordering compare(Runtime& runtime, const Value& a, const Value& b);
// Implements `item in container`.
bool contains(Runtime& runtime, const Value& container, const Value& item);

// Computes a op b. Integers have 64 bits; a larger result is an error. A sum of texts grows in
// place if nothing else refers to `a`.
Value arithmetic(Runtime& runtime, Arithmetic operation, Value a, const Value& b);
Value negative(Runtime& runtime, const Value& value);

// Returns what a `for` iterates over: items, keys, characters; nothing for undefined. Null if it
// fails. A generator that was iterated before has no items left.
std::shared_ptr<const SequenceValue> items_of(Runtime& runtime, const Value& value);

// Implement object[index] and object.name with Jinja's order: item before attribute, or the
// reverse. `name` belongs to the template: an undefined result refers to it.
Value get_item(Runtime& runtime, const Value& object, const Value& index, const std::string* name);
Value get_attribute(Runtime& runtime, const Value& object, const std::string* name);
// Returns one character; undefined if the text is shorter.
Value character_of(Runtime& runtime, const TaintedText& text, int64_t index);
// Implements object[begin:end:step]; a bound that was left out is none.
Value get_slice(Runtime& runtime, const Value& object, const Value& begin, const Value& end,
                const Value& step);
// Returns the number of items or characters, 0 for undefined; -1 and failed() for values without a
// length.
int64_t length_of(Runtime& runtime, const Value& value);

}  // namespace deltaserve
