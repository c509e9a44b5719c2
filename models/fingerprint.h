// The numeric fingerprint of a loaded model identifies everything that decides which numbers it
// computes.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "models/model.h"

namespace deltaserve {

// 128 bits. If two models have the same fingerprint, their states and answers are equal, bit for
// bit.
using NumericFingerprint = std::array<uint8_t, 16>;

// Hashes (XXH3, 128 bits) every tensor as the folder stores it, the config, the tokenizer's files,
// the layout and formats of states and weights, the backend and its target, and the logits and the
// state that the model computes for fixed tokens. So the fingerprint also changes when a kernel
// computes other numbers. It does not depend on the number of threads, of slots and of rows per
// step.
//
// Reads all weights once and runs 131 tokens in slot 0; call it before the slot holds a sequence.
// Fails if the folder's files can no longer be read.
absl::StatusOr<NumericFingerprint> numeric_fingerprint(const ModelFolder& folder, Model* model);

// Returns the fingerprint as 32 hexadecimal digits.
std::string to_hex(const NumericFingerprint& fingerprint);

}  // namespace deltaserve
