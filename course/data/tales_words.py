"""The words of the tales: pools that fit wherever their kind of word fits."""

from course.data.tales_grammar import phrases, pool

# What somebody, or a creature, looks like or is like.
pool("small", """\
small|freckled|skinny|sleepy|cheerful|young|quick|quiet|tidy|scruffy|merry|plump|lanky|gentle|clever|polite|
sturdy|nimble|solemn|lively|hungry|bright-eyed|long-legged|soft-hearted|near-sighted|dusty|round-faced|
nervous|fearless|rosy|bashful|brave|drowsy|elegant|fidgety|friendly|giggling|graceful|handsome|honest|jolly|
kindly|muddy|noisy|patient|pudgy|restless|serious|shaggy|silent|slender|snub-nosed|sweet-tempered|talkative|
thoughtful|tired|tousled|well-mannered|wild-haired|wise|stout|thirsty|moody|lovely|pensive""")
pool("softly", """\
softly|slowly|kindly|firmly|cheerfully|bravely|gravely|sadly|politely|hopefully|gently|proudly|quickly|
quietly|calmly|crossly|shyly|eagerly|honestly|gladly|solemnly|warmly|carefully|sleepily|thoughtfully|
dreamily|earnestly|gruffly|stiffly|wearily|anxiously|awkwardly|briskly|busily|cautiously|curiously|daintily|
fondly|grandly|happily|heartily|lightly|neatly|nervously|patiently|promptly|silently|smoothly|steadily|
suddenly|sweetly|timidly|tirelessly|hastily|boldly""")
pool("happy", """\
happy|pleased|proud|glad|delighted|cheerful|thrilled|relieved|merry|content|light-hearted|overjoyed|beaming|
blissful|excited|grateful|in high spirits|jubilant|satisfied|tickled pink|as pleased as a cat""")
pool("sad", """\
sad|gloomy|miserable|heavy-hearted|downcast|lonely|glum|unhappy|close to tears|disappointed|sorrowful|blue|
brokenhearted|crushed|dismal|down in the mouth|mournful|out of sorts|sulky|tearful|woeful|in low spirits""")
pool("angry", """\
furious|angry|cross|annoyed|offended|too angry to speak|upset|in a temper|as mad as a hornet|boiling|fuming|
grumpy|huffy|indignant|livid|sore|stormy|vexed""")
pool("sorry", """\
ashamed|sorry|embarrassed|frightened|sick at heart|unhappy|upset|red in the face|pale|guilty|humble|
mortified|remorseful|shamefaced|shaken|tongue-tied|troubled|uneasy|wretched|crestfallen""")
pool("color", """\
red|blue|green|yellow|white|purple|orange|gray|brown|pink|black|golden|silver|striped|spotted|checkered|
crimson|violet|turquoise|scarlet|navy|copper|olive|lilac|
rainbow|plaid|polka-dot""")
pool("old", """\
old|crooked|wooden|narrow|dusty|mossy|creaky|rusty|broken|painted|stone|round|forgotten|leaning|hollow|tiny|
enormous|wobbly|battered|bent|chipped|curious|dented|dull|fancy|faded|greasy|heavy|homemade|ivory|lopsided|
lucky|mysterious|patched|plain|polished|shabby|splendid|sticky|squeaky|tarnished|twisted|useless|worn-out|
precious|secondhand""")

pool("shabby", """\
crooked|narrow|tall|tiny|leaning|wooden|stone|round|mossy|wobbly|drafty|handsome|lonely|half-finished|low""")

# When.
pool("weekday", "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
pool("gray", """\
gray|bright|windy|chilly|misty|golden|quiet|drowsy|blue|mild|frosty|dewy|breezy|pale|fine|crisp|cloudy|lazy|
sparkling|dull|rainy|sunny|foggy|stormy|snowy|wet|dry|calm|hazy|hot|cool|clear|muddy|lovely|long|dark|warm|
cold|noisy|peaceful|gloomy|fresh""")
pool("morning", "morning|afternoon|day|evening")
pool("meal", """\
breakfast|lunch|supper|sunrise|sunset|noon|school|church|tea|milking time|the morning bell|market""")
pool("hour", "two|three|four|five|six|seven|eight|nine|ten|eleven")
phrases("when", """
    [just|shortly|right|a little|not long|an hour] [before|after] <meal>
    at [half past|a quarter past|exactly|about] <hour>
    """)
phrases("soon", """
    the [very next|following|next] [morning|day|evening|afternoon]
    [two|three|four|five|six] days later
    on <weekday>
    that same <morning>
    """)
phrases("some_day", """
    [two|three|four|five|six|nine] days later
    on <weekday>
    the [very next day|following night|following week]
    before the week was out
    [not long|a day or two|a week|a month] afterward
    """)
phrases("all_day", """
    from <meal> until [dark|the stars came out|the owls woke up|the candles were lit]
    for [two|three|four|five|six|seven] [long|whole|weary|cheerful] hours
    the whole [morning|afternoon|day]
    until [everything ached|the sun went down|it was too dark to see|the cows came home]
    """)

# Numbers and creatures.
pool("two", "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|twenty|thirty|forty|fifteen")
pool("beast", """\
goat|cow|donkey|goose|rooster|sheep|pony|pig|tomcat|turkey|hen|ox|mule|calf|gander|duck|kitten|puppy|lamb|
parrot|hamster|camel|ferret|llama|billy goat|beagle|terrier|bulldog|peacock|rabbit|toad|lizard|walrus|
penguin|ram|stork|tortoise|weasel|zebra|ostrich|poodle|elk|yak""")
pool("beasts", """\
geese|goats|hens|kittens|ponies|frogs|ducks|mice|piglets|bees|cows|crows|donkeys|rabbits|snails|lambs|
turkeys|owls|sparrows|beetles|puppies|worms|moths|herrings|badgers|otters|rats|wasps|pigeons|gulls|seals|
swans|foxes|hedgehogs|monkeys|parrots|poodles|sheep|squirrels|storks|toads|wolves|zebras|lizards|camels|
canaries|elephants|peacocks|penguins|hamsters""")
pool("bird", """\
crow|sparrow|robin|magpie|wren|blackbird|seagull|pigeon|starling|swallow|heron|woodpecker|jay|owl|bluebird|
buzzard|cardinal|chickadee|crane|cuckoo|dove|eagle|falcon|finch|hawk|hummingbird|kingfisher|lark|nightingale|
oriole|pelican|puffin|raven|sandpiper|thrush|vulture|warbler""")
pool("bugs", """\
bumblebees|beetles|ladybugs|crickets|grasshoppers|snails|moths|spiders|ants|caterpillars|tadpoles|worms|
centipedes|fireflies|fleas|gnats|earthworms|slugs|silkworms|dragonflies|hornets|mayflies|termites|
water striders""")
pool("relative", """\
little brother|big sister|uncle|great-aunt|grandfather|cousin|godmother|twin sister|stepbrother|grandmother|
baby sister|nephew|niece|oldest aunt|father|mother|great-uncle|half brother|youngest aunt|second cousin|
stepmother|stepfather|godfather|great-grandmother|foster brother|twin brother|tallest cousin|nanny|
great-grandfather|brother-in-law|sister-in-law""")

phrases("herd", "<two> [<beasts>|<small> <beasts>]")

# Things to wear, to eat, to drink, to pick, to put in a pocket.
pool("garment", """\
hat|coat|apron|cap|vest|shawl|nightgown|sweater|raincoat|bonnet|jacket|cloak|bow tie|waistcoat|sunhat|
bathrobe|pair of boots|pair of mittens|pair of suspenders|pair of slippers|beret|cardigan|
fur hat|helmet|kimono|nightcap|overcoat|poncho|robe|sailor suit|swimsuit|top hat|tunic|
turban|uniform|veil|wig|pair of galoshes|pair of gloves|pair of long johns|pair of stockings""")
pool("food", """\
plum cake|blackberry jam|onion soup|gingerbread|pumpkin pie|hazelnut bread|lemon pudding|carrot cake|
mushroom stew|cherry tart|oatmeal cookies|potato salad|honey cake|roasted chestnuts|strawberry jelly|
barley soup|cinnamon rolls|pear cobbler|cabbage pie|maple candy|goat cheese|buttermilk pancakes|rhubarb pie|
walnut bread|blueberry muffins|pickled beets|peach jam|turnip stew|almond cookies|applesauce|asparagus soup|
bean stew|buttered toast|candied ginger|caramel custard|cheese fritters|chicken soup|clam chowder|corn bread|
cream of celery|currant buns|dill pickles|dumplings|egg salad|fig bars|fried fish|garlic bread|grape jelly|
leek soup|marzipan|mince pie|molasses cake|noodle soup|orange marmalade|oyster stew|parsnip pie|pea soup|
pepper cookies|poppy seed rolls|raisin bread|rice pudding|sausages|scrambled eggs|sweet potatoes|tomato soup|
vanilla ice cream|waffles|watermelon""")
phrases("snack", """
    3> <food>
    2> [cold|hot|burnt|leftover|fresh|sour|homemade|famous|soggy|crunchy|steaming|stale|delicious|spicy|\
        creamy|tasty] <food>
    """)
pool("dish", "bowl|pot|tin|dish|tub|bucket|crock|pail|tureen|pan|big spoonful|small mountain")
pool("drink", """\
cocoa|peppermint tea|warm milk|apple juice|lemonade|hot cider|chamomile tea|elderberry punch|well water|
ginger tea|raspberry juice|buttermilk|barley water|birch beer|cherry soda|coffee with cream|ginger ale|
grape juice|honey water|iced tea|malted milk|mint tea|mulled cider|nettle tea|orange juice|pear nectar|
root beer|rose hip tea""")
pool("flower", """\
daisies|tulips|violets|poppies|sunflowers|roses|bluebells|marigolds|lilacs|buttercups|snowdrops|
forget-me-nots|foxgloves|dandelions|asters|begonias|carnations|clover|crocuses|dahlias|geraniums|hollyhocks|
hyacinths|irises|jasmine|lavender|lilies|orchids|pansies|peonies|petunias|primroses|zinnias|wisteria""")
pool("bauble", """\
pebble|button|feather|spoon|marble|walnut shell|ribbon|nail|thimble|seashell|bead|shoelace|pine cone|
bottle cap|bean|pencil stub|chestnut|key|handkerchief|acorn|anchor pin|buckle|candle end|clothespin|comb|
corkscrew|cuff link|doorknob|earring|fishhook|fork|glove|horseshoe|magnet|medal|needle|postcard|
raisin|ring|saucer|shell|stamp|teaspoon|ticket|whisk|thermometer|tassel|harmonica""")
phrases("gift", """
    <a dish> of <snack>
    <a color> <bauble>
    [a bunch|an armful|a hatful] of <flower>
    [one lucky|one shiny|one very old] <bauble>
    """)

# Where.
pool("building", """\
bakery|mill|duck pond|elm tree|church|railroad|pump|ferry|hat shop|cheese shop|school|town hall|post office|
cemetery|bridge|candy store|barber shop|fire tower|well|fish market|orchestra hall|chapel|dairy|fire station|
flour mill|flower shop|fountain|greenhouse|hospital|hotel|jail|laundry|lumberyard|museum|
opera house|park gate|playground|saddle shop|sawmill|stables|theater|toy shop|
windmill|zoo|bathhouse|brewery|bandstand""")
phrases("landmark", """
    3> <building>
    2> [big|little|new|brick|haunted|famous|dark|quiet|crowded|ugly|pretty|ancient] <building>
    """)
phrases("home", """
    [next to|behind|across from|just past|not far from|within sight of] the <landmark>
    in <a shabby> house with <a color> [door|roof|gate|chimney|fence]
    [above|over] the [bakery|hat shop|cheese shop|candy store|barber shop|post office|stables]
    """)
phrases("outdoors", """
    [under|beside|next to] the [apple tree|garden wall|rain barrel|woodpile|henhouse|willow|lilac bush|\
        swing|doghouse|beehives]
    [behind|near] the <landmark>
    """)
phrases("somewhere", """
    on the [garden wall|porch steps|hay wagon|bench by the pump|old pier|woodpile|cellar door|front lawn|\
        hen ladder]
    under the [apple tree|willow|kitchen table|lilac bush|clothesline|awning|back porch|streetlight|\
        chestnut tree]
    [behind|near|in front of] the <landmark>
    """)
phrases("kept_in", """
    [under|behind|next to|on top of|inside] the [stove|wardrobe|bed|clock|piano|bookcase|bread box|washtub]
    in a [trunk|box|drawer|sack|barrel] [with two locks|lined with velvet|full of straw|marked SOCKS|under \
        the stairs]
    """)

# What people are like, and do.
phrases("likes", """
    like <a small> <beast> [in the rain|on ice|at a wedding|in church|with a secret|on a Monday|in a new \
        hat|at bedtime]
    as if [chased by|dancing with|late for a party of] <herd>
    """)
phrases("busy", """
    [painting|counting|washing|drawing|feeding|chasing|measuring|naming] <herd>
    [teaching|singing to|arguing with|combing|reading to|waltzing with|hiding from] <a small> <beast>
    [mending|darning|ironing|sewing|looking for|knitting] <a color> <garment>
    [stirring|cooking|burning|eating|tasting|spilling] <snack>
    """)
phrases("quirk", """
    kept <two> <bugs> in a [matchbox|teacup|shoe|hatbox|jam jar|mitten|drawer]
    wore <a color> <garment> [on Sundays|in all weathers|to bed|for luck|even in July|and nothing matched it]
    was afraid of [nothing but|thunder and|the dark and|stairs and] <beasts>
    had <a small> <relative> in [the circus|the navy|Paris|jail|the opera|a lighthouse]
    could [whistle|juggle|count|sing|swim|snore|dance] [backward|in the dark|better than anyone|for hours|\
        like <a bird>]
    """)

phrases("pockets", """
    <a old> <bauble>, <a color> <bauble> and half <a small> sandwich
    one <bauble>, <two> [crumbs|peas|pins|pennies] and a picture of <a small> <beast>
    half <a small> sandwich and a [note|recipe|song|book] about <beasts>
    """)
phrases("feast", """
    <snack>, <snack> and [cup after cup|a whole barrel|gallons|a bathtub full] of <drink>
    [a mountain|an acre|a wagonload] of <snack> and <a dish> of <snack> for [each guest|everyone|the <beasts>]
    """)

pool("topic", """\
geese|dragons|soup|the moon|pirates|haircuts|grandmothers|trains|volcanoes|sausages|dreams|elephants|
the weather|hiccups|the opera|snow|ghosts|mustaches|kings|the price of eggs|whales|earwax|Sundays|shipwrecks|
ants|beards|castles|cheese|clouds|clowns|comets|dentists|earthquakes|fountains|giants|gravity|icebergs|
jungles|knots|lighthouses|magic|mermaids|mountains|mushrooms|owls|pancakes|poetry|rain|rivers|robots|saints|
shoes|spiders|stilts|submarines|taxes|thunder|trolls|turnips|vampires|violins|windmills|witches|wizards|
birthdays|boots|bridges|camels|chess|deserts|flying""")

# What people say before they say it.
pool("oh", """Oh dear|Goodness|Well, well|My word|Good heavens|Bless me|Dear me|Fancy that|Upon my soul|
Thunder and turnips|Pickles and plums|Bells and buttons|Great green apples|Mercy|Butter and beans|
Hats and herrings|Boots and biscuits|Geese and gravy|Good gracious|Gracious me|Great heavens|Heavens above|
Holy mackerel|Jumping herrings|Lamps and ladders|My stars|Nuts and bolts|Rats and radishes|Soup and spoons|
Suffering snails|Whiskers and waffles|Oats and onions""")
pool("never_mind", """Never mind|Don't worry|Cheer up|Chin up|There, there|Dry your eyes|It can't be helped|
Worse things happen|Don't fret|Come now""")
pool("cried", "cried|shouted|called|exclaimed|gasped|yelled")
pool("whispered", "whispered|murmured|mumbled|sighed|muttered|sniffed")
pool("ran", """\
ran|hurried|raced|dashed|rushed|galloped|bolted|scurried|scampered|flew|sprinted|hustled|flitted|bounded|
sped|trotted|darted|charged""")
pool("walked", """\
walked|strolled|marched|trudged|wandered|tramped|skipped|ambled|hiked|toiled|paraded|plodded|rambled|
sauntered|shuffled|stepped|strode|waddled|tiptoed|hopped""")
phrases("oath", """
    [crossed {Bhis} heart|raised one {Lhand}|bowed|nodded|saluted] [<two> times|<softly>|like a knight|like \
        a judge]
    swore it by [{Bhis} own left ear|the moon and the <landmark>|{Bhis} <relative>'s <garment>|<two> \
        <color> <beasts>]
    tied a knot in {Bhis} <color> <garment>
    """)

# How stories close.
pool("proverb", """a promise is lighter to keep than to carry|a small lie needs a big house|
slow feet see more flowers|
a shared loaf feeds three|the longest road begins at the kitchen door|
a friend is worth more than a full pocket|
even a short candle lights a whole room|nobody is too small to hold a ladder|
a good neighbor is better than a tall fence|
whoever asks twice gets lost once|the truth is the shortest way home|a borrowed thing has two owners|
a kind word costs nothing|it is easier to mend a fence than a quarrel|haste has only one shoe|
a proud rooster wakes the fox|rain falls on every roof|two pairs of hands make one light load|
honey is not made in a day|the smallest key opens the biggest door|good news needs no umbrella|
every pot finds its lid|an empty basket is easy to carry|what you give away comes back with a friend|
nobody whistles alone for long|bread tastes better with butter and company""")

# What particular plots need.
pool("baked", """plum cake|gingerbread|honey cake|apple pie|cherry tart|lemon pie|walnut bread|
carrot cake|pear tart|almond cake|pumpkin pie|nut cake|peach pie""")
pool("sweet", "sugar|butter|flour|milk|cinnamon|honey|cream|vanilla")
pool("bitter", "salt|pepper|mustard|chalk|vinegar|soap flakes|sawdust|plaster")
pool("crop", """\
pumpkin|turnip|melon|cabbage|radish|carrot|leek|beet|onion|squash|cucumber|potato|cauliflower|parsnip""")
pool("pet", "kitten|puppy|lamb|duckling|hen|kid goat|parrot|hamster|squirrel|raccoon cub|tortoise")
pool("stuck", """on the roof of the town hall|at the top of the big elm|on the town clock|
on the arm of the windmill|
on the mayor's balcony|on the weathercock|at the top of the flagpole|on the chimney of the inn|
on the church tower""")
pool("goods", """\
turnips|eggs|apples|buns|candles|cheeses|cabbages|pears|onions|brooms|pies|herrings|melons|sausages""")
pool("feat", """caught a fish as long as a fence|jumped over the town hall|ate thirty pancakes in one minute|
danced on a rope over the river|taught a goose to whistle|threw a stone over the church tower|
stood on one leg from breakfast to supper|balanced a piano on one finger|played four trumpets at once|
carried a cow up the hill|talked a bear into giving back the honey|juggled twelve eggs in a storm""")
pool("secret", """cannot swim|am afraid of the dark|keep a duck in my closet|cannot whistle, and only pretend|
broke the bell of the town hall|want to be a dancer|still sleep with a stuffed bear|
wrote the poem about the mayor|
ate the prize cake|cannot read the clock|have found a baby owl|am in love with the trombone|
made up my own birthday|sing to the cabbages at night""")
pool("as_quiet", """snow|a shadow|a mouse in socks|a feather|a sleeping cat|dust on a shelf|an empty church|
a fish|moonlight|a closed book|a candle|a thought|a cloud|a stone""")
phrases("chore", """
    [wash|feed|catch|comb|find|dry|carry home] <herd>
    [paint|scrub|mend|oil|polish|prop up] the [fence|gate|roof|porch|barn door|rain barrel|henhouse]
    [dig up|plant|water|weed|pick] <two> rows of [beans|potatoes|radishes|peas|leeks]
    """)

# How somebody says something.
pool("said", "6> said|2> declared|2> announced|remarked|observed")
pool("answered", "4> said|2> answered|2> replied")
phrases("kindly", """
    [kindly|gently|warmly|calmly|cheerfully|quietly|gladly|politely|patiently|softly|at once|after a while]
    with [a smile|a wink|a nod|a bow|a grin|a mouth full of <snack>|one eye on the <beasts>|a pat on the back]
    """)
phrases("meekly", """
    [meekly|sadly|shyly|humbly|gravely|unhappily|softly|nervously|slowly|quietly|miserably|earnestly]
    with [a sigh|a sniff|a gulp|a cough|wet eyes|trembling knees|a look at the door|a look at the <beasts>]
    in a [small|thin|hoarse|shaky|very quiet] voice
    """)
phrases("boldly", """
    [boldly|proudly|firmly|bravely|loudly|grandly|eagerly|cheerfully|stubbornly|lightly|briskly|airily]
    with [a toss of the head|a wave|a bow to the <beasts>|a wink|a grin|one foot on <a old> barrel]
    in a [loud|deep|clear|ringing|grand] voice
    """)
# Who A and B are, said again.
phrases("hero", """
    4> {A}
    the {K}
    the {Y} {K}
    """)
phrases("friend", """
    3> {B}
    the {L}
    """)
# The thing T, by its name or with its looks.
phrases("it", """
    3> {T}
    2> {Tfull}
    """)
