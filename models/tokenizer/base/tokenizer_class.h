// The tokenizer classes of transformers whose defaults matter, because their files may leave the
// tokens out.
#pragma once
#include <string_view>

namespace deltaserve {

struct TokenizerClass {
  std::string_view name;  // without "Fast"
  const char* bos;        // "" = none, as for the next two
  const char* eos;
  const char* unk;
  bool adds_bos;  // unless told otherwise
};

inline constexpr TokenizerClass kTokenizerClasses[] = {
    {"LlamaTokenizer", "<s>", "</s>", "<unk>", true},
    {"CodeLlamaTokenizer", "<s>", "</s>", "<unk>", true},
    {"GemmaTokenizer", "<bos>", "<eos>", "<unk>", true},
    {"T5Tokenizer", "", "</s>", "<unk>", false},
    {"XLMRobertaTokenizer", "<s>", "</s>", "<unk>", false},
    {"AlbertTokenizer", "[CLS]", "[SEP]", "<unk>", false},
    {"GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", false},
    {"GPTNeoXTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", false},
    {"CodeGenTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", false},
    {"Qwen2Tokenizer", "", "<|endoftext|>", "<|endoftext|>", false},
    {"BloomTokenizer", "<s>", "</s>", "<unk>", false},
    {"CohereTokenizer", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", true},
};

// Returns the class of that name, also as its "Fast" variant; null if it is not in the table.
inline const TokenizerClass* find_tokenizer_class(std::string_view name) {
  constexpr std::string_view kFast = "Fast";
  if (name.ends_with(kFast)) name.remove_suffix(kFast.size());
  for (const TokenizerClass& known : kTokenizerClasses) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

}  // namespace deltaserve
