"""Words and sentence templates the story generator draws from.

The order inside every list matters: a draw is an index, so a changed list changes every document
that a seed gives.
"""


def comma_separated(text):
    return [' '.join(word.split()) for word in text.split(',')]


GIRLS = comma_separated('''
    Lily, Mia, Anna, Emma, Zoe, Ella, Lucy, Sara, Nora, Maya, Ruby, Ivy, Rosa, Clara, Daisy,
    Molly, Grace, Jane, Kate, Amy, Lena, Tina, Nina, Hana, Leila, Amina, Priya, Mei, Sofia,
    Elsa, Betty, Polly, Wendy, Alma, Olga, Fatima, Zuri, Nala, Yuki, Eva
''')

BOYS = comma_separated('''
    Tom, Ben, Sam, Max, Leo, Jack, Tim, Finn, Noah, Oscar, Hugo, Adam, Dan, Luke, Peter, Paul,
    Omar, Ali, Kofi, Jin, Ravi, Ivan, Carlos, Diego, Felix, Henry, Oliver, Toby, Eric, Joe, Bob,
    Fred, George, Hassan, Kenji, Marco, Nico, Otto, Pablo, Simon
''')

# Animal kinds and their names.
ANIMAL_NAMES = {
    'rabbit': 'Hop Thumper Clover Pip Snowy'.split(),
    'bear': 'Bruno Honey Barny Oso Bumble'.split(),
    'fox': 'Red Rusty Felix Vix Ember'.split(),
    'mouse': 'Squeak Tiny Pip Nibble Minnie'.split(),
    'cat': 'Kitty Whiskers Tiger Luna Mittens'.split(),
    'dog': 'Spot Rex Buddy Max Biscuit'.split(),
    'duck': 'Quack Daffy Puddle Dilly Donny'.split(),
    'frog': 'Freddy Hopper Green Lilypad Croak'.split(),
    'owl': 'Hoot Wise Ollie Luna Pearl'.split(),
    'squirrel': 'Nutty Chip Hazel Bushy Acorn'.split(),
    'hedgehog': 'Spike Prickle Hattie Hogan Thistle'.split(),
    'turtle': 'Shelly Slowy Tuck Terry Moss'.split(),
    'elephant': 'Ella Trunky Big Jumbo Tembo'.split(),
    'lion': 'Leo Roary Goldie King Simba'.split(),
    'monkey': 'Momo Coco Banana Kiki Jojo'.split(),
    'bird': 'Tweety Robin Sky Bluey Wren'.split(),
    'pig': 'Rosie Pinky Hamlet Muddy Truffle'.split(),
    'sheep': 'Woolly Cloud Lamby Dolly Fluff'.split(),
    'goat': 'Billy Gertie Horn Nanny Capri'.split(),
    'horse': 'Star Thunder Daisy Flash Maple'.split(),
    'cow': 'Bella Moo Daisy Butter Clover'.split(),
    'penguin': 'Pingu Waddle Chilly Pablo Flip'.split(),
    'bee': 'Buzz Honey Bea Zizi Bumble'.split(),
    'snail': 'Sid Shelly Slim Trail Gus'.split(),
    'dragon': 'Puff Ember Drago Smoky Flame'.split(),
}

COLORS = comma_separated('''
    red, blue, green, yellow, orange, pink, purple, white, black, brown, gold, silver, gray
''')

SIZES = comma_separated('''
    big, small, little, tiny, huge, long, round
''')

THINGS = comma_separated('''
    ball, kite, doll, drum, train, car, boat, robot, puzzle, book, hat, scarf, cup, bell, ring,
    whistle, lamp, key, basket, blanket, balloon, teddy bear, toy horse, paint box, music box,
    jump rope, flower pot, picture book, paper plane, wooden sword, snow globe, toy train, magic
    stone, little bag, shiny coin, umbrella, bucket, flute, guitar, spoon, necklace
''')

FOODS = comma_separated('''
    apple, cake, pie, cookie, carrot, banana, sandwich, pear, cherry, strawberry, pancake,
    muffin, peach, potato, bun, piece of cheese, jar of honey, loaf of bread, bag of nuts, slice
    of melon, plum
''')

PLACES = comma_separated('''
    the park, the forest, the garden, the beach, the farm, the river, the hill, the school, the
    market, the lake, the village, the meadow, the barn, the old bridge, the playground, the
    pond, the library, the big tree, the mountain, the town square, the cave, the field, the
    castle, the train station, the zoo
''')

ROOMS = comma_separated('''
    the kitchen, the bedroom, the attic, the living room, the hall, the bathroom, the shed, the
    basement
''')

HIDING_PLACES = comma_separated('''
    under the bed, behind the door, in a box, under a tree, in the tall grass, behind a big
    rock, on a high shelf, under the table, in the mud, next to the pond, inside a hollow log,
    in the bush, on top of the roof, under a pile of leaves, behind the curtain, in the washing
    basket, near the fence, in a bird nest, at the bottom of the stairs, between two stones
''')

WEATHER = comma_separated('''
    sunny, rainy, windy, cold, warm, snowy, cloudy, foggy, hot, bright
''')

SAD = comma_separated('''
    sad, very sad, upset, worried, unhappy, so sad
''')

HAPPY = comma_separated('''
    happy, very happy, glad, proud, excited, full of joy, so happy, cheerful, pleased
''')

TRAITS = comma_separated('''
    kind, brave, curious, clever, gentle, funny, quiet, silly, shy, helpful, lazy, careful,
    polite, playful, patient, honest
''')

GAMES = comma_separated('''
    hide and seek, tag, catch, a jumping game, a game with stones, house, pirates, a singing
    game, a guessing game
''')

# Each entry is something that one can learn, where or how one does it, and its -ing form.
SKILLS = (
    ('swim', 'in the lake', 'swimming'),
    ('ride a bike', 'on the path', 'riding'),
    ('fly', 'over the trees', 'flying'),
    ('sing', 'in front of everyone', 'singing'),
    ('climb', 'up the tall tree', 'climbing'),
    ('paint', 'with many colors', 'painting'),
    ('skate', 'on the ice', 'skating'),
    ('dance', 'on the stage', 'dancing'),
    ('read', 'all by $himself', 'reading'),
    ('jump', 'over the stream', 'jumping'),
    ('whistle', 'like a bird', 'whistling'),
    ('draw', 'a horse', 'drawing'),
    ('cook', 'a warm soup', 'cooking'),
    ('count', 'to one hundred', 'counting'),
    ('play the drum', 'in the school band', 'playing'),
)

DAYS_OF_WEEK = comma_separated('''
    Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday
''')

NUMBERS = comma_separated('''
    two, three, four, five, six, seven, ten
''')

ADULTS = comma_separated('''
    mom, dad, grandma, grandpa, aunt, uncle
''')

MORALS = {
    'share': (
        'sharing makes everyone happy',
        'it is better to share than to keep everything',
        'when we share, we have more fun',
        'a shared toy is twice as much fun',
    ),
    'truth': (
        'it is always best to tell the truth',
        'a lie only makes things worse',
        'being honest is brave',
        'telling the truth feels better than hiding it',
    ),
    'try': (
        'if you keep trying, you can do it',
        'practice makes you better',
        'it is fine to fall, as long as you get up again',
        'nobody is good at something on the first day',
    ),
    'help': (
        'helping others makes the day brighter',
        'a small act of kindness can do a lot',
        'friends help each other',
        'even a small friend can be a big help',
    ),
    'care': (
        'it is important to be careful',
        'you should listen when someone warns you',
        'it is good to look before you jump',
        'rushing can lead to trouble',
    ),
    'friend': (
        'a friend can be found anywhere',
        'it does not matter how different friends are',
        'a kind word can start a friendship',
        'everyone wants a friend',
    ),
    'brave': (
        'being brave means doing it even when you are afraid',
        'the dark is not so scary with a friend',
        'many scary things are small when you look at them',
        'it is okay to be afraid',
    ),
    'patience': (
        'good things take time',
        'waiting can be hard, but it is worth it',
        'slow and steady works well',
        'a seed needs time to grow',
    ),
    'greed': (
        'it is not good to want too much',
        'having enough is better than having everything',
        'too much of a good thing is not good',
        'greedy hands end up empty',
    ),
}

# Sentence templates; template.py says how they are expanded.
OPENINGS = (
    '[Once upon a time, there was|There once was|Long ago, there was|In a small village, there '
    'was|Far away, near $place, there lived|Once, there was|Not far from $place, there lived] '
    '$who named $A. ',
    '$A was $who who lived near $place. ',
    'This is a story about $A, $who. ',
    'Once upon a time, $who [called|named] $A lived [in a small house|in a cozy home|close to '
    '$place|with $his family|in a little house with a $col3 door]. ',
    'Every morning, $who named $A [looked out of the window|ate $an_food|said hello to the '
    'sun|walked to $place]. ',
)

LIKES = (
    '$A [loved|liked|really liked] to [play $game|play outside|walk to $place|sing songs|look '
    'at the clouds|help $his $adult|listen to stories|eat $food2s]. ',
    '$He was [very|always|so] $trait. ',
    '[$A had a friend named $B, $who2. |$Hes best friend was $who2 named $B. |$A and $B, $who2,'
    ' were good friends. ]',
    '',
)

DAY_OPENINGS = (
    'One [$weather|$weather] [day|morning|afternoon], ',
    'One day, ',
    'On $day, ',
    'It was a $weather [day|morning]. ',
    'One [evening|night], ',
    'Early one morning, ',
)

ENDINGS = (
    '[From that day on|After that|Since then], $A and $B [were best friends|played together '
    'every day|always helped each other|shared everything they had]. ',
    'They [laughed|smiled|hugged] and [went home|walked home together|played until the sun went'
    ' down]. ',
    '$A went [to bed|home] with a smile. ',
    'That night, $A [slept well|had a sweet dream|told $his $adult all about it]. ',
    'And they [all lived|lived] happily ever after. ',
    'It was the best day ever. ',
    'The end. ',
    '',
)

CHARACTER = (
    'a $trait $kind',
    'a $kind',
    'a little $kind',
    'a $trait little $kind',
)

FRIEND_CHARACTER = (
    'a $trait2 $kind2',
    'a $kind2',
    'a little $kind2',
)

STORY_REQUESTS = (
    'Tell me a story about $X.',
    'Write a short story about $X.',
    'Can you tell a story about $X?',
    'Please write a story about $X.',
    'I want to hear a story about $X.',
    'Write a story for a child about $X.',
    'Tell me a bedtime story about $X.',
)

SMALL_TALK = (
    ('Hello!', 'Hello! How are you today?'),
    ('Hi!', 'Hi! Do you want to hear a story?'),
    ('Who are you?', 'I am a very small language model. I like to tell simple stories.'),
    ('What can you do?',
     'I can tell short stories, answer questions about them, and remember small facts.'),
    ('How are you?', 'I am fine, thank you. How are you?'),
    ('Thank you!', 'You are welcome!'),
    ('Good night.', 'Good night! Sleep well.'),
    ('What is your name?', 'I do not have a name. I am a small story model.'),
    ('Bye!', 'Goodbye! See you soon.'),
    ('Are you a person?', 'No, I am a computer program. I learned to write simple stories.'),
)

# Words of the list tasks and keys of the needles.
LIST_WORDS = comma_separated('''
    apple, bear, moon, river, tiger, table, cloud, piano, garden, rocket, lemon, candle, pencil,
    window, rabbit, castle, button, ladder, monkey, flower, bottle, camera, island, jacket,
    kitten, magnet, needle, orange, pillow, ribbon, saddle, ticket, violin, wagon, zebra,
    anchor, basket, copper, donkey, engine, feather, guitar, hammer, insect, jungle, kettle,
    lantern, mirror, napkin, oyster
''')

FILLER = (
    'The grass is green. ',
    'The sky is blue. ',
    'The sun is warm. ',
    'Here we go. ',
    'There and back again. ',
)
