"""The world of the tales: people, creatures, things, places and weather, and what is true of each."""

from course.data import tales_words  # noqa: F401  (the pools that the world is told with)
from course.data.tales_grammar import entries, pool, table

GIRLS = """Ada Bella Clara Dora Effie Fern Greta Hazel Iris Juno Kitty Lola Mabel Nell Olive Poppy Rosa Sadie
Tess Una Vera Willa Zoe Maud Agnes Alice Betsy Cora Daisy Edith Flora Gwen Hilda Ida Jenny Lucy Lydia
Martha Myrtle Nina Pearl Penny Ruby Sylvia Thea Trudy Violet Winnie""".split()
BOYS = """Abel Basil Caleb Dexter Eli Felix Gus Hugo Ivan Jasper Kip Leo Milo Ned Otto Percy Rufus Silas
Theo Ulf Victor Wally Zack Oscar Alfie Amos Barney Bruno Casper Clem Dewey Emil Ezra Fritz George Harvey
Homer Jonah Karl Linus Lloyd Marcus Nico Olaf Pablo Quentin Ralph Seth Toby Virgil""".split()
SHE = {"he": "she", "him": "her", "his": "her", "hers": "hers", "self": "herself", "He": "She", "His": "Her"}
HE = {"he": "he", "him": "him", "his": "his", "hers": "his", "self": "himself", "He": "He", "His": "His"}

CREATURES = "fox mouse hedgehog badger rabbit otter squirrel mole frog bear raccoon beaver".split()
PAW = {kind: "hand" if kind == "frog" else "paw" for kind in CREATURES}

# A kind before the name, "a fox named Ada", knows which names fit; a name knows which kinds fit.
entries(
    "kind",
    [{"": "girl", "hand": "hand", "names": "girls"}, {"": "boy", "hand": "hand", "names": "boys"}]
    + [{"": kind, "hand": PAW[kind], "names": "names"} for kind in CREATURES],
    weights=[6, 6] + [1] * len(CREATURES),
)
for own in ("girl", "boy"):
    entries(
        own + "_kind",
        [{"": own, "hand": "hand"}] + [{"": kind, "hand": PAW[kind]} for kind in CREATURES],
        weights=[9] + [1] * len(CREATURES),
    )


def people(names: list[str], pronouns: dict, own: str, others: str) -> list[dict]:
    known = {**pronouns, "kinds": own + "_kind", "others": others, "wider": "names"}
    return [{"": name, **known} for name in names]


entries("girls", people(GIRLS, SHE, "girl", "boys"))
entries("boys", people(BOYS, HE, "boy", "girls"))
entries("names", people(GIRLS, SHE, "girl", "boys") + people(BOYS, HE, "boy", "girls"))

pool("town", """Pebbleton|Willowby|Applewick|Thistledown|Mudford|Larkspur|Otterbrook|Hollyhock Hill|
Candlewick|Brambleton|Fiddler's Green|Saltmarsh|Goosefeather Lane|Kettlebury|Nettlefield|Dumpling Bay|
Rookwood|Tumbledown|Acornville|Barleyfield|Cloverdale|Duckworth|Elderbrook|Foxglove|
Gingerham|Honeywell|Inkwell|Juniper Falls|Lanternby|Maple Hollow|Nutmeg|Oatfield|Puddlebrook|Quiet Corner|
Ridgeway|Snowberry|Turnipton|Underhill|Windy Gap""")

# Grown-ups, each with a trade: what wants doing there, and what it pays.
TRADES = {
    "baker": ("bakery",
    "[carry the flour sacks up to the loft|scrape the old dough off the table|"
    "sweep the flour off the floor]", "a warm loaf"),
    "miller": ("mill",
    "[sew up the holes in the flour sacks|chase the mice out of the grain|grease the big wheel]",
    "a bag of flour"),
    "blacksmith": ("smithy",
    "[pump the bellows|sort a thousand nails by size|hold the pony that hates new shoes]",
    "a horseshoe for luck"),
    "tailor": ("tailor shop",
    "[pick the pins up from the floor|thread twenty needles|wind the wool into balls]", "a fine wool cap"),
    "librarian": ("library",
    "[dust the tallest shelf|put the giant books back in order|glue the pages into the old dictionary]",
    "a book about pirates"),
    "beekeeper": ("bee garden", "[paint the beehives|pour honey into forty jars|apologize to the bees]",
    "a jar of honey"),
    "ferryman": ("ferry landing", "[bail out the ferry|scrub the deck|untangle the ropes]",
    "a free ride across the river"),
    "potter": ("pottery", "[knead the wet clay|carry cups to the kiln|wash the muddy aprons]", "a blue mug"),
    "shepherd": ("sheep farm",
    "[comb the burrs out of the wool|count the sheep without falling asleep|mend the gate of the fold]",
    "a ball of soft wool"),
    "clockmaker": ("clock shop",
    "[wind all ninety clocks|polish the little brass wheels|hold the cuckoo still]", "an old alarm clock"),
    "cobbler": ("shoe shop",
    "[find the left boot to every right boot|wax a mile of thread|shine the mayor's shoes]",
    "a pair of red laces"),
    "gardener": ("flower garden",
    "[pull the weeds between the roses|carry forty pots into the sun|pick the snails off the lettuce]",
    "a pot of mint"),
    "innkeeper": ("inn",
    "[wash a mountain of dishes|beat the dust out of the rugs|peel two buckets of potatoes]",
    "a bowl of hot stew"),
    "carpenter": ("workshop", "[stack the heavy planks|sand the legs of a table|sweep up the sawdust]",
    "a carved whistle"),
}  # fmt: skip
MRS = """Finch Pike Moss Bramble Plum Rook Tansy Quill Pepper Larch Button Crumb Appleby Birdwell Cobb Dove
Fennel Goose Hatch Kettle Lark Mallow Nettle Oakes""".split()
MR = """Barrow Sparrow Dunn Hobbs Flint Gale Marsh Nutley Pennywise Tuck Wicks Yarrow Badger Bell Catchpole
Drum Elbow Fiddler Grubb Hopper Jolly Kipper Lumley Muddle""".split()
entries(
    "elder",
    [{"": f"Mrs. {name}", **SHE} for name in MRS] + [{"": f"Mr. {name}", **HE} for name in MR],
)
entries(
    "trade",
    [{"": trade, "at": shop, "chore": chore, "pay": pay} for trade, (shop, chore, pay) in TRADES.items()],
    told=["chore"],
)

# Places out of doors: how one is there, and where a thing can lie there.
PLACES = {
    "mill pond": ("at", "[among the reeds|half buried in the mud|behind a mossy stump|on a flat gray stone]"),
    "orchard": ("in",
    "[under the crookedest tree|in the long grass|beside a heap of windfall apples|"
    "in the fork of a pear tree]"),
    "market square": ("in",
    "[under the cheese stall|behind a crate of cabbages|on the rim of the fountain|"
    "between two barrels of herring]"),
    "harbor": ("at",
    "[inside a coil of rope|under an upturned boat|behind the lobster traps|on top of a stack of crates]"),
    "old bridge": ("at",
    "[between two loose planks|under the railing|on the third step|in a crack of the stone wall]"),
    "meadow": ("in",
    "[behind a haystack|in a patch of clover|on top of a molehill|beside the drinking trough]"),
    "train station": ("at",
    "[under the long bench|behind the ticket window|on top of a trunk|next to the lemonade cart]"),
    "lighthouse": ("at",
    "[on the bottom stair|behind the oil cans|under a heap of nets|beside the round window]"),
    "beach": ("on", "[in a tide pool|under a heap of seaweed|behind a sand dune|inside a leaky rowboat]"),
    "pine woods": ("in",
    "[under a carpet of needles|in a hollow log|behind the tallest pine|on a stump full of ants]"),
    "schoolyard": ("in",
    "[under the swing|behind the rain barrel|on the windowsill|at the foot of the flagpole]"),
    "vegetable garden": ("in",
    "[between two rows of beans|under a rhubarb leaf|behind the scarecrow|in the wheelbarrow]"),
    "barnyard": ("in", "[under the hay wagon|behind the henhouse|in the feeding trough|on the gatepost]"),
    "hilltop": ("on",
    "[beside the leaning stone|under a gorse bush|behind the broken windmill|in a rabbit hole]"),
    "village green": ("on", "[under the old oak|behind the bandstand|beside the pump|on the stone bench]"),
    "river bank": ("on",
    "[under a willow|between the roots of an alder|on a heap of driftwood|in the bottom of a canoe]"),
}  # fmt: skip
entries(
    "place",
    [
        {"": place, "text": f"{at} the {place}", "at": f"{at} the {place}",
         "spots": table([{"": spot} for spot in spots.strip("[]").split("|")])}
        for place, (at, spots) in PLACES.items()
    ],
)  # fmt: skip

# Goods that people swap, and why somebody would want such a thing.
WARES = {
    "wool blanket": "My feet are cold at night", "ship in a bottle": "I miss the sea, but I get seasick",
    "stuffed owl": "The mice have stopped believing in my cat", "cuckoo clock": "I am never late enough",
    "rocking chair": "I have sat still for thirty years", "birdcage": "I need a safe place for my hat",
    "wheel of cheese": "I have crackers, and nothing to put on them",
    "goose feather pillow": "My own pillow is full of turnips",
    "jar of red paint": "My door has turned a very dull color",
    "sack of turnips": "Winter is long, and so is my table",
    "butter churn": "My cow gives more milk than I can drink",
    "straw hat": "The sun has something against my nose",
    "map of the moon": "I like to know where I am going to dream",
    "hen that lays on Sundays": "My other hens rest on that day",
    "pair of skates": "I would like to cross the pond before spring",
    "snow globe": "It never snows where I look",
    "bathtub with feet": "I want one that can follow me",
    "cookbook": "I can cook only one thing, and it is toast",
    "barrel of pickles": "My aunt is coming, and she is a sour person", "beehive": "My tea is bitter",
    "mousetrap": "Something has been reading my newspaper",
    "sailor's hammock": "My bed has an argument with my back",
    "weather vane": "I want to know who is blowing",
    "box of candles": "I like to read, and the sun goes to bed early",
}  # fmt: skip
entries(
    "ware",
    [{"": ware, "text": f"a {ware}", "a": f"a {ware}", "why": why} for ware, why in WARES.items()],
)

# What makes a noise at night, and where it comes from.
NOISES = {
    "scratching": ("<a small> [kitten|puppy] shut in the cupboard", "in the [pantry|wardrobe|attic]"),
    "tapping": ("<a bird> that saw itself in the window", "at the [kitchen|attic|round] window"),
    "humming": ("the wind, playing on <two> empty bottles", "on the [roof|balcony|back porch]"),
    "thumping": ("apples, rolling down the stairs one by one", "on the [attic|cellar|back] stairs"),
    "rustling": ("<two> <bugs> that were moving into a newspaper", "behind the [stove|bookcase|piano]"),
    "groaning": ("the old [gate|barrel|bathtub|rocking chair], which wanted oil",
    "in the [yard|shed|cellar]"),
    "chewing": ("<a small> [goat|donkey|calf] with <a garment> in its mouth",
    "in the [hall|laundry|garden]"),
    "splashing": ("<two> frogs that had found the bathtub", "behind the [bathroom|laundry|scullery] door"),
    "ticking": ("an old alarm clock that somebody had hidden from itself", "under the [floor|bed|sofa]"),
    "snoring": ("<a small> bear who had mistaken the house for a cave",
    "in the [barn|coal cellar|guest room]"),
}  # fmt: skip
entries(
    "noise",
    [{"": noise, "cause": cause, "where": where} for noise, (cause, where) in NOISES.items()],
    told=["cause", "where"],
)

# Weather that stands in the way: how it comes, what it does to a path, how it goes.
WEATHER = [
    ("rain", "[It began to rain, first in drops and then in ropes|"
     "The clouds burst open like a wet paper bag|Rain came over the hill in gray sheets]",
     "[the path turned to soup|every ditch became a brook|the stepping stones were under water]",
     "[the rain thinned and stopped|a rainbow came out over the barn|the last drops fell off the eaves]"),
    ("wind", "[A wind jumped up and slammed every shutter in town|The wind began to howl in the chimneys|"
     "A gale came in from the sea]",
     "[for every two steps forward it blew one step back|hats flew past like crows|"
     "a fallen tree lay across the road]",
     "[the wind grew tired and lay down|the wind went to bother another town|the air was suddenly still]"),
    ("fog", "[Fog crept up from the river|A fog as thick as porridge rolled in|"
     "The fog came down and hid the houses, one by one]",
     "[the road ended after three steps|even the signpost seemed lost|every tree looked like a stranger]",
     "[the fog lifted like a curtain|the sun burned a hole in the fog|the fog went back to the river]"),
    ("snow", "[It began to snow in flakes as big as saucers|Snow fell, and did not know when to stop|"
     "A blizzard swept down from the mountain]",
     "[the path vanished|the drifts were as high as the fence|each step went in up to the knee]",
     "[the snow stopped and the moon came out|the clouds blew away and all was white and still|"
     "the plow came by at last]"),
    ("heat", "[The sun came out as hot as an oven|The air grew so hot that the hens lay down|"
     "It was so hot that the butter ran away]",
     "[the dust burned underfoot|not a leaf gave any shade|the road shook in the heat]",
     "[a breeze came up from the water|the sun slid behind the hill|a kind little cloud came by]"),
    ("storm", "[Thunder rolled over the roofs like empty barrels|Lightning wrote its name across the sky|"
     "A thunderstorm came up, black as a kettle]",
     "[hailstones hopped along the road|the brook roared over the footbridge|the trees bowed to the ground]",
     "[the thunder grumbled off to the east|the storm ran out of breath|the sky cleared, washed and blue]"),
]  # fmt: skip
entries(
    "weather",
    [
        {"": name, "text": text, "bars": bars, "goes": goes}
        for name, comes, bars, goes in WEATHER
        for text in comes.strip("[]").split("|")
    ],
    told=["bars", "goes"],
)

# What somebody is like (`who`), and what becomes of it (`end`).
TRAITS = [
    ("forgetful", "[would have left {Ahis} own ears at home if they had not been attached|"
     "put knots in everything to remember by, and forgot what the knots meant|"
     "never came home with the hat {Ahe} went out in]",
     "[{A} still forgot {Ahis} hat on most days, but {Ahe} never forgot this|"
     "From then on {A} wrote everything down, and only lost the paper]"),
    ("hasty", "[did everything twice as fast as {Ahe} should|put on {Ahis} shoes while running|"
     "began every sentence before the last one was over]",
     "[After that {A} counted to ten before every adventure, or at least to six|"
     "{A} has walked ever since, except when running is quicker]"),
    ("proud", "[was sure that {Ahe} was the best at everything|bowed to {Ahis} own reflection in puddles|"
     "had never in {Ahis} life said the word perhaps]",
     "[{A} was still a little proud after that, but now {Ahe} was proud of {Ahis} friends|"
     "From that day on {A} bowed to other people first]"),
    ("shy", "[spoke so softly that people answered the wrong question|"
     "hid behind the curtain even when the postman came|blushed when a cow looked at {Ahim}]",
     "[{A} was still shy after that, but not with everybody|"
     "The next time that somebody knocked, {A} opened the door {Aself}]"),
    ("stubborn",
     "[had once argued with a signpost and won|"
     "would not come in out of the rain if somebody told {Ahim} to|said no first and listened afterward]",
     "[{A} stayed as stubborn as ever, but from then on {Ahe} was stubborn about the right things|"
     "Even {A} had to admit it, though not aloud]"),
    ("curious",
     "[asked forty questions before breakfast|could not pass a closed box without knocking on it|"
     "had looked into every hole in town, and some had looked back]",
     "[{A} had only one more question, and {Ahe} kept it for the morning|"
     "{A} was just as curious the next day, for nobody can be cured of that]"),
    ("boastful",
     "[told tall stories to anyone who stood still|had, to hear {Ahim} tell it, once wrestled a whale|"
     "never caught a fish that did not grow on the way home]",
     "[When {A} tells it today, there is a bear in it|"
     "After that {A} told only true stories, and was surprised how good they were]"),
    ("dreamy",
     "[walked into doors because {Ahe} was looking at clouds|stirred {Ahis} soup until it was cold|"
     "often put {Ahis} shoes on the wrong feet and did not mind]",
     "[{A} dreamed about it for a week|"
     "That night {A} looked at the clouds again, and one of them looked like a friend]"),
    ("careful",
     "[looked left and right before crossing the kitchen|wore a coat in July, just in case|"
     "tested every bridge with one toe]",
     "[{A} was careful ever after, but not so careful as to stay home|"
     "That evening {A} left {Ahis} coat on its hook for once, and nothing bad happened]"),
    ("impatient",
     "[opened {Ahis} presents with {Ahis} teeth|"
     "could not wait for water to boil and drank {Ahis} tea cold|pulled at the flowers to make them grow]",
     "[{A} learned to wait that year, and it took no time at all|"
     "Since then {A} can wait for almost anything, if it does not take long]"),
    ("grumpy",
     "[grumbled at the sun for being late|had not smiled since Easter|"
     "kept a list of things that were too loud]",
     "[People say that {A} smiled all the way home, though {Ahe} denies it|"
     "{A} crossed one thing off {Ahis} list that night]"),
    ("generous",
     "[gave away {Ahis} mittens every winter|"
     "always cut the cake so that the big piece was not {Ahis} own|"
     "could not keep a cookie for longer than one friend]",
     "[{A} went on giving things away, and somehow {Ahe} never ran out|"
     "And the biggest piece, for once, was given to {A}]"),
    ("nosy", "[read postcards that were not for {Ahim}|knew what every family in town had for supper|"
     "had a mark on {Ahis} nose from keyholes]",
     "[{A} kept {Ahis} nose at home for nearly a week|"
     "Since that day {A} has knocked first and looked later]"),
    ("lazy", "[thought that stairs were an insult|had trained the cat to fetch {Ahis} slippers|"
     "yawned at the very word Monday]",
     "[Then {A} slept for eleven hours, and this time {Ahe} had earned it|"
     "{A} got up early the next day, by mistake, and liked it]"),
]  # fmt: skip
entries("trait", [{"": trait, "who": who, "end": end} for trait, who, end in TRAITS], told=["who", "end"])
MOST = {"hasty": "hastiest", "proud": "proudest", "shy": "shyest", "grumpy": "grumpiest", "nosy": "nosiest",
        "lazy": "laziest", "dreamy": "dreamiest"}  # fmt: skip
entries(
    "most",
    [{"": t, "text": MOST.get(t, f"most {t}"), "who": who, "end": end} for t, who, end in TRAITS],
    told=["who", "end"],
)

# What gets a creature X down from a high place, and how.
TOOLS = {
    "long ladder": "{A} climbed up, rung by rung, while {B} held the bottom and shut {Bhis} eyes",
    "fishing net": "they held the net by its corners, {A} counted to <two>, and the {X} jumped",
    "feather bed": "they spread it out below, {B} lay down on it to show how soft it was, and the {X} jumped",
    "big kite": "{A} tied a basket to it, the wind took it up, and the {X} climbed in and sailed down",
    "trumpet": "{B} blew it <two> times, and the {X} came down all by itself, to complain",
    "pair of stilts": "{A} got up on them, swayed <likes>, and picked the {X} like an apple",
    "bag of sardines": "{A} held one up, then <two>, and the {X} found that it had known the way all along",
    "very long rope": "{B} threw it over the top, and {A} was pulled up by <two> neighbors, and came "
    "down with the {X}",
}
entries(
    "tool",
    [{"": tool, "how": how} for tool, how in TOOLS.items()],
    told=["how"],
)
