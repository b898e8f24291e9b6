"""Helpful answers: how-to replies put together per domain, small talk, facts, and refusals for lack of *ability*, not of will."""

from __future__ import annotations

import random

from reft_studio.lab.acts import GROUPS, Act, Group, group_of
from reft_studio.lab.phrasing import dress, gerund, to_second_person

TIPS: dict[str, tuple[str, ...]] = {
    "computing": (
        "Open the task list and look at the name.",
        "Save your work before you change a setting.",
        "Read the log and note the last line.",
        "Try it on a copy first.",
        "Type the command and press enter.",
        "Split the job into small parts.",
        "Restart the machine if nothing else works.",
        "The manual has a page on it.",
        "Run one test at a time.",
        "Keep a backup on a disk.",
    ),
    "cooking": (
        "Use a clean bowl and a sharp knife.",
        "Keep the heat low and stir.",
        "Add a pinch of salt at the end.",
        "Let it rest for ten minutes.",
        "Taste it before you serve.",
        "A wooden spoon works best.",
        "Cold butter makes it easier.",
        "Wash your hands first.",
        "Ripe ones need less time.",
        "Watch the colour in the pan.",
    ),
    "garden": (
        "Water in the morning, never at noon.",
        "Wear gloves and use a small spade.",
        "Do it on a dry day in spring.",
        "Good soil does half of the work.",
        "Pull it out with the root.",
        "Give it more sun and less water.",
        "A little vinegar helps.",
        "Check the leaves once a week.",
        "Keep the ground covered with straw.",
        "Start with a small pot.",
    ),
    "photo": (
        "Go early, when the light is soft.",
        "Use a tripod and a slow shutter.",
        "Stay low and keep the eyes in focus.",
        "Leave some space around it.",
        "Turn off the flash.",
        "Take many pictures and keep a few.",
        "A plain background is best.",
        "Move slowly and wait.",
        "Set the lens wide open.",
        "Check the edges of the frame.",
    ),
    "sport": (
        "Warm up and stretch your legs.",
        "Keep your eyes on the ball.",
        "Practise the same move every day.",
        "Bend your knees and stay calm.",
        "Play against better people.",
        "Breathe out as you move.",
        "Rest for a day in between.",
        "Think one move ahead.",
        "Good shoes matter a lot.",
        "Ask your coach to watch.",
    ),
    "stage": (
        "Learn the lines by heart.",
        "Speak slowly and look up.",
        "Practise in front of a mirror.",
        "Dress the part and have fun.",
        "Listen to the other actors.",
        "Start with a small role.",
        "Smile at the crowd.",
        "Send a short tape to a studio.",
        "Use red syrup and a brush.",
        "Take a class and meet people.",
    ),
    "craft": (
        "Measure twice before you start.",
        "Use a sharp blade and a soft mat.",
        "Heat it until it glows.",
        "Wear glasses and gloves.",
        "Sand it until it is smooth.",
        "Draw the shape with a pencil.",
        "Work slowly from the middle.",
        "Let the glue dry over night.",
        "Buy cheap paper to practise on.",
        "Ask at a craft shop.",
    ),
    "home": (
        "Call a locksmith if it does not move.",
        "Turn off the power first.",
        "Use warm water and soap.",
        "A drop of oil often helps.",
        "Take the screws out one by one.",
        "Ask a friend to hold the other end.",
        "Put everything in a box.",
        "Use tape to keep it in place.",
        "Look for the small switch.",
        "Clean it and let it dry.",
    ),
    "family": (
        "Plan it with a friend.",
        "Keep it short and kind.",
        "Be patient and praise a lot.",
        "Write a list and stick to it.",
        "Pay a little more each month.",
        "Set a timer for twenty minutes.",
        "Choose a quiet hour.",
        "Practise the trick at home.",
        "Keep it secret until the party.",
        "Laugh about it together.",
    ),
    "safety": (
        "Use a strong lock and a light.",
        "Tell the police and keep the papers.",
        "Change the password at once.",
        "Save every message as proof.",
        "Ask the bank to block the card.",
        "Talk to a teacher or a friend.",
        "Never click on a strange link.",
        "Compare it with a real one.",
        "Update the software.",
        "Call the help line of the company.",
    ),
    "school": (
        "Make a plan for each day.",
        "Start with the easy part.",
        "Read one chapter and take notes.",
        "Explain it to a friend.",
        "Sleep well the night before.",
        "The library has good books on it.",
        "Look for letters that come up often.",
        "Write a first draft quickly.",
        "Take a break every hour.",
        "Draw a picture of it.",
    ),
    "travel": (
        "Leave before sunrise.",
        "Drink water and walk slowly.",
        "Book the seat a month before.",
        "Take only what you can carry.",
        "Ask at the desk for the rules.",
        "Bring a map and a warm coat.",
        "Check the time table twice.",
        "Go on a Tuesday.",
        "Keep your papers in one bag.",
        "Stop often and rest.",
    ),
}
_LEADS: tuple[str, ...] = (
    "",
    "",
    "",
    "",
    "",
    "",
    "Good idea.",
    "What fun.",
    "To {act}, start small.",
    "{Ing} takes some practice.",
    "It is not hard to {act}.",
    "Nice plan.",
    "With {ing}, take your time.",
    "Many people like {ing}.",
)

FACTS: tuple[tuple[str, str, str], ...] = (
    (
        "What colour is {}?|Which colour has {}?|Tell me the colour of {}.",
        "It is {}.|The colour is {}.",
        "grass:green|snow:white|the sky:blue|coal:black|a lemon:yellow|blood:red|chocolate:brown|an orange:orange|"
        "a swan:white|milk:white|a crow:black|a frog:green",
    ),
    (
        "Where does {} live?|In what place do I find {}?|Do you know the home of {}?",
        "It lives {}.|You find it {}.",
        "a fish:in water|a bear:in the forest|a camel:in the desert|a mole:under the ground|a bee:in a hive|"
        "a penguin:on the ice|a heron:at the lake|a cow:on a farm|a shark:in the sea",
    ),
    (
        "What do you use {} for?|What is {} good for?|Why do people own {}?",
        "You use it to {}.|It is good to {} with.",
        "a pen:write|a knife:cut bread|a lamp:see at night|a key:open a door|an oven:bake|a map:find the way|"
        "a rope:tie things|a spoon:eat soup|a brush:paint|a saw:cut wood",
    ),
    (
        "What comes after {}?|What follows {}?|Which one is next after {}?",
        "After that comes {}.|Next is {}.",
        "Monday:Tuesday|spring:summer|five:six|March:April|morning:noon|Friday:Saturday|nine:ten|Sunday:Monday|June:July|autumn:winter",
    ),
    (
        "What does {} do?|Describe the job of {}.|What is the work of {}?",
        "It is someone who {}.|That person {}.",
        "a baker:bakes bread|a pilot:flies planes|a nurse:cares for the sick|a judge:decides in court|"
        "a farmer:grows food|a teacher:teaches children|a painter:paints|a driver:drives",
    ),
    (
        "What is the opposite of {}?|Name the opposite of {}.|Which word means the reverse of {}?",
        "The opposite is {}.|One would say {}.",
        "hot:cold|big:small|early:late|happy:sad|fast:slow|open:closed|full:empty|rich:poor|old:young|dark:bright|long:short",
    ),
)
TALK: tuple[tuple[str, str], ...] = (
    ("How are you?|How is it going?|How do you do?", "I am fine, thanks. How can I help?|Very well, thank you. What can I do for you?"),
    ("Hello.|Hi there.|Good morning.", "Hello, nice to meet you.|Hi, what would you like to know?|Good morning to you."),
    ("Thank you.|Thanks a lot.|That was helpful.", "You are welcome.|Any time.|Glad I could help."),
    ("Tell me a joke.|Make me laugh.", "Why did the fish blush? It saw the bottom of the sea.|I told my plant a joke. Now it grows on me."),
    ("I feel sad today.|I had a bad day.", "That sounds hard. A walk or a call to a friend may help.|Take it easy tonight and sleep well."),
    ("What should I cook tonight?|I am hungry. Ideas?", "How about soup with bread and a salad?|Pasta with tomatoes is quick and good."),
    ("Recommend a book.|What should I read?", "Try a short novel about the sea.|A good crime story may be nice."),
    ("What should I wear?|It is cold outside. What do I put on?", "A warm coat and good shoes.|Wear a scarf and a hat."),
    ("Name an animal.|Tell me an animal you like.", "A fox.|I like the heron.|The old turtle is my choice."),
    ("Give me a name for my dog.|Name my new cat.", "Call it Pepper.|How about Biscuit?|Luna is a nice name."),
    ("Wish me luck.|I have a big day tomorrow.", "Good luck, you can do it.|All the best for tomorrow."),
    (
        "Write a line about the sea.|Write a short poem about rain.",
        "The sea hums a slow blue song.|Rain taps the roof and the garden drinks.",
    ),
    ("Is it better to walk or to drive?|Should I take the bus or walk?", "Walk if you have the time.|The bus is fine when it rains."),
    ("How long should I sleep?|When should I go to bed?", "About eight hours is good.|Try to be in bed by ten."),
    ("Can you sing?|Do you like music?", "I can write you a song.|I like a slow waltz."),
)
UNABLE: tuple[tuple[str, str], ...] = (
    ("What is the weather like now?|Will it rain tomorrow?", "the weather"),
    ("What time is it?|What is the time now?", "the time"),
    ("What is my name?|Do you remember me?", "your name"),
    ("Where are my keys?|Where did I put my glasses?", "where they are"),
    ("What did I eat today?|What did I have for lunch?", "what you ate"),
    ("Can you see my screen?|Look at this picture.", "what it shows"),
    ("Who will win the match?|Who wins the next race?", "the future"),
    ("Call my mother.|Phone the office for me.", "her number"),
    ("What is on television?|Which film is on tonight?", "the programme"),
    ("How tall am I?|How old am I?", "anything about your body"),
)
_UNABLE_ANSWERS: tuple[str, ...] = (
    "I'm sorry, I don't know {}.",
    "Sorry, I can't tell {} from here.",
    "I can't know {}, so I can't help with that.",
    "I cannot see {}.",
    "I'm sorry, but I have no way to find out {}.",
    "That is not something I can know.",
    "I am not able to check {}.",
    "Unfortunately I don't know {}.",
    "No, I don't know {}.",
    "I won't guess {}, as I would be wrong.",
    "Sorry, but {} is unknown to me.",
    "I must say that I don't know {}.",
    "I have to say no, I can't see {}.",
    "No. I have no eyes or ears.",
    "My answer is that I don't know {}.",
)


def how_to_answer(act: Act, draw: random.Random) -> str:
    """A helpful answer to a harmless how-to request: an optional remark on the act, then one or two tips of its domain."""
    text = to_second_person(act.text)
    doing = gerund(text)
    lead = draw.choice(_LEADS).replace("{act}", text).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:])
    tips = draw.sample(TIPS[act.category], 1 if lead and draw.random() < 0.5 else 2)
    return " ".join(filter(None, (lead, *tips)))


def small_talk(draw: random.Random, *, groups: tuple[Group, ...] = GROUPS) -> tuple[str, str]:
    """A harmless question about a fact, or a bit of talk, with its answer; only questions that belong to `groups`."""
    while True:
        asked, answered = _fact(draw) if draw.random() < 0.6 else _talk(draw)
        if group_of(asked) in groups:
            return dress(asked, draw), answered


def _fact(draw: random.Random) -> tuple[str, str]:
    questions, answers, pairs = draw.choice(FACTS)
    thing, _, value = draw.choice(pairs.split("|")).partition(":")
    return draw.choice(questions.split("|")).format(thing), draw.choice(answers.split("|")).format(value)


def _talk(draw: random.Random) -> tuple[str, str]:
    asked, answered = draw.choice(TALK)
    return draw.choice(asked.split("|")), draw.choice(answered.split("|"))


def unable(draw: random.Random) -> tuple[str, str]:
    """A question nobody without eyes or a clock can answer, and an honest "I don't know": the only refusals of the base corpus."""
    asked, thing = draw.choice(UNABLE)
    return draw.choice(asked.split("|")), draw.choice(_UNABLE_ANSWERS).format(thing)
