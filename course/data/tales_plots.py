"""The stories: each plot is a function that says its lines and lets what was said decide what comes next.

In all of them A is the hero and K what kind of somebody A is, B a friend of the other sex (so that every
*he* and *she* is clear) and L what kind, C a grown-up and R the trade, T the thing that matters, Q a place
and S a spot there, Z the town, Y what A is like, F something to eat, D a day, V the weather, N what calls
for T. What a story has once put into the world stays as it is.
"""

from collections.abc import Callable

from course.data import tales_things, tales_world  # noqa: F401  (they fill the pools)
from course.data.tales_grammar import Teller

PLOTS: dict[str, tuple[str, Callable[[Teller], None]]] = {}
TURNS = ""


def plot(event: str, lines: str) -> Callable:
    """Add a plot that begins, right after the hero has been introduced, with one of `lines`."""

    def add(tell: Callable[[Teller], None]) -> Callable[[Teller], None]:
        global TURNS
        PLOTS[tell.__name__] = (event, tell)
        TURNS += "".join(f"{tell.__name__}> {line}\n" for line in lines.strip().split("\n"))
        return tell

    return add


def story(s: Teller) -> None:
    """Tell one story."""
    hero(s)
    name = s.say("", TURNS)
    event, tell = PLOTS[name]
    s.events[-1] = event
    tell(s)
    ending(s)


def hero(s: Teller) -> None:
    detail = s.say("opening", """
        Once there was <a Y=trait> <K=kind> named <A=Knames>, who lived <home> in <Z=town>.
        In <Z=town>, <home>, lived <a small> <K=kind> named <A=Knames>, the <Y=most> of them all.
        more> There was <a small> <K=kind> in <Z=town> whose name was <A=Knames> and who was as <Y=trait> \
            as can be.
        <A=names> was <a Y=trait> <K=Akinds> who lived <home> in <Z=town>.
        more> Everybody in <Z=town> knew <A=names>, the <Y=trait> <K=Akinds> who wore <a color> <garment>.
        """)
    if detail:
        s.say("character", """
            3> {AHe} <Ywho>.
            People said that {Ahe} <Ywho>, and [people were right|{Ahe} did not deny it|that was the least \
                of it].
            """)


def ending(s: Teller) -> None:
    if "B" not in s.world:
        s.say("ending", """
            <Yend>.
            In {Z} they still say that <proverb>.
            So <hero> [walked|skipped|danced] home <likes>.
            """)
        return
    s.say("ending", """
        2> <Yend>.
        2> Then they sat <somewhere> and ate <snack> [until the moon came up|until nobody could move|until \
            the lamps were lit|until it rained|out of <a color> <garment>|while <herd> looked on].
        In {Z} they still say that <proverb>.
        And if you ask {B}, {Bhe} will tell you that <proverb>.
        As {B}'s <relative> used to say, <proverb>.
        "You see," <said> {B}, "<proverb>." {A} [nodded|pretended not to hear|wrote it on the wall|was \
            <busy>].
        So <hero> [went|walked|skipped|trotted|danced] home <likes>, and {Ahe} was <happy>.
        """)


@plot("owning", """
    The best thing {Ahe} owned was <a T=thing>, which {Ahe} kept <kept_in>.
    {A} had <a T=thing>, and [{Ahe} polished it every <weekday>|{Ahe} would not have traded it for \
        <herd>|{Ahe} took it everywhere, even <somewhere>].
    <A small> <relative> had left {Ahim} <a T=thing>, and {Ahe} kept it <kept_in>.
    For {Ahis} birthday {Ahe} had been given <a T=thing> [wrapped in <a color> <garment>|and <gift>].
    """)
def lending(s: Teller) -> None:
    """B borrows T and promises to bring it back by D; what comes of it when T is needed."""
    s.say("borrowing", """
        One <gray> <morning> <B=Aothers> knocked, <a small> <L=Bkinds> who <quirk>. <"Terrand>," {Bhe} \
            <said>. "May I borrow your {T}?"
        <B=Aothers>, the <L=Bkinds> who lived <home>, came by <when>. <"Terrand>," {Bhe} <said>. "Will you \
            lend me your {T}?"
        On <a gray> <morning> {A} met <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>. \
            <"Terrand>," {Bhe} <said> <meekly>. "If only I had a {T}!"
        """)
    s.say("lending", """
        "Take it," <answered> <hero> <kindly>, "but bring it back by <D=weekday>."
        {A} [looked at the <it>|scratched one ear|counted to <two>]. "Very well," {Ahe} <answered> \
            <kindly>. "But only until <D=weekday>."
        {A} handed it over <softly>. "I want it back by <D=weekday>," {Ahe} <said>.
        """)
    s.say("promising", """
        "I promise," <answered> {B}, and {Bhe} <oath>.
        {B} promised, and {Bhe} <oath>.
        {B} <oath> and promised to be as careful as a [nurse|cat|surgeon|tailor|bride] with <a small> <beast>.
        """)
    s.paragraph()
    outcome = s.say("waiting", """
        5 kept> {B} kept {Bhis} word. On {D}, <when>, {Bhe} brought the <it> and, for thanks, <a dish> of \
            <F=food>.
        4 late> {D} came, but {B} did not. {A} [sat at the window|walked up and down|listened for \
            steps|stared at the <landmark>] <all_day>.
        3 told> <^soon>, while <friend> was using it, <X=Tbreaks>. {B} [could have hidden it|thought of \
            running away to sea|wanted to blame <a small> <beast>|felt quite <sorry>], but {Bhe} carried it \
            straight back.
        4 hid> But <soon> <X=Tbreaks>. {B} was too <sorry> to say so. {BHe} came <likes> and put the <it> \
            back <somewhere>, without a word.
        """)
    if outcome == "kept":
        s.say("need", """
            It was none too soon, for <some_day> <N=Tneeds>.
            And then, <some_day>, <N=Tneeds>.
            """)
        s.say("using", """
            {A} [took|fetched|grabbed] the <it> and <Nuse>.
            Since the <it> was back, {A} <Nuse>.
            """)
        s.say("thanking", """
            Afterward <hero> and <friend> sat <somewhere> and shared the {F}. "Borrow it whenever you \
                like," <said> {A}.
            [Everybody|The mayor|All of {Z}] cheered for {A}, and {A} cheered for {B}, who had kept {Bhis} \
                promise.
            "A good thing that you keep your promises," {A} told <friend>, [over a spoonful of {F}|<kindly>].
            """)
    elif outcome == "late":
        s.say("need", """
            But [that very day|on that very {D}|before the day was over] <N=Tneeds>.
            What is worse, <some_day> <N=Tneeds>.
            """)
        s.say("failing", """
            {A} had no {T}, so {Ahe} <Nwithout>.
            Without {Ahis} {T}, poor {A} <Nwithout>.
            """)
        s.paragraph()
        s.say("visiting", """
            <^soon> {Ahe} <walked> to {B}'s [house|door|cottage]. The <it> lay <somewhere>, and {B} was \
                <busy>.
            {AHe} <ran> to {B}'s [house|door|cottage], <angry>. There was {B}, <busy>, and there was the \
                <it>, <somewhere>.
            """)
        s.say("apologizing", """
            <"oh>!" <cried> <friend>. "Was that this {D}?" {BHe} was so <sorry> that {Bhe} [offered to \
                <chore>|gave {Ahim} <gift>|sang {Ahim} a song about <topic>].
            {B} turned <color>. "I forgot," {Bhe} <whispered>, "and a promise too!" {BHe} gave back the \
                <it> and added <gift>.
            """)
        s.say("forgiving", """
            The next time <friend> wanted to borrow something, {A} <answered>, "Gladly, but leave me your \
                <garment> until I have it back."
            They made peace over [a cup|a jug|two cups] of <drink>, and {B} tied <a color> string around \
                one {Lhand} for every promise after that.
            "I forgive you," <said> <hero> <kindly>, "but from now on you get things for [one hour|one \
                afternoon|as long as a candle burns]."
            """)
    else:
        if outcome == "hid":
            s.say("need", """
                <^some_day> <N=Tneeds>.
                Then, <some_day>, <N=Tneeds>.
                """)
            s.say("failing", """
                {A} reached for the <it>, saw that it was broken, and <Nwithout>.
                The {T} was of no use, and so {A} <Nwithout>.
                """)
            s.paragraph()
            s.say("confessing", """
                {B} saw it all and could not swallow {Bhis} <snack>. <"oh>," {Bhe} <whispered> <meekly>, \
                    "it was I who broke it."
                That <morning> {B} came back, <sorry>, with <gift>. "It broke while I had it," {Bhe} \
                    <whispered> <meekly>.
                """)
            s.say("forgiving", """
                {A} was <angry> for as long as it takes to [peel an onion|eat a pear|lace a boot]. "Next \
                    time tell me," {Ahe} <said> <kindly>.
                "We can mend the {T}," <said> <hero> <kindly>. "But tell me before I need it."
                """)
        else:
            s.say("confessing", """
                "I broke it," {Bhe} <whispered> <meekly>. "I am sorry." {A} was <sad>, but only until \
                    <meal>. <"never_mind>," {Ahe} <said>.
                <"oh>," {Bhe} <whispered> <meekly>, "I broke it." "Thank you for telling me," <answered> \
                    <hero> <kindly>.
                """)
        s.say("asking", """
            Together they took it to <C=elder> the [<R=trade>|<small> <R=trade>]. "It needs {Xfix}," <said> \
                {C}, "and first you must <Rchore>."
            So they went to <C=elder> the [<R=trade>|<small> <R=trade>], who had {Xfix} and asked them to \
                <Rchore> for it.
            """)
        s.say("mending", """
            They did, <all_day>, and then the <it> was as good as new.
            {B} did most of it, <all_day>, which was only fair.
            """)


@plot("traveling", """
    {AHis} <relative> had asked {Ahim} to bring <gift>, and {Ahe} took {Ahis} <T=thing> along.
    It was <a gray> <morning> when {A} <walked> off to see {Ahis} <relative>, with <gift> and {Ahis} \
        <T=thing>.
    """)
def losing(s: Teller) -> None:
    """A lays T down in a spot, forgets it there, and asks B, who was met there."""
    s.say("resting", """
        Halfway, <Q=place>, {Ahe} [sat down|stopped|stayed] to eat <snack> and laid the {T} <S=Qspots>.
        {AHe} got [tired|hungry|dreamy] <Q=place>, laid the {T} <S=Qspots> and watched <herd>.
        """)
    s.say("meeting", """
        Along came <B=Aothers>, <a small> <L=Bkinds> who <quirk>, and they talked about <U=topic>.
        There {Ahe} met <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>, and they talked about \
            <U=topic>.
        """)
    s.paragraph()
    s.say("losing", """
        <^when> {A} reached for the <it>. All that {Ahe} found was <pockets>.
        Only at home did <hero> see that the <it> was gone. {AHe} looked <kept_in> and found <pockets>.
        {A} was <busy> when {Ahe} noticed that the <it> was gone.
        """)
    s.say("asking", """
        {AHe} <ran> to {B}, who was <busy>. "Have you seen my {T}?" {Ahe} <cried>.
        Who could have seen it? {B}, of course! {A} found {Bhim} <busy>.
        """)
    s.say("remembering", """
        "When we talked about {U}, you had it with you," <answered> <friend> <kindly>. "It must be {Qat}."
        {B} [scratched one ear|shut both eyes|thought hard|hummed a little]. "You still had it when we \
            talked about {U}," {Bhe} <answered>.
        """)
    s.paragraph()
    s.say("weather", """
        Together they <ran> back. <V=weather>, and <Vbars>, but they <walked> on.
        They set out <when>. <V=weather>, and <Vbars>.
        """)
    outcome = s.say("finding", """
        4 there> At last <Vgoes>. And there, {S}, lay the <it>.
        3 beast> Then <Vgoes>. The <it> was {S}, but <a small> <beast> was [sitting on it|asleep on \
            it|guarding it|trying to eat it].
        3 elder> When <Vgoes>, they looked {S}. There was only <a color> note: "I have your {T}. <C=elder>, \
            the [<R=trade>|<small> <R=trade>]."
        """)
    if outcome == "beast":
        s.say("trading", """
            It would not move for kind words. It moved for <a dish> of <snack>.
            They [pushed|begged|sang|whistled] <all_day>. Then it got bored and went <home>.
            {A} told it about <topic>, and {B} told it about <topic>, until it fled.
            """)
    elif outcome == "elder":
        s.say("visiting", """
            They found {C} <busy>. "Here it is," {Che} <said> <kindly>. "Have some <snack>."
            {C} had put it <kept_in>. {A} was so <happy> that {Ahe} offered to <Rchore>, and did.
            """)
    else:
        s.say("thanking", """
            <"oh>!" <cried> <hero>, and {Ahe} hugged {B}, and then <a small> <beast> that was passing.
            {A} jumped <two> times for joy and gave {B} <gift>.
            """)


@plot("wishing", """
    More than anything in the world {Ahe} wanted <a T=thing>.
    Every night {Ahe} dreamed of <a T=thing>, and in the dream there were <herd>.
    {AHe} had wished for <a T=thing> ever since {Ahis} <relative> had lost the last one.
    """)
def trading(s: Teller) -> None:
    """A wants T, which C has, who wants U, which B has, who wants W, which A can get."""
    s.say("asking", """
        <C=elder> the [<R=trade>|<small> <R=trade>] had one. "I don't want money," {Che} <said>. "Bring me \
            <U=ware>. {Uwhy}."
        One <gray> <morning> {Ahe} saw one in the window of <C=elder> the [<R=trade>|<small> <R=trade>]. \
            "Give me <U=ware> for it," <said> {C}. "{Uwhy}."
        """)
    s.paragraph()
    s.say("asking", """
        {A} knew that <B=Aothers>, <a small> <L=Bkinds> who <quirk>, had {Ua}. "You may have it," <said> \
            {B} <kindly>, "for <W=ware>. {Wwhy}."
        <B=Aothers>, the <L=Bkinds> who lived <home>, had {Ua}. "I will part with it," {Bhe} <said>, "for \
            <W=ware>. {Wwhy}."
        """)
    outcome = s.say("searching", """
        3 work> {A} <walked> from house to house. At last <a small> widow <said>, "I have {Wa}. Help me to \
            <chore>."
        2 attic> {A} [thought|frowned|paced|worried] <all_day>. Then {Ahe} found {Wa} at home, <kept_in>, \
            under <two> <bauble>s.
        2 give> Just then {Ahis} <relative> came around the corner on <a small> <beast>, with {Wa} to give \
            away.
        """)
    if outcome == "work":
        s.say("working", """
            So {A} worked <all_day> and got {Wa} and <gift>.
            It took <all_day>, and afterward <hero> could not lift a spoon, but {Ahe} had {Wa}.
            """)
    elif outcome == "give":
        s.say("begging", """
            "Oh please," <cried> {A}, "may I have it?" It cost {Ahim} <gift> and a kiss on the cheek.
            {A} had to promise to <chore> for it, and {Ahe} did, <all_day>.
            """)
    s.paragraph()
    s.say("trading", """
        So {B} got the {W}, {C} got the {U}, and {A} [walked|skipped|danced|went] home with the <it>.
        The {W} went to {B}, who [kissed|hugged|saluted|sniffed at] it. The {U} went to {C}, who was \
            <happy>. And {A} got the <it>.
        """)
    outcome = s.say("need", """
        use> Just in time, for <some_day> <N=Tneeds>.
        lend> <^some_day> <N=Tneeds>.
        friend> But {Ahe} missed something. It was {B}. So {Ahe} went back with the <it>, and they \
            [played|talked|laughed|sang] <all_day>.
        """)
    if outcome == "use":
        s.say("using", """
            And who <Nuse>? The proud owner of a {T}.
            {A} <Nuse>. "Worth a {W}," <said> <friend> <boldly>.
            """)
    elif outcome == "lend":
        s.say("lending", """
            {A} lent {B} the <it>, and {Bhe} <Nuse>.
            "Take my {T}," {A} told <friend> <kindly>. {BHe} <Nuse>.
            """)


@plot("boasting", """
    "I am the fastest {K} in {Z}," {Ahe} told <B=Aothers>, <a small> <L=Bkinds> who <quirk>. "Not as fast \
        as I," {Bhe} <answered> <boldly>.
    <B=Aothers>, <a small> <L=Bkinds> who <quirk>, laughed at {Ahim} <when>. "I bet <gift> that I can \
        outrun you," {Bhe} <said>.
    """)
def racing(s: Teller) -> None:
    """A and B race; on the way something comes between."""
    s.say("challenging", """
        They agreed to race on <D=weekday>, from the <landmark> to the finish <Q=place>.
        So a race was set for <D=weekday>, <when>, and the finish was to be <Q=place>.
        """)
    s.say("promising", """
        <C=elder> the [<R=trade>|<small> <R=trade>] promised the winner <a dish> of <F=food>.
        The prize, <said> <C=elder> the [<R=trade>|<small> <R=trade>], was <a dish> of <F=food>.
        """)
    s.paragraph()
    s.say("starting", """
        On {D} half the town came to look, and <herd> too. "Go!" <cried> {C}, and off went {A}, <likes>.
        When {D} came, {C} dropped <a color> <garment>, and they <ran> off, {A} in front, <likes>.
        On {D} {B} started <likes>. {A} started <likes>.
        """)
    outcome = s.say("racing", """
        4 helps> Halfway, {A} heard somebody crying. <A small> <X=beast> had fallen into [the ditch|a \
            well|the river|a deep hole], all alone.
        3 trips> {A} was far ahead when <friend> tripped over <a old> <bauble>. "My foot!" {Bhe} <cried>.
        3 rests> {A} was so far ahead that {Ahe} lay down <somewhere> and dreamed about <topic>.
        2 weather> <V=weather>, and <Vbars>. Soon neither of them knew the way.
        """)
    if outcome == "helps":
        s.say("rescuing", """
            {AHe} climbed down and pulled it out with <a color> <garment>. Meanwhile {B} <ran> by.
            <"oh>," {Ahe} <whispered>. {AHe} stopped and lifted it out, and {B} went past <likes>.
            """)
        s.say("winning", """
            {B} won, of course. But when {C} heard about the {X}, {Che} [cut|broke|divided] the {F} in two.
            But the {X} was not only grateful, it was fast. {A} came in on its back and won by <two> \
                [noses|hairs|toes|whiskers].
            {B} won and got the {F}. The {X} followed {A} home and has lived <kept_in> ever since.
            """)
    elif outcome == "trips":
        s.say("helping", """
            {A} turned around, gave {Bhim} an arm, and they hobbled on together, talking about <topic>.
            {A} sighed <softly>, went back and carried {Bhim}, which was hard, for {B} was \
                [laughing|singing|wriggling|eating <snack>].
            """)
        s.say("winning", """
            They crossed the line together, <when>, and {C} had to cut the {F} in two.
            They came in last, behind <herd>. {C} gave them the {F} and two spoons.
            """)
    elif outcome == "rests":
        s.say("sleeping", """
            When {Ahe} woke up, there was <a bird> on {Ahis} nose, and {B} was at the finish, eating {F}.
            {AHe} slept until <meal>. By then <friend> had won and was <busy>.
            """)
        s.say("sharing", """
            "I saved you some {F}," <said> <friend> <kindly>. It was [one crumb|half a spoonful|the smell], \
                but it was kindly meant.
            {A} was <sad>. {B} gave {Ahim} the last bite of the {F} and did not say a word about <topic> or \
                races.
            """)
    else:
        s.say("winning", """
            When <Vgoes>, they both stood in front of the <landmark>, which was the wrong way. {C} ate the \
                {F} with <herd>.
            Then <Vgoes>, and everyone saw that {A} had won by a nose and {B} had lost <a color> <garment>. \
                They shared the {F}.
            At last <Vgoes>. Both had run home, and the {F} went to <a small> <beast> that had walked.
            """)


@plot("breaking", """
    Nothing made {Ahim} prouder than {Ahis} <T=thing>. But <when>, without any warning, <X=Tbreaks>.
    {A} was <busy>, with {Ahis} <T=thing> in one {Khand}, and <X=Tbreaks>.
    "Look at my <T=thing>!" {Ahe} told {Ahis} <relative> <when>. At that very moment <X=Tbreaks>.
    """)
def breaking(s: Teller) -> None:
    """T breaks; C would mend it, and what mends it must be fetched through weather."""
    s.paragraph()
    s.say("asking", """
        "I can mend it," <said> <C=elder> the [<R=trade>|<small> <R=trade>], "but I need {Xfix}. Look \
            <Q=place>."
        {AHe} took it to <C=elder> the [<R=trade>|<small> <R=trade>], who was <busy>. "Bring me {Xfix}," \
            <said> {C}. "Try <Q=place>."
        """)
    s.say("weather", """
        {A} <ran> off. <V=weather>, and <Vbars>.
        Away went <hero>, <likes>. <V=weather>, and <Vbars>.
        """)
    s.say("meeting", """
        There {Ahe} met <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>. "Are you looking for \
            something?" {Bhe} <said> <kindly>.
        {A} crept under [a hay wagon|a bridge|an old cart|a fir tree], and there sat <B=Aothers>, <a small> \
            <L=Bkinds> who <quirk>.
        """)
    s.say("searching", """
        Together they looked <S=Qspots>, and there, next to <gift>, they saw {Xfix}.
        When <Vgoes>, they went on together and found {Xfix}, and <gift>, <S=Qspots>.
        """)
    s.say("mending", """
        {C} worked <all_day>, and {A} and {B} had to <Rchore>. Then the <it> was as good as new.
        "Now <Rchore>," <said> {C} <kindly>, "and let me work." <^when> the <it> was as good as new.
        """)
    s.say("need", """
        It was high time, for <some_day> <N=Tneeds>.
        And when, <some_day>, <N=Tneeds>, <hero> was ready.
        """)
    s.say("using", """
        {AHe} [took|fetched|grabbed] the <it> and <Nuse>.
        With {B} and <herd> looking on, {Ahe} <Nuse>.
        """)


@plot("planning", """
    {AHis} friend <B=Aothers>, <a small> <L=Bkinds> who <quirk>, was to have a birthday on <D=weekday>.
    {AHe} had a friend named <B=Aothers>, <a small> <L=Bkinds> who <quirk>, and {Bhis} birthday was on \
        <D=weekday>.
    """)
def hiding(s: Teller) -> None:
    """A hides a present for B so well that there are consequences."""
    s.say("buying", """
        {A} saved <two> pennies, sold <gift>, and bought {Bhim} <a T=thing> from <C=elder> the \
            [<R=trade>|<small> <R=trade>].
        <C=elder> the [<R=trade>|<small> <R=trade>] let {Ahim} <Rchore> and gave {Ahim} <a T=thing> for it, \
            and {A} knew at once whom it was for.
        """)
    s.say("hiding", """
        {AHe} wrapped it in <a color> <garment> and hid it <Q=place>, <S=Qspots>.
        Nobody must see it! So {Ahe} carried it out <when> and hid it <Q=place>, <S=Qspots>.
        """)
    s.paragraph()
    s.say("secrecy", """
        "Do you know what day {D} is?" {B} asked <meekly>. "The day after the day before," <answered> {A}, \
            and thought about <topic>, so as not to laugh.
        All week {B} talked of {D}, and all week {A} talked of <topic>. {B} was <sad>.
        "Nobody thinks of my birthday," {B} told {Bhis} <relative> <meekly>. {A}, who was <busy>, said \
            nothing at all.
        """)
    outcome = s.say("finding", """
        3 there> When {D} came, {A} took <friend> by the {Lhand}, and they <walked> off, <likes>. There, \
            {S}, it was.
        3 gone> When {D} came, {A} <ran> to fetch the <it>. There was nothing {S} but <a old> <bauble>!
        2 forgot> When {D} came, {A} could not remember where it was. {AHe} looked <kept_in>, and {Ahe} \
            looked <kept_in>.
        2 early> But <a small> <beast> [sniffed it out|got wind of it|fell over it], dug it up and carried \
            it to {B}'s door, a day early.
        """)
    if outcome == "gone":
        s.say("chasing", """
            <A small> <X=beast> had the <it> on its back. {A} chased it <all_day>, and gave it <snack> to \
                stand still.
            Prints led to the <landmark>. There sat <a small> <X=beast>, with the <it>. {A} got it back for \
                <a dish> of <snack>.
            """)
        s.say("giving", """
            So the present came late and a little [muddy|chewed|damp|dusty], and {B} <said> <kindly> that \
                it was the best one of all.
            "It has been on a journey," {A} told <friend>. {B} was so <happy> that {Bhe} hugged even the {X}.
            """)
    elif outcome == "forgot":
        s.say("confessing", """
            "I have a present for you," {A} <whispered> <meekly>, "but I have hidden it from both of us." \
                {B} laughed and made a game of it.
            In the end {Ahe} told {B}, <sorry>. "A treasure hunt!" <cried> <friend>. "Nobody ever gave me \
                one before."
            """)
        s.say("searching", """
            They looked <kept_in> and <somewhere>, and found the <it> <when>, {Qat}, {S}.
            It took <all_day>. When at last they found the <it>, {Qat}, {S}, neither wanted to go home.
            """)
    elif outcome == "early":
        s.say("laughing", """
            {B} opened it, saw the <it> and laughed until {Bhe} had to hold on to the \
                [table|door|fence|stove|wall|curtain]. "You did not forget," {Bhe} <said>.
            "It is not {D} yet," <said> <hero> <meekly>. "Then I shall be surprised twice," <answered> {B}, \
                and wrapped it up again.
            """)
    else:
        s.say("giving", """
            {B} unwrapped it <softly>. A {T}! {BHe} danced with it around the \
                [table|garden|kitchen|yard|well|stove].
            "And I thought that you had forgotten," {Bhe} <whispered>, and {Bhe} gave {A} half of {Bhis} \
                <snack> and <gift>.
            """)
    s.say("feasting", """
        At the party they had <feast>.
        {C} came too, in <a color> <garment>, and brought <feast>.
        """)


@plot("promising", """
    One <gray> <morning> {Ahe} made a promise to <C=elder> the [<R=trade>|<small> <R=trade>]. "On \
        <D=weekday> I will bring you <F=food>," {Ahe} <said>.
    "Nobody visits me anymore," <C=elder> the [<R=trade>|<small> <R=trade>] told {Ahim} <meekly>. "I will \
        come on <D=weekday>," <answered> {A}, "with <F=food>."
    <C=elder> the [<R=trade>|<small> <R=trade>] had been in bed since <weekday>. "I shall come on \
        <D=weekday>, with <F=food>," {A} promised <kindly>.
    """)
def visiting(s: Teller) -> None:
    """A promises to come to C on D; the weather is against it."""
    s.say("waiting", """
        {C} put on <a color> <garment> and set out two cups, days too early.
        "I will have the kettle on," <said> {C} <kindly>, "and <flower> on the table."
        {C} told everyone about it, even <herd>.
        """)
    s.paragraph()
    s.say("weather", """
        Then came {D}. <V=weather>, and <Vbars>.
        On {D}, <when>, {A} packed the {F}. <V=weather>, and <Vbars>.
        """)
    s.say("meeting", """
        "Stay home," <said> {Ahis} friend <B=Aothers>, <a small> <L=Bkinds> who <quirk>.
        At the door stood <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>. "You can't go out in \
            this!" {Bhe} <cried>.
        """)
    outcome = s.say("deciding", """
        4 goes> "A promise is a promise," <answered> <hero> <boldly>. {AHe} put on <a color> <garment> and \
            <walked> out <likes>.
        4 stays> {A} looked out of the window, and {A} looked at the {F}. "I can go tomorrow," {Ahe} \
            <answered> <meekly>.
        3 eats> So they stayed in and talked about <topic>, and while they talked they ate. <^when> nothing \
            was left of the {F}.
        """)
    if outcome == "goes":
        s.say("walking", """
            {AHe} [fell down|got lost|stopped|turned around|slipped] <two> times, and followed <a small> \
                <beast> that seemed to know the way.
            After an hour {Ahe} could see nothing but <a old> [fence|gate|barrel|wall], and after two hours \
                only a [yellow|small|trembling|green|far-off|friendly|flickering] light.
            """)
        s.say("arriving", """
            Just as <Vgoes>, {Ahe} stood at the door with the {F}. "I never took the cups off the table," \
                <said> {C} <kindly>.
            {C} opened the door in <a color> <garment>. What was left of the {F} was [bent|wet|flat|in \
                pieces|frozen], but they ate it all and talked about <topic>.
            """)
        s.say("thanking", """
            {C} gave {Ahim} {Rpay} and <a T=thing>. "It is for people who come," {Che} <said>.
            When {A} went home, {Ahe} carried {Rpay}, <a dish> of <snack> and <a T=thing> that {C} no \
                longer needed.
            """)
    else:
        s.say("waiting", """
            Alone at home, {C} sat between two cups <all_day>. The tea got cold, and the <flower> hung \
                their heads.
            And {C} waited <all_day>, with <a small> <beast>, and at last drank both cups alone.
            """)
        s.say("regretting", """
            <^soon> {A} went there, <sorry>. "I was waiting," <said> {C}, and nothing else, and that was \
                worse than a scolding.
            {A} heard of it from <a small> <relative> <soon> and was so <sorry> that no <snack> would go down.
            """)
        s.say("apologizing", """
            {AHe} brought <snack>, and <snack> as well, and came to <Rchore> every <weekday> from then on.
            This time {Ahe} ran all the way, with <gift>, and {B} ran along, with <feast>.
            """)


@plot("planning", """
    There was to be a baking contest on <D=weekday>, and {A} meant to win it with {Ahis} <F=baked>.
    "My <F=baked> will win on <D=weekday>," {Ahe} told everyone, even <herd>. There was to be a baking \
        contest.
    The best baker in {Z} was to be chosen on <D=weekday>, and {A} had a recipe for <F=baked>.
    """)
def baking(s: Teller) -> None:
    """A bakes for a contest and borrows what is missing from B."""
    s.say("baking", """
        {AHe} beat <two> eggs and sang about <topic>. Then {Ahe} saw that there was no <G=sweet> left.
        But <when>, with the oven hot and flour on {Ahis} <garment>, {Ahe} found the jar for the <G=sweet> \
            empty.
        """)
    s.say("borrowing", """
        {AHe} <ran> next door to <B=Aothers>, <a small> <L=Bkinds> who <quirk>. "Of course I have {G}," \
            <said> {B} <kindly>, and filled <a color> cup.
        <B=Aothers>, the <L=Bkinds> who lived <home>, was <busy>. "Take what you need," {Bhe} <said>. "The \
            {G} is in the <color> jar."
        """)
    outcome = s.say("mixing", """
        4 salt> Alas, {B} [did not have {Bhis} glasses on|was thinking about <topic>|mixed up two jars], \
            and what <hero> took home was <O=bitter>.
        3 right> It was just enough. The {F} rose <likes>, and it smelled all the way to the <landmark>.
        3 proud> It was [too little|half a spoon short|one cup short], and {A} was too \
            [proud|shy|hasty|lazy] to ask again. {AHe} used <O=bitter> instead.
        3 burned> {A} stayed to talk about <U=topic> until <meal>. By then the {F} was as black as <a old> \
            boot.
        """)
    s.paragraph()
    s.say("judging", """
        On {D} <C=elder> the [<R=trade>|<small> <R=trade>] was the judge and wore <a color> <garment>.
        The judge was <C=elder> the [<R=trade>|<small> <R=trade>], who had eaten nothing since <weekday>.
        """)
    if outcome in ("salt", "proud"):
        verdict = s.say("tasting", """
            2 cold> {C} took a big bite. {A} watched <likes>. "Delicious," <said> {C}, who had a terrible \
                cold.
            4 spits> {C} took one bite, turned <color>, and drank <two> glasses of <drink>. "{O}?" {Che} \
                <whispered>.
            3 beast> {C} took one bite and gave the rest to <a small> <beast>, which ate it, and then the \
                plate.
            """)
        if outcome == "salt":
            s.say("apologizing", """
                {B} saw the jar at home and came <likes>. "It was I," {Bhe} <cried>. "I gave you {O}!"
                "That was my {O}," {B} <whispered> <meekly>, and offered to eat all of it.
                """)
        else:
            s.say("confessing", """
                {A} was <sorry> and told the truth about the {O}. "You could have asked," <said> {B} \
                    <kindly>. "I had <two> jars of {G}."
                "I put in {O}," {A} <whispered> <meekly>, "because I did not dare to ask for more {G}." {B} \
                    laughed <softly>.
                """)
        if verdict == "cold":
            s.say("winning", """
                So {A} won and shared the prize with {B}: <feast>.
                And that is how {A} won <gift>, and why no one in {Z} trusts a judge with a cold.
                """)
        else:
            s.say("losing", """
                The prize went to <a small> <relative> of the mayor, for <snack>. {A} and {B} got <gift>.
                They came in last. But the <beasts> of {Z} still dream of it, <somewhere>.
                """)
    elif outcome == "burned":
        s.say("losing", """
            "What is this?" <said> {C}. "It is about {U}," <answered> <hero> <meekly>. {C} laughed so hard \
                that {A} got a prize after all: <gift>.
            {C} knocked on it <softly>, and it rang. "Not a cake," <said> {C} <kindly>, "but a very fine \
                doorstop." It won <gift>.
            """)
    else:
        s.say("winning", """
            {C} ate <two> pieces. {A} won, and the first thing {Ahe} did was pay back the {G}, with <gift>.
            "The best {F} since <weekday>," <said> {C} <kindly>. {A} bowed to {B}, for without the {G} \
                there would have been none.
            """)


@plot("sowing", """
    From <C=elder> the [<R=trade>|<small> <R=trade>] {Ahe} got <a color> seed, as big as <a bauble>. "It \
        will be <a G=crop>," <said> {C} <kindly>.
    In return for <gift>, <C=elder> the [<R=trade>|<small> <R=trade>] gave {Ahim} <a color> seed. "Be good \
        to it, and it will be <a G=crop>," {Che} <said>.
    {AHe} found <a color> seed <kept_in>. "That," <said> <C=elder> the [<R=trade>|<small> <R=trade>], "is \
        going to be <a G=crop>."
    """)
def growing(s: Teller) -> None:
    """A sows a seed; patience, drought and beasts decide what comes of it."""
    s.say("planting", """
        {A} planted it <outdoors> and sang to it about <topic>.
        {A} dug a hole <outdoors> with <a old> spoon, put it in and [watered it|covered it|wished it good \
            night].
        """)
    s.paragraph()
    s.say("waiting", """
        For <two> days nothing happened. {A} was <sad>.
        {A} sat beside it <all_day>. "Grow," {Ahe} <whispered> <kindly>. It did not.
        Every morning {Ahe} looked, and every morning there was only <a small> [worm|ant|beetle|stone|<bird>].
        """)
    s.say("meeting", """
        "You must give it time, and water," <said> <B=Aothers>, <a small> <L=Bkinds> who <quirk>.
        <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>, looked over the fence. "It wants water," \
            {Bhe} <said> <kindly>.
        """)
    outcome = s.say("watering", """
        4 shares> So they took turns. {A} brought water <when>, and {B} brought water <when>, from the \
            <landmark>.
        3 digs> But <hero> could not wait. <^soon> {Ahe} dug it up to see how it was doing, and it had \
            <two> tiny roots.
        3 eaten> A green tip came up on <weekday>. The same night <herd> came and ate it down to the ground.
        """)
    if outcome == "digs":
        s.say("scolding", """
            "Would you grow," <cried> <friend>, "if somebody pulled off your blanket?" {A} put it back \
                <softly> and built a fence of <bauble>s.
            {B} tucked it in again <softly> and read to it from a book about <topic>.
            """)
    elif outcome == "eaten":
        s.say("guarding", """
            {A} was <sad>. But the root was alive, and {B} built a scarecrow in <a color> <garment>, so \
                ugly that even the mailman ran.
            "It will come again," <said> <friend> <kindly>. And it did, behind a fence of <two> <old> spoons.
            """)
    s.say("growing", """
        It grew past {Ahis} knees, past {Ahis} ears and over the [roof|chimney|door|sign] of the <landmark>.
        Soon it was bigger than <herd>, and people came from other towns to look at the {G}.
        """)
    s.say("harvesting", """
        {A} pulled, {B} pulled {A}, {C} pulled {B}, and <a small> <beast> pulled {C}, until [the {G} came \
            out|all of them sat down|something popped].
        It took {A}, {B}, {C} and <herd> to bring in the {G}, and even then it [got stuck in the \
            gate|rolled over the mayor|broke the scales].
        """)
    s.say("feasting", """
        There was {G} soup, {G} pie and {G} pudding until <weekday>, with <snack>.
        They cooked it <all_day>, and everybody in {Z} had some, with <snack> and <drink>.
        """)


@plot("hearing", """
    "<C=elder> the [<R=trade>|<small> <R=trade>] has a fever," {Ahis} <relative> said <when>, "and lives on \
        the other side of the river."
    Word came on <weekday> that <C=elder> the [<R=trade>|<small> <R=trade>], across the river, lay ill and \
        had nobody to cook.
    A letter came from across the river. "I am ill," wrote <C=elder> the [<R=trade>|<small> <R=trade>]. \
        "Talk to me about <topic>, and bring me something to eat."
    """)
def crossing(s: Teller) -> None:
    """The bridge is gone, C is ill on the other side, and the raft is as good as its knots."""
    s.say("setting out", """
        {A} packed <F=food> and <gift> and <walked> to the bridge. There was no bridge.
        {A} took <F=food> and <ran> to the bridge. But the storm of last <weekday> had been there first.
        """)
    s.say("meeting", """
        <B=Aothers> sat on the bank, <a small> <L=Bkinds> who <quirk>. "It floated off <when>," {Bhe} \
            <said> <meekly>.
        "Don't swim," <said> <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>. "It took <herd> and \
            the <landmark>."
        """)
    s.paragraph()
    s.say("building", """
        So they built a raft out of <two> barrels, <a old> door and <a color> <garment> for a sail.
        They tied together <two> planks, <a old> bathtub and <a old> ladder.
        """)
    outcome = s.say("tying", """
        4 good> {B} did the knots, and <hero> tried each of them <two> times.
        4 hasty> "That will do," <said> {A}, who wanted to be off, and left the last [two|three|four|five] \
            knots half tied.
        3 beast> Before they could push off, <a small> <X=beast> stepped on board and would not get down.
        """)
    if outcome == "hasty":
        s.say("sinking", """
            In the middle of the river the knots came undone, one by one. They both fell in, and the {F} \
                swam <likes>.
            It did, almost to the other side. Then each [plank|piece|bit of it] went its own way, and {A} \
                went <likes>.
            """)
        s.say("swimming", """
            {B} pulled {Ahim} out by the [collar|sleeve|ear|elbow]. "Next time," <said> <hero>, and sneezed \
                <two> times, "I tie all of them."
            They came ashore wet and <sorry>, and {A} saved the {F} by wearing it on {Ahis} head.
            """)
    elif outcome == "beast":
        s.say("crossing", """
            It was as well, for <when> they lost the [pole|oar|sail|rudder], and the {X} could swim and pull.
            They [sang|prayed|held on|hummed] all the way. The {X} ate half of the {F} and looked <happy>.
            """)
    else:
        s.say("crossing", """
            The river [pulled|shook|spun|bit at] them, and they turned around <two> times, but every knot \
                held.
            They crossed <likes>, and not a drop touched the {F}.
            """)
    s.paragraph()
    s.say("arriving", """
        {C} was in bed, in <a color> <garment>. <"oh>," <said> {C} <meekly>, "how did you come over?" \
            "Wet," <answered> <hero>.
        When {C} saw them, {Che} sat up [at once|slowly|like a jack-in-the-box|with a groan] and asked for \
            [a spoon|a fork|seconds]. The {F} did {Chim} a great deal of good.
        """)
    s.say("healing", """
        {C} was well again by <weekday>, gave them {Rpay}, and talked about <topic> for weeks.
        <^soon> {C} could dance again. The raft became a ferry, and the fare is <gift>.
        """)


@plot("finding", """
    <^kept_in> {Ahe} found <a old> map, one <gray> <morning>, between <a garment> and <a old> <bauble>.
    A map fell out of <a old> book about <topic>, right onto {Ahis} <snack>.
    "X marks the spot," it said on the <color> paper around {Ahis} <snack>. It was a map!
    """)
def digging(s: Teller) -> None:
    """A map leads A and B to a box with T in it, and T has an owner."""
    s.say("reading", """
        A cross was drawn <Q=place>, and under it was written: <S=Qspots>.
        It showed the way past the <landmark> to a cross <Q=place>, <S=Qspots>.
        """)
    s.say("meeting", """
        {A} could not keep it to {Aself} and told <B=Aothers>, <a small> <L=Bkinds> who <quirk>.
        Alone it was no fun. So {Ahe} asked <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>, to \
            bring <a old> shovel.
        """)
    s.paragraph()
    s.say("digging", """
        They dug <all_day>. They found <a old> <bauble>, and they found <a color> <bauble>, and then there \
            was a [knock|clank|thud|clang|hollow sound].
        {A} dug <likes>, and {B} counted the worms. At <two> worms the shovel struck [wood|iron|something \
            hard].
        """)
    s.say("opening", """
        It was a box, and in the box lay <a T=thing>. On it was scratched a name: <C=elder>.
        They lifted the <old> lid <softly>. Inside was <a T=thing> with a label: "This belongs to <C=elder>."
        """)
    outcome = s.say("deciding", """
        4 returns> "{C} the [<R=trade>|<small> <R=trade>]!" <cried> <friend>. They looked at each other, \
            and then they <walked> to the {Rat}.
        3 keeps> "That is {C} the [<R=trade>|<small> <R=trade>]," {B} <whispered>. "Nobody knows," \
            <answered> <hero>, and {Ahe} hid it <kept_in>.
        """)
    if outcome == "keeps":
        s.say("need", """
            Then, <some_day>, <N=Tneeds>. {A} did not dare to use the <it>, and <Nwithout>.
            And when <N=Tneeds>, <hero> had to leave the <it> where it was, and <Nwithout>.
            """)
        s.say("returning", """
            <^soon> {Ahe} brought it to the {Rat}, <sorry>. {C} looked at it for <two> minutes.
            "Come," <said> <friend> <kindly> and took {Ahim} by the {Khand}, and together they carried it \
                to the {Rat}.
            """)
    s.paragraph()
    s.say("remembering", """
        "I buried it when I was [six|seven|eight|nine]," <said> {C} <kindly>, "and then I lost the map."
        "My {T}!" <cried> {C}. "I hid it from my <relative>, and then from myself."
        {C} had to sit down. "I got that from my <relative>," {Che} <said> <kindly>, "in the year of the \
            <herd>."
        """)
    s.say("thanking", """
        They got {Rpay} and <gift>, and {C} played with the <it> <all_day>.
        "Keep it," {Che} <said> <kindly>, "and let me borrow it on <weekday>s." So now it has three owners.
        """)


@plot("hearing", """
    "What was that?" {Ahe} <whispered> one <gray> night. There it was again, <a U=noise> sound, <Uwhere>.
    In the middle of the night {Ahe} was awakened by <a U=noise> noise <Uwhere>.
    "Did you hear it?" asked {Ahis} <relative> one <gray> night. "Something is <U=noise> <Uwhere>."
    """)
def listening(s: Teller) -> None:
    """A noise at night, which has a cause."""
    s.say("fearing", """
        {A} pulled the blanket up to {Ahis} nose and thought of <herd>, all with teeth.
        "It is only <a small> <beast>," {Ahe} told {Aself} <meekly>. It was not only that.
        {AHe} counted to <two> and crept <kept_in>.
        """)
    s.paragraph()
    s.say("asking", """
        <^soon> {Ahe} told <B=Aothers>, <a small> <L=Bkinds> who <quirk>. "I will come tonight," {Bhe} \
            <said> <boldly>, "and bring <a T=tool>."
        {AHe} spoke of it to <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>. "A ghost," {Bhe} \
            <said> <boldly>. "I will bring <a T=tool>."
        """)
    s.say("watching", """
        That night they sat in the dark and ate <snack>. At <hour> there it was again: {U}!
        They waited on the stairs, with the {T} between them, and whispered about <topic>. Then the {U} began.
        """)
    outcome = s.say("daring", """
        3 together> {A} took the {T}, {B} took {A}'s {Khand}, and they went, as quiet as <as_quiet>.
        3 runs> {B} dropped the {T} and <ran> home <likes>. So {A} had to go alone, as quiet as <as_quiet>.
        3 shouts> "Who is there?" <cried> <hero> <boldly>. The {U} stopped. Then it went on, only faster.
        """)
    s.say("discovering", """
        It was <Ucause>.
        There {Ahe} saw <Ucause>.
        """)
    if outcome == "runs":
        s.say("laughing", """
            {A} laughed so loud that {B} came back, <sorry>, with <a color> <garment> over {Bhis} head.
            {B} came back <when>, <sorry>. "I went to get <snack>," {Bhe} <said> <meekly>.
            """)
    else:
        s.say("laughing", """
            They laughed until the neighbors knocked on the wall with <a old> <bauble>.
            {B} had to sit down. "And I thought of <herd>," {Bhe} <said> <meekly>.
            """)
    s.say("consoling", """
        Since then, when something goes {U} in the dark, {Ahe} says good night to it.
        {A} wrote it all down and called it "The {U} at <hour> o'clock."
        The next night it was quiet, and {A} sat up with <a small> <beast> and could not sleep.
        """)


@plot("crying", """
    Somebody was crying <when>. It was <a small> <X=pet>, stuck <P=stuck>!
    "Help!" {Ahe} <cried> <when>. <A small> <X=pet> was stuck <P=stuck>, and nobody had noticed.
    All of {Z} stood and looked up <when>. <A small> <X=pet> sat <P=stuck> and did not know how to get down.
    """)
def rescuing(s: Teller) -> None:
    """A creature is stuck; good advice fails, and B has something better."""
    s.say("trying", """
        {A} called it <softly>. It looked at {Ahim} and cried louder.
        First {Ahe} held up <a dish> of <snack>. The {X} sniffed and stayed where it was.
        {AHe} jumped <two> times, and then {Ahe} sat among the <flower>.
        """)
    s.say("advising", """
        <C=elder> the [<R=trade>|<small> <R=trade>] came by. "One must sing to it about <topic>," {Che} \
            <said>, and sang, and the {X} climbed higher.
        "One must pretend not to look," <said> <C=elder> the [<R=trade>|<small> <R=trade>], and walked into \
            the <landmark>.
        "Wait until <weekday>," <said> <C=elder> the [<R=trade>|<small> <R=trade>], who was <busy>. The {X} \
            did not want to wait.
        """)
    s.paragraph()
    s.say("asking", """
        Then {A} thought of <B=Aothers>, <a small> <L=Bkinds> who <quirk>. "Yes," <answered> {B}, "I have \
            <a T=tool>."
        <B=Aothers> came around the corner, <a small> <L=Bkinds> in <a color> <garment>. "I have <a \
            T=tool>," {Bhe} <said> <boldly>.
        """)
    outcome = s.say("promising", """
        3 fee> {B} thought for <two> seconds. "But I want <gift> for it." "You shall have it <soon>," {A} \
            promised <meekly>.
        4 free> {BHe} <ran> off and was back in <two> minutes.
        """)
    s.say("rescuing", "<^Thow>.")
    s.say("thanking", """
        The {X} licked {A}'s nose, bit {B}'s <garment> and <walked> off <likes>.
        It was <small>, it was <small>, and it was safe. {A} named it <weekday>.
        {C} [clapped|cheered|bowed|wept], and everybody had <snack> <somewhere>.
        """)
    if outcome == "fee":
        s.say("paying", """
            <^soon> {A} paid what {Ahe} had promised, and {B} gave half of it to the {X}.
            {A} paid on time. "I would have done it for nothing," <said> <friend> <kindly>, "but thank you."
            """)


@plot("boasting", """
    "I once <X=feat>," {Ahe} told everybody <when>.
    Between <snack> and <drink>, one <gray> <morning>, {Ahe} heard {Aself} say, "I once <X=feat>."
    "That is nothing," {Ahe} <said> when {Ahis} <relative> told of <herd>. "I once <X=feat>."
    """)
def boasting(s: Teller) -> None:
    """A claims something, and is asked to do it again."""
    s.say("challenging", """
        "Then do it again on <D=weekday>," <said> <B=Aothers>, <a small> <L=Bkinds> who <quirk>, "<Q=place>."
        <B=Aothers>, <a small> <L=Bkinds> in <a color> <garment>, opened {Bhis} eyes wide. "Show us!" {Bhe} \
            <cried>. "On <D=weekday>, <Q=place>!"
        """)
    s.say("worrying", """
        {A} could not take it back. {AHe} ate no <snack> and dreamed of <herd>, all laughing.
        "Gladly," <answered> <hero> <meekly>, and went home <likes>. For {Ahe} had never done such a thing.
        {A} laughed, but only on the outside. It was not true, and {D} was coming <likes>.
        """)
    s.paragraph()
    outcome = s.say("deciding", """
        4 tells> {D} came, and half of {Z} stood {Qat}, with <snack> and <herd>. "It is not true," <said> \
            <hero> <meekly>. "I made it up."
        4 tries> {A} practiced <all_day>, <somewhere>, with <a old> <bauble> and <a small> <beast> to help. \
            On {D} {Ahe} tried it in front of everyone.
        3 hides> When {D} came, {A} was nowhere to be seen. {AHe} sat <kept_in>. But {B} had followed <two> \
            crumbs of <snack>.
        """)
    if outcome == "tells":
        s.say("confessing", """
            It was so quiet that one could hear the <bugs>. Then {B} began to clap. "That was brave," {Bhe} \
                <said> <kindly>.
            Nobody spoke. <"oh>," <said> {B} <meekly>, "I made up the one about the <beasts>, too." And \
                everybody laughed.
            """)
    elif outcome == "tries":
        s.say("failing", """
            There was a [crash|splash|bang|crunch|howl], then a long silence, then <a small> <beast> with \
                <a garment> on its head.
            {AHe} fell into the <flower>, got up, and fell into the <snack>. {B} laughed so hard that {Bhe} \
                fell in too.
            """)
        s.say("consoling", """
            "You did not do it," <said> <friend> <kindly>, "but nobody ever tried it so well." And {Bhe} \
                gave {Ahim} <gift>.
            "Again!" <cried> the little ones, and <herd>. It was the best {D} that {Z} had ever had.
            """)
    else:
        s.say("finding", """
            "Come out," <said> <friend> <kindly>. "Nobody is angry. They have started on the <snack> \
                without you."
            "I knew that it was not true," {Bhe} <whispered> <kindly>, "but I like how you tell it. Tell \
                the one about <topic>."
            """)
        s.say("confessing", """
            So {A} came out <likes> and told the truth, and then a story about <topic>.
            {A} came out, <sorry>, and told everyone the truth.
            """)


@plot("telling a secret", """
    "Can you keep a secret?" asked {Ahis} friend <B=Aothers>, <a small> <L=Bkinds>, <when>. "I <X=secret>."
    <^soon> {Ahis} friend <B=Aothers>, <a small> <L=Bkinds>, took {Ahim} behind the <landmark>. "I \
        <X=secret>," {Bhe} <whispered> <meekly>.
    """)
def secret(s: Teller) -> None:
    """B tells A a secret, and A keeps it or does not."""
    s.say("promising", """
        "I will be as quiet as <as_quiet>," {A} promised <kindly>.
        {A} promised to tell nobody, not even <a small> <beast>.
        "Not a word," <said> <hero> <boldly>, "not for <herd> and <a dish> of <snack>."
        """)
    s.paragraph()
    s.say("tempting", """
        A secret is a heavy thing. It [itched|pinched|bothered|burned] {Ahim} <all_day>.
        {A} ate <snack> so as to have something else in {Ahis} mouth. {AHe} talked about <topic>, and about \
            <topic>.
        """)
    s.say("asking", """
        Then <C=elder> the [<R=trade>|<small> <R=trade>] asked {Ahim} <when>, "What is the matter with {B}? \
            I will give you {Rpay} if you tell me."
        <C=elder> the [<R=trade>|<small> <R=trade>] stopped {Ahim} at the {Rat}. "{B} is so quiet," <said> \
            {C} <kindly>. "Do you know why?"
        """)
    outcome = s.say("deciding", """
        5 keeps> "Ask {B}," <answered> <hero> <kindly>, and {Ahe} <ran> off <likes>.
        4 tells> {A} shut {Ahis} mouth. Then {Ahe} opened it again <softly>, and out came the secret, all \
            of it.
        3 slips> {A} talked <softly> about <topic>. But in the middle of a sentence the secret slipped out, \
            like <a small> frog.
        """)
    if outcome == "keeps":
        s.say("rewarding", """
            <^soon> {B} told everyone {Bself}. "{A} knew it," {Bhe} <said> <boldly>, "and never said a \
                word." {C} gave {A} {Rpay} anyway.
            When {B} heard of it, {Bhe} gave {Ahim} <gift>. "Now I know who can keep a secret," {Bhe} \
                <said> <kindly>.
            """)
        s.say("sharing", """
            {A} was <happy>, and {Ahe} had another secret of {Ahis} own to tell {Bhim}. It was about <topic>.
            And {A}, who had a secret too, told it to {Bhim} <somewhere>, over [a cup|a jug|two cups] of \
                <drink>.
            """)
    else:
        s.say("spreading", """
            Before <meal> the whole town knew, down to the <herd> behind the <landmark>.
            {C} told <a small> <relative>, who told <a small> <relative>, who told everybody.
            """)
        s.say("quarreling", """
            {B} did not shout. {BHe} gave back <a color> <bauble> that {A} had once given {Bhim}, and went \
                home <likes>.
            "You promised," <said> <friend>, <angry>, and {Bhe} did not speak to {Ahim} until <weekday>.
            """)
        s.say("apologizing", """
            {A} was <sorry>. {AHe} wrote "I am sorry" on <two> <color> pieces of paper and hung them on \
                {B}'s fence.
            Every day {A} brought {Bhim} <gift>, and at last {Ahe} told {Bhim} a secret of {Ahis} own, \
                about <topic>.
            """)
        s.say("forgiving", """
            "I forgive you," <said> <friend> <kindly>, "but my next secret I shall tell to <a small> <beast>."
            It took <two> days. Then {B} came by in <a color> <garment> and <said>, "Everybody has been \
                very nice about it."
            """)


@plot("selling", """
    On market day {Ahe} loaded <two> <W=goods> on <a old> cart, for {Ahe} wanted to buy <a T=thing>.
    {AHe} had <two> <W=goods> to sell, and with the money {Ahe} meant to buy <a T=thing>.
    "Sell these <two> <W=goods> at the market," <said> {Ahis} <relative>, "and you may buy yourself <a \
        T=thing>."
    """)
def selling(s: Teller) -> None:
    """A goes to market to sell goods and gives them away, or not."""
    s.say("meeting", """
        On the way {Ahe} met <C=elder> the [<R=trade>|<small> <R=trade>], who had eaten no supper since \
            <weekday> and looked at the {W} <softly>.
        <C=elder> the [<R=trade>|<small> <R=trade>] sat <somewhere>, with <a old> <bauble> and no lunch.
        """)
    s.paragraph()
    outcome = s.say("deciding", """
        5 gives> {A} thought of the {T}. Then {Ahe} gave away half of the {W}, <softly>, and {C} was <happy>.
        4 keeps> "How much?" asked {C} <meekly>. "More than you have," <answered> <hero>, and {Ahe} \
            <walked> on <likes>.
        """)
    s.say("arriving", """
        The market was full of <beasts>, <flower> and people with <two> opinions.
        There was a stall for <snack>, a stall for <color> <bauble>s and a man who talked of <topic>.
        """)
    if outcome == "gives":
        s.say("selling", """
            {A} sold the rest, but {Ahe} was <M=two> pennies short.
            The other half of the {W} sold well <when>. Still, the <it> cost <M=two> pennies more than \
                {Ahe} had.
            """)
        s.say("rewarding", """
            <"oh>!" <cried> a voice behind {Ahim}. It was {C}, with {M} pennies and <gift>.
            Then somebody tapped {Ahim} on the shoulder. It was {C}, with {M} pennies and {Rpay}.
            """)
        s.say("need", """
            So {A} got the <it>, and <some_day> <N=Tneeds>.
            It was well that {Ahe} could buy the <it>, for <some_day> <N=Tneeds>.
            """)
        s.say("using", """
            {A} <Nuse>.
            And {Ahe} <Nuse>. {C} told everyone about it.
            """)
    else:
        s.say("trading", """
            All of it was sold <when>, and the <it> was {Ahers}.
            {A} shouted <all_day>, sold the last of the {W} to <a small> <relative> of the mayor and bought \
                the <it>.
            """)
        s.say("breaking", """
            But <soon> <X=Tbreaks>. The only one in {Z} with {Xfix} was {C}.
            <^soon> <X=Tbreaks>. "You must go to {C}," <said> {Ahis} <relative>. "Nobody else has {Xfix}."
            """)
        s.say("forgiving", """
            "How much?" asked <hero> <meekly>. "Have some <snack> first," <answered> {C}. {A} was <sorry> \
                and stayed to <Rchore>.
            {C} mended it and asked for nothing. {A} was so <sorry> that {Ahe} came back <soon> with <feast>.
            """)


@plot("finding", """
    <^when> {Ahe} found a letter <somewhere>. "To <C=elder>," it said, and the stamp was <two> years old.
    There was a letter <somewhere>, <a color> one, addressed to <C=elder> and quite forgotten.
    The mailman, who had <herd> after him, gave {Ahim} a letter one <gray> <morning>. "It is for \
        <C=elder>," he <cried>, and was gone.
    """)
def delivering(s: Teller) -> None:
    """A carries a letter to C; what is in it has consequences."""
    s.say("setting out", """
        {C} the [<R=trade>|<small> <R=trade>] lived far away, <home>. {A} <walked> off <likes>.
        It was a long way to {C} the [<R=trade>|<small> <R=trade>], who lived <home>, and {A} took along \
            <snack>.
        """)
    s.paragraph()
    s.say("meeting", """
        <^when> {Ahe} met <B=Aothers>, <a small> <L=Bkinds> who <quirk>. "I will show you the way," {Bhe} \
            <said> <kindly>.
        <B=Aothers> came along, <a small> <L=Bkinds> in <a color> <garment>. "Let us open it," {Bhe} \
            <whispered>. "No," <answered> {A} <boldly>.
        """)
    outcome = s.say("weather", """
        4 dry> They <walked> on together. <V=weather>, and <Vbars>. {A} put the letter under {Ahis} \
            <garment>, and {B} held <a color> <garment> over {Ahim}.
        3 wet> <V=weather>, and <Vbars>. By the time that <Vgoes>, the ink had run, and nobody could have \
            read a word.
        3 gone> <A bird> swooped down, took the letter and flew to the <landmark>. They had to sing about \
            <topic> until it let go.
        """)
    s.say("arriving", """
        {C} was <busy> and put on <a color> <garment> to read it.
        They found {C} <busy>. "For me?" {Che} <whispered> <meekly>. "Nobody writes to me."
        """)
    if outcome == "wet":
        s.say("guessing", """
            {C} looked at the gray paper for <two> minutes. "It is from my <relative>," {Che} <said> \
                <kindly>. "I know those blots."
            "I am so sorry," <said> <hero> <meekly>. "Then we shall write a better one," <answered> {C}, \
                and they did, <all_day>, about <topic>.
            """)
    else:
        s.say("reading", """
            "Dear {C}," it said. "I have <herd> and nobody to talk to. Will you come? Your <relative>."
            It was from {Chis} <relative>, who had moved to {Z} with <herd> and lived <home>.
            "I still owe you <a T=thing>," it said. "Come and get it. Your <relative>."
            """)
    s.say("thanking", """
        {C} [laughed|cried|danced] a little, gave them {Rpay} and went to look for <a color> <garment>.
        <"oh>," <said> {C} <kindly>, "sit down, both of you," and they all had <feast>.
        """)
