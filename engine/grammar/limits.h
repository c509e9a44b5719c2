// The limits of constrained decoding, in one table. Compiling a grammar that exceeds one fails with
// INVALID_ARGUMENT, unless the entry says otherwise.
#pragma once
#include <cstddef>
#include <cstdint>

namespace deltaserve::grammar_limits {

// ---- Sources

inline constexpr size_t kSourceBytes = 64 << 10;   // a regex, a grammar, or all choices together
inline constexpr size_t kSchemaBytes = 256 << 10;  // strings, keys and 4 bytes per value
inline constexpr size_t kChoices = 4096;
// Limits the open groups of a regex or a grammar and the open values of a schema. No parser
// recurses; the limit bounds the memory that grows with depth.
inline constexpr size_t kNesting = 256;
inline constexpr uint32_t kRepetitions = 2048;  // numbers of {m,n}
// Limits minLength, minItems and minProperties. Their maximums may be larger.
inline constexpr uint32_t kLeast = 1'000'000;
// Up to this many repetitions are states of an automaton; more are counted.
inline constexpr uint32_t kCounted = 128;
inline constexpr size_t kRules = 4096;
inline constexpr size_t kExpressions = 1 << 20;
// Limits minContains: this many items have a rule of their own.
inline constexpr uint32_t kContained = 16;
// Limits the schemas that come from merging others (allOf, anyOf beside other keywords), and their
// bytes.
inline constexpr size_t kMergedSchemas = 1024;
inline constexpr size_t kMergedBytes = 4 << 20;
inline constexpr size_t kOneOfBranches = 64;  // compared pairwise

// ---- Automata

inline constexpr size_t kNfaEdges = 1 << 19;
inline constexpr size_t kStates = 65'000;  // whole grammar; ids are 16 bits
// Limits states times classes of bytes; each cell has two bytes.
inline constexpr size_t kTransitionCells = 8 << 20;
// Limits the elementary steps on all automata of one grammar to about a second; making them
// deterministic is exponential in the worst case.
inline constexpr size_t kAutomatonSteps = 1 << 25;
// Limits the states of a product of two automata (pattern with length).
inline constexpr size_t kProductStates = 1 << 16;
// A rule is expanded in place if it has at most this many states over all its uses.
inline constexpr size_t kInlineStates = 4096;
// Limits the ways in which one state may enter rules before it reads a byte.
inline constexpr size_t kEntries = 128;

// ---- Run time. Exceeding these is no error: tokens that would are not allowed next, and some
// other continuation always is.

// Limits the rules that are open at once; a JSON array or object in another takes two.
inline constexpr uint32_t kStackDepth = 512;
// Limits the readings of the text that are followed at once. An ambiguous grammar loses the others.
inline constexpr size_t kStacks = 128;
// Limits the masks that a grammar keeps; those of further states are computed anew each time.
inline constexpr size_t kMaskCacheBytes = 64 << 20;

// ---- Shapes of generated JSON, which make even a poor model come to an end

inline constexpr int kIntegerDigits = 40;
inline constexpr int kFractionDigits = 15;  // numbers without bounds
// Limits the digits of a number with bounds: different decimals remain different doubles.
inline constexpr int kBoundedNumberDigits = 15;
inline constexpr int kBoundedFractionDigits = 10;
// Limits the remainders of `multipleOf`: a state for each.
inline constexpr uint32_t kMultiple = 8192;

}  // namespace deltaserve::grammar_limits
