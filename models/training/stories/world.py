"""The small world of one story: three characters and the things, places and words around them.

A world is a dictionary for templates. A, B and C are the characters' names; `he`, `him`, `his`,
`kind`, `trait` and `self` belong to A, the same with 2 to B and with 3 to C.
"""
import dataclasses

from stories import words
from stories.template import with_article


@dataclasses.dataclass
class Person:
    name: str
    kind: str  # girl, boy or an animal
    is_female: bool
    trait: str = ''


def draw_person(random, taken_names):
    """An animal or a child whose name is not taken, if 50 tries are enough."""
    for _ in range(50):
        if random.random() < 0.45:
            kind = random.choice(list(words.ANIMAL_NAMES))
            name = random.choice(words.ANIMAL_NAMES[kind])
            is_female = random.choice('mf') == 'f'
        else:
            is_female = random.choice('mf') == 'f'
            name = random.choice(words.GIRLS if is_female else words.BOYS)
            kind = 'girl' if is_female else 'boy'
        if name not in taken_names:
            break
    return Person(name, kind, is_female, random.choice(words.TRAITS))


def person_words(letter, suffix, person):
    he, him, his = ('she', 'her', 'her') if person.is_female else ('he', 'him', 'his')
    return {letter: person.name, 'he' + suffix: he, 'him' + suffix: him, 'his' + suffix: his,
            'hes' + suffix: his, 'kind' + suffix: person.kind, 'trait' + suffix: person.trait,
            'himself' + suffix: him + 'self'}


def numbered(name, values):
    """{'place': first, 'place2': second, ...}"""
    return {name + (str(number) if number > 1 else ''): value
            for number, value in enumerate(values, 1)}


def draw_world(random):
    """A world; the order of the draws is part of what a seed means."""
    choose = random.choice
    world, names = {}, []
    for letter, suffix in (('A', ''), ('B', '2'), ('C', '3')):
        person = draw_person(random, names)
        names.append(person.name)
        world |= person_words(letter, suffix, person)
    world |= numbered('th', random.sample(words.THINGS, 3))
    world |= numbered('col', random.sample(words.COLORS, 3))
    choose(words.SIZES)  # not used by any plot; drawn because the documents of a seed depend on it
    world |= numbered('place', random.sample(words.PLACES, 3))
    world['room'] = choose(words.ROOMS)
    world |= numbered('food', random.sample(words.FOODS, 3))
    world |= numbered('hide', random.sample(words.HIDING_PLACES, 3))
    world |= {'weather': choose(words.WEATHER), 'sad': choose(words.SAD),
              'happy': choose(words.HAPPY), 'happy2': choose(words.HAPPY),
              'game': choose(words.GAMES), 'num': choose(words.NUMBERS),
              'day': choose(words.DAYS_OF_WEEK)}
    world['skill'], world['skillp'], world['skilling'] = choose(words.SKILLS)
    world |= adult_words(choose(words.ADULTS))
    world['who'] = choose(words.CHARACTER)
    world['who2'] = choose(words.FRIEND_CHARACTER)
    world['thing'] = '$col $th'
    world['an_food'] = with_article(world['food'])
    return world


def adult_words(adult):
    is_female = adult in ('mom', 'grandma', 'aunt')
    return {'adult': adult, 'ahe': 'she' if is_female else 'he',
            'ahim': 'her' if is_female else 'him', 'ahis': 'her' if is_female else 'his'}
