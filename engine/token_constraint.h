// Decides which tokens may come next in one answer. The engine asks before every draw and reports
// the token drawn; engine/grammar/ has the implementations.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

namespace deltaserve {

// Thread safety: one thread at a time.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets bit t % 32 of words[t / 32] for every token t that may come next, and clears all others;
  // `words` covers the vocabulary. End tokens are set if the answer may end. At least one bit is
  // set unless finished().
  virtual void allowed(std::span<uint32_t> words) const = 0;
  // Moves on by the token that was drawn; allowed() must have set its bit.
  virtual void accept(int32_t token) = 0;
  // Returns true if the answer is complete and only an end token could follow: the engine then ends
  // it with kStop without drawing one.
  virtual bool finished() const = 0;
  // Returns an independent copy in the same state, for the choices of one request.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;
};

}  // namespace deltaserve
