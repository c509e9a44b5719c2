// Says how the documents of a schema are written.
#pragma once
#include <cstdint>

namespace deltaserve {

// Says what is written between the tokens of JSON.
enum class JsonSpace : uint8_t {
  kCompact,  // nothing, or one space after ',' and ':'
  kLines,    // also line breaks with indentation where programs that print JSON write them
  kLoose,    // the same with any indentation, which takes fewer states: for models that may end
};

struct SchemaOptions {
  JsonSpace space = JsonSpace::kCompact;
  bool any_order = false;  // properties may come in any order
  // A place of the schema that cannot be enforced permits all values of its types, instead of
  // making the whole schema an error.
  bool lenient = false;
};

}  // namespace deltaserve
