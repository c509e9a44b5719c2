"""Templates: `[one|two]` is a choice (choices nest), `$name` a word of the story's world.

`$Name` is the same word with a capital. A word may itself hold `$names`, one level deep. Articles
and the capitals at the start of a sentence are set right at the end, so a template can say
"a $food" and begin a choice with a small letter.
"""
import re

CHOICE = re.compile(r'\[([^\[\]]*)\]')
WORD = re.compile(r'\$(\w+)')
CHARACTERS = ('A', 'B', 'C')
ARTICLE = re.compile(r'\b([Aa]) (?=[aeioAEIO]|u[mn][bfhuc]|honest)')
SENTENCE_START = re.compile(
    r'(^|[.!?] |\n|^"|\n"|(?<=[.!?] )"(?=[a-z])|(?<=[.!?]" )"(?=[a-z]))([a-z])')


def expand(template, world, choose):
    """The text of a template; `choose(sequence)` draws."""
    while match := CHOICE.search(template):
        chosen = choose(match.group(1).split('|'))
        template = template[:match.start()] + chosen + template[match.end():]
    for _ in range(2):
        template = WORD.sub(lambda match: look_up(match.group(1), world), template)
    text = re.sub(' +', ' ', ARTICLE.sub(r'\1n ', template))
    return SENTENCE_START.sub(lambda match: match.group(1) + match.group(2).upper(), text).strip()


def look_up(name, world):
    """Returns the word that `$name` stands for, with a capital if the name has one (characters' names aside)."""
    word = world[name] if name in world else world[name[0].lower() + name[1:]]
    if name[0].isupper() and name not in CHARACTERS:
        return word[0].upper() + word[1:]
    return word


def with_article(noun):
    """'apple' -> 'an apple'."""
    vowel = noun[0] in 'aeiou' and not noun.startswith(('uni', 'one'))
    return ('an ' if vowel else 'a ') + noun


def plural(food):
    """'cherry' -> 'cherries', 'loaf of bread' -> 'loafs of bread'."""
    if ' of ' in food:
        return re.sub(r'^(\w+) of', r'\1s of', food)
    if food.endswith('ry'):
        return food[:-1] + 'ies'
    return food + ('es' if food.endswith(('ch', 'to')) else 's')
