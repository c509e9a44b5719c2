#!/usr/bin/env python3
"""Writes cases.json: small inputs for every part of a tokenizer.json, with what `tokenizers` 0.23.3 answers.

pip install tokenizers==0.23.3; python3 record_cases.py. The parts stand as they do in a file.
"""
import json, os
from tokenizers import Tokenizer, normalizers as N, pre_tokenizers as P, decoders as D, __version__

NO = dict(version='1.0', truncation=None, padding=None, added_tokens=[], normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None)
out = dict(tokenizers=__version__, normalizers=[], pre_tokenizers=[], decoders=[], whole=[])


def holder(**part): return Tokenizer.from_str(json.dumps(dict(NO, model=dict(type='BPE', vocab={'a': 0}, merges=[]), **part)))
def norm(spec, *texts): n = holder(normalizer=spec).normalizer; out['normalizers'].append(dict(normalizer=spec, cases=[[t, n.normalize_str(t)] for t in texts]))
def pre(spec, *texts): p = holder(pre_tokenizer=spec).pre_tokenizer; out['pre_tokenizers'].append(dict(pre_tokenizer=spec, cases=[[t, [w for w, _ in p.pre_tokenize_str(t)]] for t in texts]))
def dec(spec, *lists): d = holder(decoder=spec).decoder; out['decoders'].append(dict(decoder=spec, cases=[[l, d.decode(l)] for l in lists]))
def whole(note, j, texts, lists=()):
    """A whole file: [text, ids without, ids with special tokens] and [ids, text with, text without special tokens]; null: an error."""
    j = dict(NO, **j); t = Tokenizer.from_str(json.dumps(j))
    def enc(x, s):
        try: return t.encode(x, add_special_tokens=s).ids
        except Exception: return None
    out['whole'].append(dict(note=note, file=j, encode=[[x, enc(x, False), enc(x, True)] for x in texts], decode=[[i, t.decode(i, skip_special_tokens=False), t.decode(i)] for i in lists]))
def added(id, content, special=False, normalized=False, **f): return dict(dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False), normalized=normalized, special=special, **f)
def split(p, behavior='Isolated', invert=False): return dict(type='Split', pattern=p, behavior=behavior, invert=invert)
def rx(p): return dict(Regex=p)
def bpe(vocab, merges=(), **k): return dict(dict(type='BPE', dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab={w: i for i, w in enumerate(vocab)}, merges=[list(m) for m in merges]), **k)
def uni(vocab, unk=0, bf=False): return dict(type='Unigram', unk_id=unk, vocab=[list(v) for v in vocab], byte_fallback=bf)
CHARS = [chr(c) for c in range(32, 127)] + ['▁', 'é', '\u0301', '\n', '\xa0']

# normalizers
for f in ('NFC', 'NFD', 'NFKC', 'NFKD'): norm(dict(type=f), 'é e\u0301 A\u030a', 'q\u0323\u0307 q\u0307\u0323', 'ﬁ ① ½ ﷺ ｶﾞ', '가 \u1100\u1161\u11a8 \u0344', '\u32ff \uab69 \U0001fbf0 \U00010781', '\U00011935\U00011930', 'a\u0301\u1df6 a\u1df6\u0301')
norm(dict(type='Lowercase'), 'ÀÉ İ I ẞ', 'ΣΑΣ ΑΣ. Σ', 'ǅ Ⅷ Ａ \U00010d50 \U00016ea0')
norm(dict(type='StripAccents'), 'é', 'e\u0301', 'कि', 'a\u20dd', '\u0e33')
norm(dict(type='Sequence', normalizers=[dict(type='NFD'), dict(type='StripAccents'), dict(type='Lowercase')]), 'ÉÑÇ', '각', 'ṩ', 'কি')
norm(dict(type='Strip', strip_left=True, strip_right=False), ' \u00a0\u3000a ', '\u200ba', '\x1ca')
norm(dict(type='Nmt'), 'a\u200bb\u00adc\u200fd\x07e\u2028f', '\ufeffg\ufffdh▁i\x7fj\x0bk\x85l', '\u00a0\u3000\u1680')
norm(dict(type='Replace', pattern=dict(String='aa'), content='b'), 'aaaaa', ''); norm(dict(type='Replace', pattern=rx('(a)b|x+'), content='\\1$1'), 'ab axxb'); norm(dict(type='Replace', pattern=rx(' {2,}'), content=' '), 'a   b  c\n\n d'); norm(dict(type='Replace', pattern=rx('x*'), content='-'), 'axb')
norm(dict(type='Prepend', prepend='▁'), '', 'a', ' a', '▁a')
norm(dict(type='BertNormalizer', clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True), 'ÀbÇ\tx\ny', 'a\x00\ufffd\ue000b\x07', '日本語ab', 'e\u0301', '\U0002b820 \U0002b740', 'İ ẞ', 'a\u00adb\u200dc\x85d\u2028e')
norm(dict(type='BertNormalizer', clean_text=False, handle_chinese_chars=False, strip_accents=None, lowercase=False), 'Àb\t日')
norm(dict(type='ByteLevel'), 'é a\n')

# pre-tokenizers
pre(dict(type='ByteLevel', add_prefix_space=True, trim_offsets=True, use_regex=True), 'a b', ' a', '\na', '\u3000a', "I'm I'M it’s", '')
pre(dict(type='ByteLevel', add_prefix_space=False, trim_offsets=True), 'a  b   ', 'x\u0301y 12ab', '\u0085x\x1cx', 'a\n\n b')
for b in ('Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'): pre(split(dict(String='-'), b), '-a--b-', '--'); pre(split(rx('[a-z]+'), b, True), 'ab12cd 3')
pre(split(rx(r'\s+$|\s+(?!\S)|\s')), 'a  \nb  '); pre(split(rx('(?=x)|y*')), 'axbyyc'); pre(split(rx('a{2,3}+')), 'aaaaaaa'); pre(split(rx('^.|.$')), 'ab\ncd'); pre(split(rx(r'\h+')), 'xyz09af g'); pre(split(rx(r'(?m).+')), 'a\nb'); pre(split(rx("(?i:'s|k)")), "'S 'ſ \u212a"); pre(split(rx(r'\w+')), 'x² a\u0301b_१ ①'); pre(split(dict(String='.')), 'a.b')
pre(split(rx(r'\p{N}{1,3}+')), '1234567'); pre(split(rx(r'\p{L}+')), 'a\U00016d40b \U00010d50'); pre(split(rx(r'\s')), 'a\u180eb\u200bc\u0085d\x1ce')
pre(dict(type='Digits', individual_digits=False), 'a123b٣٤x²½Ⅷ'); pre(dict(type='Digits', individual_digits=True), 'a12²½')
pre(dict(type='Punctuation', behavior='Isolated'), 'a,b!!c$d+e«f—g\u061dh\u166di'); pre(dict(type='Punctuation'), 'a..b')
for s in ('always', 'first', 'never'): pre(dict(type='Metaspace', replacement='▁', prepend_scheme=s, split=True), 'a b', '  a', '▁a', 'a\tb\n c', ''); pre(dict(type='Metaspace', replacement='▁', prepend_scheme=s, split=False), 'a  b')
pre(dict(type='Metaspace', replacement='▁', add_prefix_space=True), 'a b')
pre(dict(type='Whitespace'), "it's 3.5% naïve x_y日本 e\u0301"); pre(dict(type='WhitespaceSplit'), 'a\u00a0b\u200bc\u0085d\x1ce\u180ef\u3000g'); pre(dict(type='BertPreTokenizer'), "it's ok—日本 a\u00a0b")
pre(dict(type='UnicodeScripts'), 'どこで生れ。Yes 12,кот ab'); pre(dict(type='CharDelimiterSplit', delimiter='/'), '/a//b')
pre(dict(type='Sequence', pretokenizers=[dict(type='Digits', individual_digits=True), dict(type='ByteLevel', add_prefix_space=True, trim_offsets=True, use_regex=False)]), 'ab12')
pre(dict(type='Sequence', pretokenizers=[dict(type='WhitespaceSplit'), dict(type='Metaspace', replacement='▁', prepend_scheme='always', split=True)]), 'a  b'); pre(dict(type='Sequence', pretokenizers=[dict(type='WhitespaceSplit'), dict(type='Metaspace', replacement='▁', prepend_scheme='first', split=True)]), 'a  b')

# decoders
dec(dict(type='ByteLevel', add_prefix_space=True, trim_offsets=True, use_regex=True), ['Ġa', 'b'], ['Ã', '©'], ['Ã', 'x'], ['é', 'Ġ'], ['日', 'ä', '¸'], ['ä', '¸', 'ä', '¸', 'Ń'], ['ð', 'Ł', 'ĺ'])
dec(dict(type='ByteFallback'), ['<0xE4>', '<0xB8>', '<0xAD>'], ['<0xE4>', '<0xB8>', '<0xAD>', '<0xFF>'], ['<0xE4>', 'a'], ['<0x61>', '<0x0A>'], ['<0xff>', '<0xFG>', '<0x61>x'])
LLAMA = dict(type='Sequence', decoders=[dict(type='Replace', pattern=dict(String='▁'), content=' '), dict(type='ByteFallback'), dict(type='Fuse'), dict(type='Strip', content=' ', start=1, stop=0)])
dec(LLAMA, ['▁a', '▁b'], ['▁', '▁a'], ['a', '▁b'], ['<0x20>', '▁a'], ['<s>', '▁a'], [])
dec(dict(type='Strip', content=' ', start=1, stop=0), [' a', ' b'], ['  a']); dec(dict(type='Replace', pattern=rx('ab'), content='X'), ['a', 'b', 'ab']); dec(dict(type='Sequence', decoders=[dict(type='Fuse'), dict(type='Replace', pattern=rx('ab'), content='X')]), ['a', 'b', 'ab'])
for s in ('always', 'never'): dec(dict(type='Metaspace', replacement='▁', prepend_scheme=s, split=True), ['▁a', '▁b'], ['▁', '▁a'], ['▁a▁b', '▁c'], ['▁▁a'], ['<s>', '▁a'])
dec(dict(type='WordPiece', prefix='##', cleanup=True), ['a', '##b', 'c'], ['##a', 'b'], ['do', "n't"], ['a', '.', '##b'], ['a', "'", 's'], ['it', "'s"], ['a', ',', 'b', '?']); dec(dict(type='WordPiece', prefix='##', cleanup=False), ['a', '.', '##b'])
dec(dict(type='BPEDecoder', suffix='</w>'), ['a</w>', 'b', 'c</w>'], ['a', 'b'])

# models
whole('BPE: the merge of the lowest rank first, of equal ones the leftmost', dict(model=bpe('a b c aa aaaa ab aab bc'.split(), [('a', 'a'), ('aa', 'aa'), ('a', 'b'), ('aa', 'b'), ('b', 'c')])), ['aaa', 'aaaaa', 'aab', 'abc', 'aabc'])
whole('BPE: a merge that stands twice has its last rank', dict(model=bpe('a b c ab bc abc'.split(), [('a', 'b'), ('b', 'c'), ('a', 'b'), ('a', 'bc')])), ['abc', 'abab'])
whole('BPE: merges as strings', dict(model=dict(bpe('a b c ab'.split()), merges=['a b'])), ['abc'])
whole('BPE: ignore_merges', dict(model=bpe('a b c d abcd'.split(), ignore_merges=True), pre_tokenizer=dict(type='WhitespaceSplit')), ['abcd abcda'])
B = ['<unk>', 'a', 'b'] + ['<0x%02X>' % i for i in range(256)]
whole('BPE: byte fallback, unknown fused', dict(model=bpe(B, byte_fallback=True, fuse_unk=True, unk_token='<unk>')), ['a中b', 'xyz', 'a\nb'], [[1, 231, 187, 176], [231, 187, 1], [231, 187, 176, 258]])
whole('BPE: byte fallback without the byte B8: such a character is unknown whole; an unknown that waits to be fused comes after the bytes that follow it', dict(model=bpe([x for x in B if x != '<0xB8>'], byte_fallback=True, fuse_unk=True, unk_token='<unk>')), ['a中b', '中x', 'x中'])
for f in (True, False): whole('BPE: unknown, fuse_unk %s' % f, dict(model=bpe(['<unk>', 'a', 'b'], fuse_unk=f, unk_token='<unk>')), ['xyz', 'axyb'])
whole('BPE: unknown without unk_token is dropped', dict(model=bpe(['a', 'b'])), ['axyb', 'xyz'])
whole('BPE: end_of_word_suffix', dict(model=bpe('a b a</w> b</w> ab</w>'.split(), [('a', 'b</w>')], end_of_word_suffix='</w>'), pre_tokenizer=dict(type='Whitespace'), decoder=dict(type='BPEDecoder', suffix='</w>')), ['a ab ba aab'], [[2, 4, 1, 2]])
whole('BPE: continuing_subword_prefix: a merge drops the prefix of its right side', dict(model=bpe('a b ##a ##b ab'.split(), [('a', '##b')], continuing_subword_prefix='##'), pre_tokenizer=dict(type='Whitespace')), ['a ab ba aab'])
whole('Unigram: ties: of equal sums the earlier beginning, that is the longer last piece', dict(model=uni([('<unk>', 0.0), ('a', -1.0), ('aa', -2.0), ('aaa', -3.0), ('b', -1.0), ('ab', -2.0)])), ['aa', 'aaa', 'aaaa', 'ab', 'aab', 'aaab'])
whole('Unigram: an unknown character costs the lowest score less 10; neighbours are one token; a piece is never unknown for being worse', dict(model=uni([('<unk>', 0.0), ('a', -1.0), ('b', -5.0), ('x', -30.0)])), ['ayyb', 'yyy', 'axa', 'é'])
whole('Unigram: special pieces are pieces', dict(model=uni([('<unk>', 0.0), ('a', -1.0)] + [(c, -2.0) for c in '<unk>'])), ['a<unk>a'])
whole('Unigram: byte fallback of a run is all or nothing', dict(model=uni([('<unk>', 0.0), ('a', -1.0)] + [('<0x%02X>' % i, 0.0) for i in range(256) if i != 0x79], 0, True)), ['axa', 'axya', 'x中', '<0x41>'])
whole('Unigram without unk_id: an error', dict(model=uni([('a', -1.0)], None)), ['a', 'ab', ''])
W = dict(type='WordPiece', unk_token='[UNK]', continuing_subword_prefix='##', max_input_chars_per_word=10, vocab={w: i for i, w in enumerate('[UNK] un ##aff ##able a ##b ab ##c [CLS] [SEP]'.split())})
whole('WordPiece: longest first, a word without an end is unknown whole; counted in characters', dict(model=W, pre_tokenizer=dict(type='WhitespaceSplit'), added_tokens=[added(8, '[CLS]', True), added(9, '[SEP]', True)], post_processor=dict(type='TemplateProcessing', single=[dict(SpecialToken=dict(id='[CLS]', type_id=0)), dict(Sequence=dict(id='A', type_id=0)), dict(SpecialToken=dict(id='[SEP]', type_id=0))], pair=[], special_tokens={k: dict(id=k, ids=[i], tokens=[k]) for k, i in (('[CLS]', 8), ('[SEP]', 9))}), decoder=dict(type='WordPiece', prefix='##', cleanup=True)), ['unaffable', 'unaffablex', 'abc abx', 'ababababab ababababac', '', '[CLS]ab'], [[8, 1, 2, 4, 9]])

# added tokens, on a model of single characters
def flags(note, tokens, texts, **k): whole('added tokens: ' + note, dict(model=bpe(CHARS), added_tokens=[added(100 + i, **t) for i, t in enumerate(tokens)], **k), texts)
flags('the leftmost, of those the longest', [dict(content='<a'), dict(content='<ab'), dict(content='<abc>'), dict(content='b>')], ['x<abc>y', '<abb>', '<ab>', '<<ab'])
flags('lstrip takes all white space before', [dict(content='<x>', lstrip=True)], ['a <x> b', 'a \n\t<x>', 'a\u00a0<x>', '<x>  <x>'])
flags('rstrip takes all white space after', [dict(content='<x>', rstrip=True)], ['a <x> b', '<x> \n b'])
flags('both: the first takes it', [dict(content='<x>', lstrip=True, rstrip=True)], ['a <x> <x> b'])
flags('single_word', [dict(content='ab', single_word=True)], ['ab', 'xab', 'ab1', 'ab_', '-ab-', 'éab', 'ab\u0301'])
flags('a single_word that fails hides what lies under it', [dict(content='abc', single_word=True), dict(content='ab')], ['abcd', 'abc d'])
flags('normalized: the content is normalised, too, and looked for in normalised text', [dict(content='Foo', normalized=True), dict(content='Bar')], ['Foo foo FOO', 'Bar bar BAR'], normalizer=dict(type='Lowercase'))
flags('those that are not normalized are taken first, over the whole text', [dict(content='foo bar', normalized=True), dict(content='Bar')], ['foo Bar', 'foo bar'], normalizer=dict(type='Lowercase'))
flags('with Prepend a normalized token is found at a beginning only', [dict(content='<x>', normalized=True), dict(content='<y>')], ['<x>', 'a<x>', '<y>a', 'a<y>b', '<y><y> a'], normalizer=dict(type='Sequence', normalizers=[dict(type='Prepend', prepend='▁'), dict(type='Replace', pattern=dict(String=' '), content='▁')]))
flags('Metaspace first: only the beginning of the text', [dict(content='<y>')], ['a<y>b', '<y>a', '<y> a', ' <y>a'], pre_tokenizer=dict(type='Metaspace', replacement='▁', prepend_scheme='first', split=True))
flags('Metaspace always: after every added token', [dict(content='<y>')], ['a<y>b', '<y> a'], pre_tokenizer=dict(type='Metaspace', replacement='▁', prepend_scheme='always', split=True))
flags('the id in the file does not count where the vocabulary lacks the token (here 100 and 101 are given, whatever is written)', [], ['a'])
out['whole'][-1]['note'] = 'ids of added tokens are given in order, from the size of the vocabulary; the written ids 500 and 501 are not used'
j = dict(NO, model=bpe(CHARS), added_tokens=[added(500, '<x>', True), added(501, '<y>')]); t = Tokenizer.from_str(json.dumps(j)); out['whole'][-1].update(file=j, encode=[[x, t.encode(x, add_special_tokens=False).ids, t.encode(x).ids] for x in ('a<x>b<y>',)], decode=[[[100, 500, 101, 65], t.decode([100, 500, 101, 65], skip_special_tokens=False), t.decode([100, 500, 101, 65])]])
whole('no decoder: joined by spaces; unknown ids are left out', dict(model=bpe(CHARS), added_tokens=[added(100, '<s>', True)]), ['ab'], [[65, 66, 100, 67], [9999, 65]])

if __name__ == '__main__':
    f = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'cases.json')
    with open(f, 'w') as o:
        o.write('{"tokenizers": %s' % json.dumps(out['tokenizers']))
        for k in ('normalizers', 'pre_tokenizers', 'decoders', 'whole'): o.write(',\n"%s": [\n%s\n]' % (k, ',\n'.join(json.dumps(x, ensure_ascii=True) for x in out[k])))
        o.write('}\n')
    print(os.path.getsize(f), {k: sum(len(c) for x in v for c in (x.get('cases', []), x.get('encode', []), x.get('decode', []))) for k, v in out.items() if k != 'tokenizers'})
