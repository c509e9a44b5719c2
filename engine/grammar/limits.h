// Every bound on constrained decoding, in one table. A grammar beyond one is INVALID_ARGUMENT
// when it is compiled, unless the entry says otherwise.
#pragma once
#include <cstddef>
#include <cstdint>

namespace deltaserve::grammar_limits {

// ---- Sources

inline constexpr size_t kSourceBytes = 64 << 10;   // of a regex, a grammar, all choices together
inline constexpr size_t kSchemaBytes = 256 << 10;  // strings, keys and 4 bytes a value
inline constexpr size_t kChoices = 4096;
// Open groups of a regex or a grammar, open values of a schema. No parser recurses; the bound keeps
// what depends on depth small.
inline constexpr size_t kNesting = 256;
inline constexpr uint32_t kRepetitions = 2048;  // the numbers of {m,n}, maxLength, maxItems
inline constexpr size_t kRules = 4096;
inline constexpr size_t kExpressions = 1 << 20;
// Schemas that come from merging others (allOf, anyOf beside other keywords), and their bytes.
inline constexpr size_t kMergedSchemas = 1024;
inline constexpr size_t kMergedBytes = 4 << 20;
inline constexpr size_t kOneOfBranches = 64;  // compared pairwise

// ---- Automata

inline constexpr size_t kNfaEdges = 1 << 19;
inline constexpr size_t kStates = 65'000;  // of the whole grammar; ids are 16 bits
// States times classes of bytes, two bytes each.
inline constexpr size_t kTransitionCells = 8 << 20;
// Elementary steps on all automata of one grammar; making them deterministic is exponential in the
// worst case. About a second.
inline constexpr size_t kAutomatonSteps = 1 << 25;
// States that a product of two automata (pattern with length) may have.
inline constexpr size_t kProductStates = 1 << 16;
// A rule of at most so many states over all its uses is expanded in place.
inline constexpr size_t kInlineStates = 4096;
// Ways in which one state may enter rules before it reads a byte.
inline constexpr size_t kEntries = 128;

// ---- Run time. No error: what goes beyond is not allowed as the next token, and some other
// continuation always is.

// Rules that are open at once; a JSON array or object in another takes two.
inline constexpr uint32_t kStackDepth = 512;
// Readings of the text that are followed at once. An ambiguous grammar loses those beyond.
inline constexpr size_t kStacks = 128;
// Beyond it the masks of further states are computed anew each time.
inline constexpr size_t kMaskCacheBytes = 64 << 20;

// ---- Shapes of generated JSON, so that a poor model comes to an end

inline constexpr int kIntegerDigits = 18;   // every such integer fits 64 bits
inline constexpr int kFractionDigits = 15;  // of a number without bounds
// Digits of a number with bounds: as many as keep different decimals different doubles.
inline constexpr int kBoundedNumberDigits = 15;
inline constexpr int kBoundedFractionDigits = 10;

}  // namespace deltaserve::grammar_limits
