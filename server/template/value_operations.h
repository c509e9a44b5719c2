// Python's operators on values.
#pragma once
#include <compare>
#include <memory>

#include "server/template/runtime.h"

namespace deltaserve {

enum class Arithmetic { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kRemainder, kPower };

bool truthy(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
// Of two numbers, two texts, two lists or two tuples. Fails for anything else; NaN is unordered.
std::partial_ordering compare(Runtime& runtime, const Value& a, const Value& b);
// item in container
bool contains(Runtime& runtime, const Value& container, const Value& item);

// Integers have 64 bits; a result beyond is an error. A sum of texts grows in place when nobody
// else has `a`.
Value arithmetic(Runtime& runtime, Arithmetic operation, Value a, const Value& b);
Value negative(Runtime& runtime, const Value& value);

// What a `for` goes through: items, keys, characters; nothing for undefined. Null when it fails. A
// generator can be walked through once.
std::shared_ptr<const Sequence> items_of(Runtime& runtime, const Value& value);

// object[index] and object.name, as Jinja looks them up: item before attribute, or the reverse.
// `name` belongs to the template: an undefined result refers to it.
Value get_item(Runtime& runtime, const Value& object, const Value& index, const std::string* name);
Value get_attribute(Runtime& runtime, const Value& object, const std::string* name);
// Undefined where the text is shorter.
Value character_of(Runtime& runtime, const TaintedText& text, int64_t index);
// object[begin:end:step]; none where a bound was left out.
Value get_slice(Runtime& runtime, const Value& object, const Value& begin, const Value& end,
                const Value& step);
// The number of items or characters, 0 for undefined; -1 and failed() for what has none.
int64_t length_of(Runtime& runtime, const Value& value);

}  // namespace deltaserve
