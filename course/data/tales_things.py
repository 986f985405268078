"""Things worth having, and what is true of each: how it looks, who wants it for what, when it is "
"needed, how it breaks."""

from course.data import tales_words  # noqa: F401  (the pools that things are told with)
from course.data.tales_grammar import alternatives, entries, table

THINGS: list[dict] = []


def thing(
    name: str, looks: str, errands: str, needs: list[tuple[str, str, str]], breaks: dict[str, str]
) -> None:
    """Add a thing in all its looks.

    `errands`: why somebody asks for it. `needs`: what happens that calls for it, what became of
    somebody without one, what somebody did with one. `breaks`: how it breaks, and what mends it.
    """
    known = {
        "": name,
        "errand": alternatives([f"[{errands}]"]),
        "needs": table(
            [
                {"": need, "without": alternatives([without]), "use": alternatives([use])}
                for need, without, use in needs
            ]
        ),
        "breaks": table([{"": broke, "fix": fix} for broke, fix in breaks.items()]),
    }
    for look in looks.split("|"):
        THINGS.append(known | {"text": f"{look} {name}", "full": f"{look} {name}"})


thing(
    "lantern", "brass|green|little|old|square",
    "My <small> <beast> has gone down into the cellar, and it is dark there|"
    "I want to read <a small> book under the [blankets|bed|table|stairs]|"
    "I must see who is eating our [turnips|lettuce|apples|carrots|corn|chickens] at night",
    [("every lamp in town went out",
     "walked straight into [a rain barrel|the <landmark>|<a small> <beast>|<herd>]",
     "held the lantern high and led everybody home"),
     ("the streets went as black as ink",
      "said good evening to <a small> [scarecrow|gatepost|<beast>|snowman]",
      "lit the way for the whole street"),
     ("a thick darkness fell on the town",
      "fell over the same [wheelbarrow|<beast>|bench|bucket|milk can] [twice|three times|over and over]",
      "found the keyhole at the first try")],
    {"the glass cracked": "a new pane of glass", "the handle came off": "a drop of solder"},
)
thing(
    "umbrella", "yellow|black|striped|spotted|enormous",
    "Our roof leaks right above my [pillow|soup|piano|<relative>]|"
    "I have to walk to my <relative>'s house, and the sky looks sulky|My new <garment> must not get wet",
    [("a fat gray cloud stopped above the town and emptied itself",
     "got wet to the [very socks|skin|bone|last button]",
      "opened the umbrella and kept <herd> dry"),
     ("it poured as if somebody had pulled a plug", "stood under a leaf that was much too small",
      "walked home dry under the drumming drops"),
     ("the sky opened right above the school picnic", "had to wring out both ears",
      "held the umbrella over the <food> and saved it")],
    {"two of its ribs snapped": "a length of wire", "the wind turned it inside out": "a new wooden handle"},
)
thing(
    "kite", "red|paper|diamond-shaped|blue|long-tailed",
    "My <relative> has never seen one fly|I want to find out how high the [swallows|larks|clouds|"
    "wild geese|bats] go|I have bet <a dish> of <food> that I can touch a cloud",
    [("the kite fair opened",
     "stood on the hill with nothing but [a piece of string|<a color> <garment>|<a old> <bauble>]",
      "flew the kite higher than the church tower"),
     ("the best wind of the year blew over the hill",
      "had to fly <a color> [handkerchief|sock|napkin|tablecloth]",
      "let the kite dance until even the mayor clapped"),
     ("the whole town met on the hill to fly kites", "ran up and down with an empty spool",
      "won the prize for the longest flight")],
    {"it tore on a thorn bush": "strong paper and some paste",
     "its cross stick snapped": "a straight stick of hazel"},
)
thing(
    "drum", "tin|big|red|round|noisy",
    "The <beasts> are eating our [corn|cherries|cabbages|flowers|beans], and I must scare them|"
    "I have a song about <beasts> that wants a beat|My <relative> sleeps through every alarm clock",
    [("the parade began, and nobody could keep in step",
     "had to beat time on <a old> [soup pot|bathtub|bucket|washboard|teakettle]",
      "drummed the whole parade [twice|three times|four times] around the square"),
     ("a band came to town without a drummer", "clapped until both hands were sore",
      "played with them until the windows hummed"),
     ("the mayor's <beasts> got loose and would follow nothing but a beat",
      "thumped on a barrel until it fell apart",
      "beat the drum, and they all fell in line")],
    {"a stick went right through it": "a piece of tight leather", "the strap tore": "a good buckle"},
)
thing(
    "ladder", "tall|wooden|wobbly|blue|folding",
    "My <relative>'s <beast> is on the roof and will not discuss it|"
    "There is <a bird>'s nest that I must look into|I want to paint [the sky|stars|<beasts>|"
    "clouds] on my ceiling",
    [("the [pears|apples|cherries|plums|peaches] grew ripe, high up where nobody could reach",
     "jumped and jumped and caught one leaf",
      "climbed up and picked every last one"),
     ("the weathercock got stuck and nobody knew where the wind was",
      "stood on three chairs and then, suddenly, on none",
      "went up and gave the weathercock a push, to loud cheers"),
     ("the mayor's <garment> blew into the top of the oak", "threw sticks until one came down on the mayor",
      "climbed to the very top and came down wearing it")],
    {"a rung snapped": "a new rung of ash wood", "one leg split": "two screws and a strip of iron"},
)
thing(
    "wagon", "red|little|wooden|creaky|yellow",
    "I have promised to fetch my <relative>'s [piano stool|bathtub|armchair|cheese|trunk|stove]|"
    "There are <two> [bricks|melons|cabbages|jars|logs] that want to come home with me|"
    "Our <small> <beast> has a sore foot and must see the doctor",
    [("<two> [pumpkins|cheeses|melons|cabbages] had to go to market",
     "carried them, one at a time, until midnight", "pulled them all there in one trip"),
     ("the school needed firewood before the frost", "rolled the logs along with both feet",
      "brought a mountain of firewood and sang all the way"),
     ("the baker's donkey went on strike with <two> loaves to deliver",
      "tried to pull the bread on a doormat",
      "brought every loaf to its door while it was warm")],
    {"a wheel came off": "a new axle pin", "its handle broke": "a good strong bolt"},
)
thing(
    "scarf", "wool|long|striped|purple|warm",
    "I must visit the ice cutters, and my neck is long|My [snowman|<relative>|<beast>|"
    "canary] has caught a cold|I am to be a [wizard|giraffe|dragon|sheep|king|snake] in the school play",
    [("the first hard frost came",
     "wore a tablecloth and was nearly laid for [dinner|supper|tea|breakfast]",
     "wrapped the scarf around three times and felt like toast"),
     ("a north wind crept in under every door", "sneezed <two> times a day",
      "was the only one in town without a red nose"),
     ("it began to snow and would not stop", "turned as blue as [a plum|an inkwell|a mussel|a sailor]",
      "tied on the scarf and went out to build a snow <beast>")],
    {"it caught on a nail and unraveled": "two balls of wool",
     "a goat ate the fringe": "a strong needle and some yarn"},
)
thing(
    "fishing rod", "long|bamboo|lucky|bent|old",
    "The big trout has laughed at me again|My kite hangs over the river, and I must hook it|"
    "My <relative> says that there are [pike|eels|perch|carp|sturgeons] under the bridge",
    [("the big trout came back to the pond", "tried to catch it in <a color> <garment>",
      "caught the trout, looked it in the eye and let it go"),
     ("the inn ran out of fish on the day of the feast", "sat by the water and caught nothing but a cold",
      "caught supper for the whole inn"),
     ("the town held its fishing day", "offered the fish a worm by hand, which they declined",
      "pulled out [two|three|four|five|six] fat [perch|eels|carp|herrings] and <a color> <garment>")],
    {"it snapped in the middle": "a pot of glue and some thread", "the line broke": "a new line of silk"},
)
thing(
    "bell", "silver|copper|ship's|heavy|tiny",
    "My <relative> needs something louder than her voice|Our <small> <beast> keeps getting lost|"
    "I want to be a [ferry|cow|fire engine|church|train] for an afternoon",
    [("the fog came in and the boats could not find the harbor", "shouted until there was no voice left",
      "rang the bell until every boat was safe"),
     ("the <beasts> strayed in the mist",
      "banged [two pans|a pan and a spoon|two lids|two boots] together and frightened them farther off",
      "rang the bell, and they all came home in a row"),
     ("the clock in the tower stopped and nobody knew when it was noon",
      "called out the hours and got them wrong",
      "rang the bell at noon, and everyone sat down to eat")],
    {"the clapper fell out": "an iron hook", "it cracked on a stone": "a blob of bronze"},
)
thing(
    "compass", "brass|pocket|little|round|sailor's",
    "I am going to find the North Pole, or at least the north side of the hill|My <relative>'s [boat|"
    "horse|wagon|bicycle] has no sense of direction|"
    "I get lost on the way to my own bed",
    [("the path split into three in the deep woods",
     "met the same [stump|puddle|mushroom|scarecrow] <two> times",
     "followed the needle home in time for supper"),
     ("a mist came up and swallowed the signposts",
      "followed <a beast>, which did not know the way either",
      "walked north through the mist and was right"),
     ("the whole school got lost on a hike", "led everybody around in a circle",
      "led everybody home in a straight line")],
    {"the needle stuck": "a drop of fine oil", "the lid broke off": "a tiny brass hinge"},
)
thing(
    "whistle", "tin|bone|shrill|shiny|silver",
    "Our <beast> has stopped listening to words|I am to start the [sack|egg|snail|turtle|"
    "wheelbarrow] race|I want to find out if [bats|fish|owls|worms|stars|dragons] can hear me",
    [("the <beasts> ran off in all directions", "ran after them one by one until the moon was up",
     "blew one long note, and back they came"),
     ("a runaway [cart|barrel|cheese|pumpkin|piano] rolled toward the market",
      "tried to whistle with two fingers and only spat",
      "blew so hard that everybody jumped aside in time"),
     ("the little ones wandered off at the picnic", "shouted, but the wind took the words away",
      "blew three times, and they all came running")],
    {"the pea inside fell out": "a dried pea",
     "somebody stepped on it": "a small hammer and a lot of patience"},
)
thing(
    "fiddle", "old|cherrywood|dark|little|golden",
    "I want to play to our <beasts>, so that they [sleep|smile|come home|dance|behave]|"
    "My <relative> is getting married, and there are mice in the organ|"
    "I know a tune that will not leave me alone",
    [("the [big|yearly|spring] dance began", "hummed until it hurt",
     "played until the [benches|tables|<beasts>|aunts|teacups] danced"),
     ("the harvest feast began, and the musicians were stuck in the mud",
      "played on a comb, and people were polite about it",
      "played so sweetly that the cook let the <food> burn"),
     ("the mayor asked for music, at once", "sang, and all the dogs joined in",
      "played the last waltz [three|four|five|six] times over")],
    {"a string snapped": "a new string", "the neck came loose": "hot glue and a clamp"},
)
thing(
    "sled", "fast|red|wooden|long|low",
    "I have to bring [firewood|coal|turnips|medicine|news] to my <relative>|"
    "My <relative> says that I do not dare go down the steep side|Our <small> <beast> wants to see the snow",
    [("snow fell on the hill, deep and perfect",
     "slid down on [a tea tray|a cellar door|a shovel|<a old> basket|a pillow] and ended in a hedge",
     "flew down the hill faster than <a bird>"),
     ("the great snow race was called", "went down the hill in a washtub, backward",
      "was at the bottom before the others had sat down"),
     ("the hill froze over and the doctor had to get down it at once", "slipped and took the doctor along",
      "brought the doctor down without a scratch")],
    {"a runner split": "a strip of iron", "it hit a stump and cracked": "three long screws"},
)
thing(
    "spyglass", "brass|long|old|captain's|folding",
    "I think that there is a face on the moon|My [pigeon|<relative>] is late, and I am worried|"
    "Somebody is waving at me from the other hill",
    [("a strange ship showed itself on the horizon", "saw nothing but a gray speck",
     "saw at once that it was only the [cheese|mail|onion|circus|laundry] boat"),
     ("the mayor's <beast> got lost on the mountain",
      "looked through [a rolled-up newspaper|a hollow carrot|a keyhole|a ring of bread]",
      "found it in a minute, eating the mayor's [flag|hat|roses|laundry]"),
     ("smoke rose far away, and nobody knew why", "guessed, and guessed wrong",
      "saw that it was only somebody's [toast|pipe|soup|pancakes|chimney]")],
    {"a lens fell out": "a lens from an old pair of glasses",
     "the tube bent": "a soft hammer and a steady eye"},
)
thing(
    "watering can", "green|tin|dented|big|spotted",
    "My [sunflower|cactus|cabbage|lily|pumpkin] looks at me as if I had insulted it|"
    "My <bugs> need a shower|I have sown <two> [radishes|beans|melons|lettuces] and seen no rain",
    [("the sun burned down on the garden and the [beans|<flower>] hung their heads",
     "carried water in a [teacup|thimble|boot|soup spoon] until midnight",
      "watered row after row before breakfast"),
     ("the well ran low and each drop had to be carried", "tried to do it with a sponge",
      "gave every plant a drink and the pumpkins two"),
     ("the <flower> wilted a day before the flower show", "sang to the flowers, but they wanted water",
      "had every flower standing up by supper")],
    {"rust ate a hole in its bottom": "a dab of tar", "the spout fell off": "a bit of solder"},
)
thing(
    "rope", "long|thick|good|new|sailor's",
    "Our <beast> has an idea, and I would like to stop it|I want to hang [a swing|a hammock|a flag|"
    "my <relative>] in the oak|My <garment> is at the bottom of the well",
    [("<a beast> slid into the deep ditch", "pulled it by the ears, and it pulled back",
     "made a loop, and the loop did the rest"),
     ("the ferry broke loose and drifted off",
      "tied <two> [scarves|stockings|bedsheets|shoelaces] together, and they did not hold",
      "threw the rope, and everyone pulled the ferry in"),
     ("the mayor's piano had to go in through the window", "pushed from below and got a piano for a hat",
      "tied the rope to <a small> [pony|ox|mule|camel], and up went the piano")],
    {"it frayed in the middle": "a sailor's splice", "a goat chewed it in two": "a very good knot"},
)
thing(
    "teapot", "blue|china|round|fat|flowered",
    "My <relative> is coming and always counts the cups|I am giving a party for <two> [dolls|<beasts>|"
    "teddy bears] and one real [duke|aunt|colonel|poet]|Our kettle has run away with the [tinker|circus|"
    "spoon|milkman]",
    [("the mayor came to tea without a warning",
     "served the tea in [a flowerpot|a watering can|a hat|eggcups|a fishbowl]",
     "poured cup after cup and did not spill a drop"),
     ("<two> aunts arrived on the same train",
      "made tea in [a boot|a bathtub|a saucepan|a vase] and hoped for the best",
      "gave every aunt a second cup"),
     ("the whole choir caught a cold", "passed a bucket and a ladle around",
      "made <drink> until they could sing again")],
    {"the spout came off": "a spoonful of china glue", "its lid broke": "a cork and a steady hand"},
)
thing(
    "bucket", "tin|wooden|yellow|big|round",
    "My boat is wetter inside than outside|I have been asked to milk [a cow|a goat|a camel|"
    "<two> cows], and I have only a sieve|I want to keep a cloud, if one comes down",
    [("a spark set the haystack smoking", "ran back and forth with a teacup",
     "was first in the line and never spilled a drop"),
     ("the river came up over the doorsteps",
      "tried to stop the water with [a bun|a dictionary|a mattress|<a color> <garment>]",
      "bailed until the carpet showed"),
     ("the roof of the library began to leak", "held out both hands, which leaked too",
      "caught each drip before it reached the books")],
    {"the bottom fell out": "a round piece of oak", "its handle snapped": "a loop of wire"},
)
thing(
    "basket", "willow|deep|brown|round|large",
    "I must carry <herd> to my <relative>|My hens have hidden their eggs all over the hill|"
    "There are [mushrooms|chestnuts|berries|acorns] in the woods, and I have small pockets",
    [("the [blackberries|raspberries|strawberries|gooseberries] ripened all on one day",
     "filled <a color> [hat|bonnet|cap] and wore the juice home",
     "picked until there was nothing left to pick"),
     ("the hens of the whole town laid as never before",
      "carried the eggs home in [two socks|a nightcap|a pillowcase|both pockets], and spoiled both",
      "brought home <two> eggs without cracking one"),
     ("it was time to bring in the [plums|nuts|figs|pears]", "carried them by twos until supper",
      "filled it three times before noon")],
    {"the bottom tore": "a bundle of willow twigs", "a mule sat on it": "an armful of reeds"},
)
thing(
    "broom", "straw|stiff|new|long|trusty",
    "The wind has swept all the leaves of the town into [my kitchen|our hall|our bathtub|my bed]|"
    "There is [a bat|<a bird>] in my room, and I would like to reason with it|"
    "Our chimney has sneezed",
    [("the chimney of the inn dropped its soot an hour before the wedding",
     "swept with [a goose feather|a toothbrush|a bunch of <flower>|<a color> sock]",
      "swept until the floor shone"),
     ("the circus left town, and what the elephants had left stayed",
      "pushed it under a rug, and the rug became a hill",
      "swept it all up and still had time to dance"),
     ("a sack of flour burst in the town hall", "tried to blow it out of the door and came out white",
      "had the place clean in [ten|nine|eight|seven|six] minutes")],
    {"its handle cracked": "a stick of ash wood", "it lost its bristles": "a sheaf of fresh straw"},
)  # fmt: skip

entries("thing", THINGS)
