// What may come next in one answer. The engine asks before every draw and tells what was drawn;
// engine/grammar/ has the implementations.
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
  // `words` covers the vocabulary. End tokens are set where the answer may end. Never clears every
  // bit unless finished().
  virtual void allowed(std::span<uint32_t> words) const = 0;
  // `token` was drawn; it was allowed.
  virtual void accept(int32_t token) = 0;
  // The answer is complete and nothing but an end token could follow: the engine ends it with kStop
  // without drawing one.
  virtual bool finished() const = 0;
  // A copy that goes its own way from here, for the choices of one request.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;
};

}  // namespace deltaserve
