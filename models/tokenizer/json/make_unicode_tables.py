#!/usr/bin/env python3
"""Writes unicode_tables.inc: the Unicode data that `tokenizers` uses, asked of the library itself.

The library mixes versions of Unicode (16 in expressions, 17, 9 and 8 elsewhere), so no other table agrees
with it. Run: python3 -m venv V && V/bin/pip install tokenizers==0.23.3 && V/bin/python make_unicode_tables.py
It takes some minutes. A table of ranges is a list of the code points where membership changes; a table of
values lists the code points where the value changes, each with the new value.
"""
import os
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CHUNK = 2048
CHUNKS = ["".join(ALL[i : i + CHUNK]) for i in range(0, len(ALL), CHUNK)]

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn Cs".split()
SCRIPTS = """Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali
Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham
Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra
Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati
Gunjala_Gondi Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic
Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi
Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian
Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui
Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari
New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic
Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya
Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada
Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog
Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri
Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square""".split()
PROPERTIES = "Alphabetic Uppercase Lowercase Ideographic Emoji Extended_Pictographic".split()


def members(inside):
    """The characters that the inside of an expression's class matches."""
    remove = normalizers.Replace(Regex("[^" + inside + "]+"), "")
    return set("".join(remove.normalize_str(chunk) for chunk in CHUNKS))


def boundaries(chars):
    out, before = [], False
    for c in range(0x110000):
        now = chr(c) in chars
        if now != before:
            out.append(c)
            before = now
    return out


def changes(value_of, first=None):
    """[(code point, value)] wherever the value changes, over all code points."""
    out, before = [], first
    for c in range(0x110000):
        now = value_of(c)
        if now != before:
            out.append((c, now))
            before = now
    return out


def number(n):
    return str(n) if n < 10 else hex(n)


class Writer:
    def __init__(self, file):
        self.file = file

    def table(self, name, kind, numbers, comment):
        self.file.write(f"// {comment}\ninline constexpr {kind} {name}[] = {{\n")
        line = ""
        for n in numbers:
            text = (n if isinstance(n, str) else number(n)) + ","
            if len(line) + len(text) > 108:
                self.file.write(line + "\n")
                line = ""
            line += text
        self.file.write(line + "\n};\n")

    def set(self, name, chars, comment):
        self.table(name, "uint32_t", boundaries(chars), comment)


def expression_tables(out):
    of = {}
    for i, name in enumerate(CATEGORIES):
        if name != "Cs":
            for c in members(rf"\p{{{name}}}"):
                assert c not in of
                of[c] = i
    assert len(of) == len(ALL)
    value = changes(lambda c: of.get(chr(c), CATEGORIES.index("Cs")))
    out.table("kCategoryNames", "std::string_view", [f'"{n}"' for n in CATEGORIES], "The general categories.")
    out.table("kCategories", "Change", [f"{{{hex(c)},{v}}}" for c, v in value], "The general category in expressions.")
    script, known = {}, []
    for name in SCRIPTS:
        known.append(name)
        for c in members(rf"\p{{{name}}}"):
            assert c not in script, (name, c)
            script[c] = len(known)
    value = changes(lambda c: script.get(chr(c), 0))
    names = [f'"{n.replace("_", "").lower()}"' for n in known]
    out.table("kScriptNames", "std::string_view", names, "The scripts; script n of kScripts is entry n - 1.")
    out.table("kScripts", "Change", [f"{{{hex(c)},{v}}}" for c, v in value], "The script in expressions; 0: unknown.")
    for name in PROPERTIES:
        out.set(("k" + name.replace("_", "")).replace("kLowercase", "kLowercaseProperty"), members(rf"\p{{{name}}}"), f"The property {name} in expressions.")
    by = {}
    for c, i in of.items():
        by.setdefault(CATEGORIES[i], set()).add(c)
    union = lambda *names: set().union(*(by.get(n, set()) for n in names))
    alphabetic = members(r"\p{Alphabetic}")
    word = members(r"\w")
    out.set("kExpressionWord", word, r"The characters of \w in expressions.")
    assert members(r"\d") == by["Nd"]
    assert members(r"\s") == {c for c in ALL if c in SPACES}
    assert members("[:punct:]") == union(*"Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So".split()), "punct"
    assert members("[:alpha:]") == alphabetic
    assert members("[:alnum:]") == alphabetic | by["Nd"]
    assert members("[:upper:]") == members(r"\p{Uppercase}")
    assert members("[:lower:]") == members(r"\p{Lowercase}")
    assert members("[:cntrl:]") == by["Cc"]
    assert members("[:blank:]") == by["Zs"] | {"\t"}
    print("graph:", sorted(hex(ord(c)) for c in (members("[:graph:]") ^ (set(ALL) - SPACES - union("Cc", "Cn"))))[:9])
    print("print:", sorted(hex(ord(c)) for c in (members("[:print:]") ^ (members("[:graph:]") | by["Zs"])))[:9])


SPACES = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


def caseless_tables(out):
    candidates = [c for c in ALL if len({c, c.lower(), c.upper(), c.casefold(), normalizers.Lowercase().normalize_str(c)}) > 1]
    text = "\x01".join(candidates)
    classes, done = [], set()
    for c in candidates:
        if c in done:
            continue
        matches = pre_tokenizers.Split(Regex("(?i)" + c), "removed", invert=True).pre_tokenize_str(text)
        found = sorted({m for m, _ in matches} | {c})
        done.update(found)
        if len(found) > 1:
            classes.append(found)
    classes.sort()
    flat = ["{" + ",".join(hex(ord(c)) for c in (k + [chr(0)] * 4)[:4]) + "}" for k in classes]
    assert max(map(len, classes)) <= 4
    out.table("kCaseClasses", "CaseClass", flat, "Characters that (?i) takes for each other, padded with 0.")
    several = []
    for c in ALL:
        fold = c.casefold()
        if len(fold) > 1:
            ahead = pre_tokenizers.Split(Regex("(?i)" + c), "removed", invert=True).pre_tokenize_str(fold)
            back = pre_tokenizers.Split(Regex("(?i)" + fold), "removed", invert=True).pre_tokenize_str(c)
            if [m for m, _ in ahead] == [fold] and [m for m, _ in back] == [c]:
                several.append((c, fold))
            else:
                print("no fold", hex(ord(c)), fold, ahead, back)
    flat = [f"{{{','.join(hex(ord(x)) for x in (c + f + chr(0) * 3)[:4])}}}" for c, f in several]
    out.table("kCaseSequences", "CaseClass", flat, "A character and the two or three for which (?i) takes it, padded with 0.")


def form_tables(out):
    forms = {"Nfd": normalizers.NFD(), "Nfkd": normalizers.NFKD()}
    nfd = {}
    for name, form in forms.items():
        flat = []
        count = 0
        for c in ALL:
            if 0xAC00 <= ord(c) < 0xD7A4:
                continue
            to = form.normalize_str(c)
            if name == "Nfd":
                nfd[c] = to
            if to != c and (name == "Nfd" or to != nfd[c]):
                flat += [ord(c), len(to)] + [ord(x) for x in to]
                count += 1
        print(name, count)
        comment = "Each entry is a character, the length of its decomposition, and that."
        out.table(f"k{name}", "uint32_t", flat, comment + (" Others decompose as in kNfd." if name == "Nfkd" else ""))
    nfc = normalizers.NFC()
    flat = []
    for c in ALL:
        if 0xAC00 <= ord(c) < 0xD7A4 or nfd[c] == c or len(nfd[c]) < 2 or nfc.normalize_str(c) != c:
            continue
        head, last = nfc.normalize_str(nfd[c][:-1]), nfd[c][-1]
        assert len(head) == 1 and nfc.normalize_str(head + last) == c, hex(ord(c))
        flat.append((ord(head), ord(last), ord(c)))
    out.table("kCompositions", "Composition", [f"{{{hex(a)},{hex(b)},{hex(c)}}}" for a, b, c in sorted(flat)], "Pairs of characters that compose.")
    d = forms["Nfd"]
    def combining(c):
        if nfd.get(c) != c:
            return 0
        low, high = c + "\u0334", "\u0301" + c
        moved = d.normalize_str(low) != low or d.normalize_str(high) != high
        assert not moved or unicodedata.combining(c), hex(ord(c))
        return unicodedata.combining(c) if moved else 0
    value = {c: combining(c) for c in ALL}
    out.table("kCombiningClasses", "Change", [f"{{{hex(c)},{v}}}" for c, v in changes(lambda c: value.get(chr(c), 0), 0)], "The canonical combining class.")
    strip = normalizers.StripAccents()
    out.set("kAccents", {c for c in ALL if strip.normalize_str(c) == ""}, "StripAccents removes these.")
    bert = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    out.set("kBertAccents", {c for c in ALL if nfd.get(c) == c and bert.normalize_str(c) == ""}, "BertNormalizer takes these for accents.")


def library_tables(out):
    lower = normalizers.Lowercase()
    flat = []
    for c in ALL:
        to = lower.normalize_str(c)
        if to == "i\u0307":
            continue
        assert len(to) == 1
        if to != c:
            flat.append(f"{{{hex(ord(c))},{hex(ord(to))}}}")
    out.table("kLowercase", "Change", flat, "Characters and their lower case; U+0130 becomes two.")
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    cleaned = {c: clean.normalize_str(c) for c in ALL}
    out.set("kBertRemoved", {c for c in ALL if cleaned[c] == ""}, "BertNormalizer's clean_text removes these.")
    out.set("kBertSpaces", {c for c in ALL if cleaned[c] == " "}, "BertNormalizer's clean_text makes these a space.")
    digits = pre_tokenizers.Digits(individual_digits=True)
    punctuation = pre_tokenizers.Punctuation()
    bert_pre = pre_tokenizers.BertPreTokenizer()
    alone = lambda tool, c: len(tool.pre_tokenize_str("a" + c)) > 1
    out.set("kNumeric", {c for c in ALL if alone(digits, c)}, "Digits takes these for digits.")
    found = {c for c in ALL if alone(punctuation, c)}
    assert found == {c for c in ALL if alone(bert_pre, c)}
    out.set("kPunctuation", found, "Punctuation and BertPreTokenizer take these for punctuation.")
    split = pre_tokenizers.WhitespaceSplit()
    assert {c for c in ALL if len(split.pre_tokenize_str("a" + c + "a")) > 1} == SPACES
    space = pre_tokenizers.Whitespace()
    word = {c for c in ALL if space.pre_tokenize_str("a" + c)[0][0] == "a" + c}
    out.set("kLibraryWord", word, "The word characters of Whitespace and of single_word.")
    assert {c for c in ALL if len(space.pre_tokenize_str("!" + c)) == 1 and space.pre_tokenize_str("!" + c)[0][0] == "!"} == SPACES
    t = Tokenizer(models.BPE({"a": 0}, []))
    t.add_tokens([AddedToken("zq", single_word=True, normalized=False)])
    assert {c for c in ALL if not t.encode(c + "zq").ids.count(1)} == word
    scripts = pre_tokenizers.UnicodeScripts()
    one = lambda text: len(scripts.pre_tokenize_str(text)) == 1
    any_script = {c for c in ALL if one("a" + c) and one("\u044f" + c)}
    order = [c for c in ALL if c not in any_script]
    of, representatives = {}, []
    before = None
    for c in order:
        if before is not None and one(before + c):
            of[c] = of[before]
        else:
            same = [i for i, r in enumerate(representatives) if one(r + c)]
            assert len(same) <= 1
            if not same:
                representatives.append(c)
            of[c] = same[0] + 1 if same else len(representatives)
        before = c
    value = changes(lambda c: of.get(chr(c), 0))
    out.table("kScriptGroups", "Change", [f"{{{hex(c)},{v}}}" for c, v in value], "The groups of UnicodeScripts; 0: any.")


def precompiled(keys_to_text):
    """A character map with one key: a trie that darts-clone would read, as normalizers.Precompiled takes it."""
    (key, text), = keys_to_text.items()
    units = [0] * 0x400
    # A unit is offset << 10 | has_leaf << 8 | label; node positions are chosen in steps of 256.
    base = 0x100
    units[0] = (0 ^ base) << 10
    at = base
    for n, byte in enumerate(key.encode()):
        at ^= byte
        after = base + 0x100 if n % 2 == 0 else base
        leaf = n + 1 == len(key.encode())
        after = 0x300 if leaf else (0x200 if n % 2 == 0 else 0x100)
        units[at] = ((at ^ after) << 10) | (leaf << 8) | byte
        at = after
    units[at] = 1 << 31
    trie = b"".join(u.to_bytes(4, "little") for u in units)
    return normalizers.Precompiled(len(trie).to_bytes(4, "little") + trie + text.encode() + b"\0")


def grapheme_tables(out):
    mapped = precompiled({"a": "X"})
    assert mapped.normalize_str("ab") == "Xb"
    out.set("kGraphemeExtend", {c for c in ALL if mapped.normalize_str("a" + c) == "X"}, "These continue a grapheme cluster.")
    suspects = [c for c in ALL if unicodedata.category(c) in ("Cf", "Lo", "Cn") and (unicodedata.category(c) == "Cf" or 0x890 <= ord(c) < 0x900 or 0xD40 <= ord(c) < 0xD50 or 0x110B0 <= ord(c) < 0x11F10)]
    prepended, control = set(), set()
    for c in suspects + [chr(i) for i in range(32)] + [chr(i) for i in range(127, 160)] + ["\u2028", "\u2029"]:
        if c == "\0":
            continue
        mapped = precompiled({c: "X"})
        if mapped.normalize_str(c + "a") == "X":
            prepended.add(c)
        if mapped.normalize_str(c + "\u0301") == "X\u0301":
            control.add(c)
    out.set("kGraphemePrepend", prepended, "These begin a grapheme cluster with the character after them.")
    out.set("kGraphemeControl", control | {"\0"}, "Each of these is a grapheme cluster of its own.")


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unicode_tables.inc")
    with open(path + ".new", "w") as file:
        file.write("// Unicode as `tokenizers` knows it; written by make_unicode_tables.py.\n")
        out = Writer(file)
        for tables in (grapheme_tables, library_tables, form_tables, caseless_tables, expression_tables):
            tables(out)
    os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
