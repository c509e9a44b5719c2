#include "models/tokenizer/sentencepiece/token_search.h"

#include <algorithm>

#include "models/base/cancellation.h"

namespace deltaserve {

JoinedText::JoinedText(std::span<const TextPart> parts) {
  for (const TextPart& part : parts) {
    const size_t begin = text.size();
    text += part.text;
    if (!part.trusted || part.text.empty()) continue;
    if (!trusted.empty() && trusted.back().second == begin) {
      trusted.back().second = text.size();
    } else {
      trusted.emplace_back(begin, text.size());
    }
  }
}

const AddedToken* TokenSearch::next(size_t* at) {
  const size_t size = joined_.text.size();
  for (; *at < size; ++*at) {
    // The caller that encodes the rest of the text gets the status.
    if (!check_wanted(1).ok()) break;
    while (region_ < joined_.trusted.size() && joined_.trusted[region_].second <= *at) ++region_;
    const bool more = region_ < joined_.trusted.size();
    if (ordinary_.empty()) {
      if (!more) break;
      *at = std::max(*at, joined_.trusted[region_].first);
    }
    if (const AddedToken* token = match(*at, more)) return token;
  }
  *at = size;
  return nullptr;
}

const AddedToken* TokenSearch::match(size_t at, bool more) const {
  const bool is_trusted = more && joined_.trusted[region_].first <= at;
  const AddedToken* special =
      is_trusted ? special_.match(joined_.text, at, joined_.trusted[region_].second - at) : nullptr;
  const AddedToken* ordinary = ordinary_.match(joined_.text, at, joined_.text.size() - at);
  if (special == nullptr || ordinary == nullptr) return special == nullptr ? ordinary : special;
  return ordinary->text.size() > special->text.size() ? ordinary : special;
}

}  // namespace deltaserve
