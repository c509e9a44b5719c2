// The limits that a model folder must respect, in one place. They are far above any model of this
// family, and low enough that no product of sizes overflows: a layer has fewer than 2^41 weights
// and 2^34 state values, a model fewer than 2^51.
#pragma once
#include <cstddef>
#include <cstdint>

namespace deltaserve::limits {

struct IntRange {
  int64_t min;
  int64_t max;
};

struct RealRange {
  double min;
  double max;
};

// ---- config.json
inline constexpr IntRange kHiddenSize{1, 65536};
inline constexpr IntRange kLayers{1, 1024};
inline constexpr IntRange kVocabSize{1, 1 << 20};
inline constexpr IntRange kIntermediateSize{1, 1 << 20};
inline constexpr IntRange kHeads{1, 4096};
inline constexpr IntRange kHeadDim{1, 1024};
inline constexpr IntRange kValueDim{1, 4096};
inline constexpr IntRange kProjectionColumns{1, 1 << 20};  // heads * head_dim; also for the values
inline constexpr IntRange kConvSize{1, 8};
inline constexpr RealRange kExpand{1.0 / 1024, 64};  // factor for keys, values and inner channels
inline constexpr RealRange kHiddenRatio{1.0 / 1024, 1024};
inline constexpr RealRange kNormEps{1e-12, 0.1};
inline constexpr RealRange kLambdaBias{-100, 100};
inline constexpr RealRange kDecayBound{-1e4, -1e-6};  // lower bound of a log decay
inline constexpr RealRange kTimeStep{0, 1e6};
inline constexpr RealRange kSquash{1, 1e3};
inline constexpr RealRange kSquashEps{1e-30, 1};
inline constexpr size_t kEosTokens = 64;
inline constexpr size_t kUnknownKeysListed = 16;

// ---- Files, in bytes
inline constexpr size_t kConfigBytes = 1 << 20;
inline constexpr size_t kTokenizerConfigBytes = 16 << 20;  // the file lists every added token
inline constexpr size_t kTokenizerBytes = 64 << 20;
inline constexpr size_t kIndexBytes = 100'000'000;
inline constexpr uint64_t kSafetensorsHeaderBytes = 100'000'000;  // defined by the format

// A longer text that no rule cuts is refused if only the sentencepiece library can encode it,
// because the library takes some 200 bytes for each byte of text and cannot be stopped.
inline constexpr size_t kUncutTextBytes = 64 << 10;

// ---- Decoding: a list of ids may name the longest token again and again.
inline constexpr size_t kDecodedBytes = 100'000'000;

// ---- tokenizer.json
inline constexpr size_t kTokenizerParts = 64;           // normalizers, or splits, or decoders
inline constexpr size_t kReplacementBytes = 4096;       // of a text that a part writes
inline constexpr size_t kTokenBytes = 4096;             // every place of a text is compared with it
inline constexpr size_t kTemplateIds = 256;             // special tokens around a text
inline constexpr IntRange kWordCharacters{0, 1 << 30};  // max_input_chars_per_word
inline constexpr IntRange kStripCharacters{0, 1 << 30};
inline constexpr IntRange kPieceCharacters{1, 1 << 30};  // FixedLength
inline constexpr size_t kTextGrowth = 32;                // a part's result is at most so many times
inline constexpr size_t kTextGrowthBytes = 64 << 10;     // the text, and so many bytes more
inline constexpr size_t kExpressionSourceBytes = 16 << 10;
inline constexpr size_t kExpressionBytes = 4 << 20;  // with all classes written out
inline constexpr uint32_t kExpressionSteps = 10'000'000;
inline constexpr uint32_t kExpressionHeapKib = 64 << 10;
inline constexpr IntRange kJitStackBytes{32 << 10, 16 << 20};

// ---- JSON
inline constexpr size_t kJsonDepth = 32;
inline constexpr size_t kJsonValues = 4'000'000;  // limits the memory of a parsed document

// ---- Tensors
inline constexpr size_t kTensorRank = 8;
inline constexpr int64_t kTensors = 200'000;  // of one file; the largest mixtures of experts fit
inline constexpr size_t kShards = 4096;

// ---- The Hub. What it sends is not trusted: beyond these a download ends with one sentence.
inline constexpr size_t kHubAnswerBytes = 16 << 20;   // of one answer of the API
inline constexpr size_t kHubHeaderBytes = 256 << 10;  // of all headers of one answer
inline constexpr int kHubPages = 256;                 // of a list of files
inline constexpr size_t kHubFiles = 100'000;          // in a list of files
inline constexpr size_t kHubPathBytes = 1024;         // of a file in it
inline constexpr IntRange kHubFileBytes{0, int64_t{1} << 42};
inline constexpr int kHubRedirects = 8;  // of one request
inline constexpr int kHubTries = 5;      // that bring no byte, one after the other
inline constexpr size_t kHubTokenBytes = 4096;
inline constexpr size_t kHubNameBytes = 96;  // of the owner, and of the model
inline constexpr size_t kHubRevisionBytes = 255;

}  // namespace deltaserve::limits
